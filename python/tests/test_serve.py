"""``manage.py djaffar serve|check|config``: the server beside the same site, on the same database."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from serving import LOGIN, Site, classes, post

USERS = ["auth.User", "people.UuidUser", "people.TextUser", "people.OddUser"]
# The same activity by the view, as the user whose key comes last.
VIEW = """
import sys
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
client = Client()
client.force_login(get_user_model().objects.get(), settings.AUTHENTICATION_BACKENDS[0])
data = {"date": "2016-12-29T07:35:22.571Z", "path": "/by-the-view"}
print(client.post("/djaffar/log/", data, headers={"Host": "127.0.0.1"}).status_code)
"""


# Users of other kinds differ by the Django, not by the Python.
@pytest.mark.parametrize(
    "user_model", [USERS[0], *(pytest.param(user, marks=pytest.mark.slow) for user in USERS[1:])]
)
def test_the_server_has_everything_from_the_settings(tmp_path, user_model):
    site = Site(tmp_path, AUTH_USER_MODEL=user_model)
    if user_model in USERS[2:]:
        site.bare()
    site.migrate()
    site.manage("makemigrations", "--check", "--dry-run", "djaffar")
    key, user = site.script(LOGIN).split()
    assert "Ready" in site.manage("djaffar", "check")
    child, url = site.serve()
    try:
        assert post(url + "/djaffar/log/", key) == 204
        assert post(url + "/djaffar/log", None, "/newcomer") == 204
        rows = {row[0]: row[1:] for row in site.rows(2)}
        assert [str(value) for value in rows["/"]] == [user, key, key]
        assert rows["/newcomer"][0] is None
        # It is a process of its own, without Django, and shows no secret.
        seen = Path(f"/proc/{child.pid}/cmdline").read_text() if sys.platform == "linux" else ""
        seen += Path(f"/proc/{child.pid}/environ").read_text() if sys.platform == "linux" else ""
        assert "SITE_SECRET_KEY" not in seen
        assert "site-key-of-the-tests" not in seen
        maps = Path(f"/proc/{child.pid}/maps").read_text() if sys.platform == "linux" else ""
        assert "_sqlite3" not in maps
    finally:
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=20) == 0
    assert site.script(VIEW) == "204"
    assert {row[0]: str(row[1]) for row in site.rows(3)}["/by-the-view"] == user
    assert sqlite3.connect(site.database["NAME"]).execute("PRAGMA integrity_check").fetchone() == (
        "ok",
    )


def test_ctrl_c_ends_it_without_a_word_of_python(tmp_path):
    site = Site(tmp_path)
    site.migrate()
    child, _ = site.serve()
    child.send_signal(signal.SIGINT)
    rest = child.stdout.read()
    assert child.wait(timeout=20) == 0
    assert "Traceback" not in rest


@pytest.mark.slow
def test_fallbacks_of_the_secret_key(tmp_path):
    site = Site(tmp_path)
    site.migrate()
    key, user = site.script(LOGIN).split()
    old = "site-key-of-the-tests-0123456789-abcdefghijklmnop"
    site.settings["SECRET_KEY"] = "another-key-0123456789-abcdefghijklmnopqrst"
    site.settings["SECRET_KEY_FALLBACKS"] = [old]
    child, url = site.serve()
    assert post(url + "/djaffar/log/", key) == 204
    [row] = site.rows(1)
    child.terminate()
    assert child.wait(timeout=20) == 0
    assert str(row[1]) == user


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"SESSION_ENGINE": "django.contrib.sessions.backends.cache"}, "its own locmem"),
        ({"SESSION_ENGINE": "people.sessions"}, "none of Django's own engines"),
        ({"SECRET_KEY": "django-insecure-0123456789-abcdefghijklmnopqrst"}, "startproject"),
        ({"USE_X_FORWARDED_HOST": True}, "trusted_proxy"),
        ({"AUTH_USER_MODEL": "people.HashedUser"}, "get_session_auth_hash"),
        ({"REST_FRAMEWORK": classes("people.tokens.OwnTokens")}, "people.tokens.OwnTokens"),
        ({"DATABASE_ROUTERS": ["people.routers.Apart"]}, "needs both in one"),
        ({"DJAFFAR": {"trusted_proxy": ["localhost"]}}, "trusted"),
        ({"ROOT_URLCONF": "no_urls"}, "has no URL"),
    ],
)
def test_check_says_what_will_not_work(tmp_path, changes, sentence):
    written = changes.get("DJAFFAR", {})
    site = Site(tmp_path, **{**changes, "DJAFFAR": {}})
    if changes.get("AUTH_USER_MODEL"):
        site.bare()
    if "ROOT_URLCONF" not in changes:
        site.migrate()
    site.settings["DJAFFAR"].update(written)
    code = 1 if "ROOT_URLCONF" in changes else 78
    assert sentence in site.manage("djaffar", "check", code=code)
    if code == 78 and not changes.get("USE_X_FORWARDED_HOST"):
        assert sentence in site.manage("djaffar", "serve", code=code)


@pytest.mark.slow
def test_what_the_site_has_silenced_is_not_to_mend(tmp_path):
    silenced = {"USE_X_FORWARDED_HOST": True, "SILENCED_SYSTEM_CHECKS": ["djaffar.W001"]}
    site = Site(tmp_path, **silenced)
    site.migrate()
    assert "Ready" in site.manage("djaffar", "check")


@pytest.mark.slow
def test_a_database_without_our_tables(tmp_path):
    site = Site(tmp_path)
    for what in ["check", "serve"]:
        assert "run `manage.py migrate djaffar`" in site.manage("djaffar", what, code=78)


@pytest.mark.slow
def test_tables_that_the_server_has_made_are_taken_over(tmp_path):
    site = Site(tmp_path)
    site.manage("migrate", "-v0", "sessions")
    site.manage("migrate", "-v0", "auth")
    command = [sys.executable, "-m", "djaffar", "migrate", "--database", f"sqlite:///{tmp_path}/db"]
    subprocess.run(command, check=True, capture_output=True, **site.options())
    assert "migrate djaffar --fake" in site.manage("djaffar", "check", code=78)
    site.manage("migrate", "-v0", "djaffar", "--fake")
    site.manage("migrate", "-v0")
    assert "Ready" in site.manage("djaffar", "check")
    child, url = site.serve()
    assert post(url + "/djaffar/log/", None) == 204
    site.rows(1)
    child.terminate()
    assert child.wait(timeout=20) == 0


@pytest.mark.slow
def test_config_prints_a_file_that_the_server_takes(tmp_path):
    site = Site(tmp_path, SESSION_COOKIE_NAME="s", SESSION_COOKIE_SAMESITE=False, USE_TZ=False)
    (tmp_path / "djaffar.toml").write_text(site.manage("djaffar", "config"))
    command = [sys.executable, "-m", "djaffar", "config", "print"]
    done = subprocess.run(command, capture_output=True, **site.options())
    assert done.returncode == 0, done.stderr
    for line in ['session_cookie_name = "s"', 'session_cookie_samesite = "off"', "use_tz = false",
                 'time_zone = "America/Chicago"', 'allowed_host = ["127.0.0.1"]',
                 f'database = "sqlite:///{tmp_path}/db"']:  # fmt: skip
        assert line in done.stdout


def test_config_shows_no_password(tmp_path):
    caches = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://h:6379/1",
        "OPTIONS": {"username": "u", "password": "geheim"},
    }
    site = Site(
        tmp_path,
        DJAFFAR={
            "activity_database": "clickhouse://u:geheim@h:8123/d",
            "database": "postgres://u@h/d?password=geheim&sslmode=require",
        },
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={"default": caches},
    )
    printed = site.manage("djaffar", "config")
    assert "geheim" not in printed
    assert 'session_cache = "redis://u:***@h:6379/1"' in printed
    assert 'activity_database = "clickhouse://u:***@h:8123/d"' in printed
    assert 'database = "postgres://u@h/d?password=***&sslmode=require"' in printed
    assert printed.count("its password is not shown") == 3


def test_the_server_refuses_to_share_a_process_with_sqlite():
    import sqlite3  # noqa: F401

    from djaffar import _djaffar

    with pytest.raises(RuntimeError, match="python -m djaffar"):
        _djaffar.main(["--version"])
