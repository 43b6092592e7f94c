"""``manage.py djaffar serve|check|config``: the server beside the same site, on the same database."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DATE = "2016-12-29T07:35:22.571Z"
# A user of each kind: the site makes one, logs in, and prints the session key.
LOGIN = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest
user = get_user_model().objects.create_user("jeff@example.com", password="pw")
request = HttpRequest()
request.session = import_module(settings.SESSION_ENGINE).SessionStore()
login(request, user, settings.AUTHENTICATION_BACKENDS[0])
request.session.save()
print(request.session.session_key, user.pk)
"""
READ = """
import json
from djaffar.models import Activity
rows = Activity.objects.order_by("id").values_list("path", "user", "session_id", "info__visitor")
print(json.dumps(list(rows), default=str))
"""


class Site:
    def __init__(self, folder, **changes):
        self.folder = folder
        self.database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db")}
        self.user_model = changes.pop("AUTH_USER_MODEL", "auth.User")
        spool = {
            "spool": str(folder / "spool"),
            "listen": "127.0.0.1:0",
            **changes.pop("DJAFFAR", {}),
        }
        self.settings = {"ALLOWED_HOSTS": ["127.0.0.1"], "DJAFFAR": spool, **changes}

    def options(self):
        environment = {
            **os.environ,
            "PYTHONPATH": f"{HERE / 'site'}:{os.environ.get('PYTHONPATH', '')}",
            "SITE_DATABASE": json.dumps(self.database),
            "SITE_USER_MODEL": self.user_model,
            "SITE_SETTINGS": json.dumps(self.settings),
        }
        return {"env": environment, "cwd": self.folder, "text": True}

    def manage(self, *arguments, code=0):
        command = [sys.executable, str(HERE / "site" / "manage.py"), *arguments]
        done = subprocess.run(command, capture_output=True, **self.options())
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def script(self, text):
        return self.manage("shell", "-v0", "-c", text).splitlines()[-1]

    def serve(self, *arguments):
        command = [sys.executable, str(HERE / "site" / "manage.py"), "djaffar", "serve", *arguments]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.options()
        )
        url = None
        for line in child.stdout:
            url = url or re.search(r"http://127\.0\.0\.1:\d+", line)
            # Until then a signal would just end it.
            if url and "Stop" in line:
                return child, url[0]
        raise AssertionError("it did not start")

    def rows(self, count):
        until = time.monotonic() + 20
        while len(rows := json.loads(self.script(READ))) < count:
            assert time.monotonic() < until, rows
        return rows


def post(url, key, path="/"):
    body = f"date={DATE}&path={path}".encode()
    request = urllib.request.Request(url, body, {"Cookie": f"sessionid={key}"} if key else {})
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("user_model", ["auth.User", "people.UuidUser"])
def test_the_server_has_everything_from_the_settings(tmp_path, user_model):
    site = Site(tmp_path, AUTH_USER_MODEL=user_model)
    site.manage("migrate", "-v0", "--run-syncdb")
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
        assert "site-key-of-the-tests" not in seen
        maps = Path(f"/proc/{child.pid}/maps").read_text() if sys.platform == "linux" else ""
        assert "_sqlite3" not in maps
    finally:
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=20) == 0
    assert sqlite3.connect(site.database["NAME"]).execute("PRAGMA integrity_check").fetchone() == (
        "ok",
    )


def test_ctrl_c_ends_it_without_a_word_of_python(tmp_path):
    site = Site(tmp_path)
    site.manage("migrate", "-v0", "--run-syncdb")
    child, _ = site.serve()
    child.send_signal(signal.SIGINT)
    rest = child.stdout.read()
    assert child.wait(timeout=20) == 0
    assert "Traceback" not in rest


def test_fallbacks_of_the_secret_key(tmp_path):
    site = Site(tmp_path)
    site.manage("migrate", "-v0", "--run-syncdb")
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


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"SESSION_ENGINE": "django.contrib.sessions.backends.cache"}, "SESSION_ENGINE"),
        ({"SECRET_KEY": "django-insecure-0123456789-abcdefghijklmnopqrst"}, "placeholder"),
        ({"USE_X_FORWARDED_HOST": True}, "trusted_proxy"),
        ({"AUTH_USER_MODEL": "people.TextUser"}, "in the column login"),
        ({"DJAFFAR": {"trusted_proxy": ["localhost"]}}, "trusted"),
        ({"ROOT_URLCONF": "no_urls"}, "has no URL"),
    ],
)
def test_check_says_what_will_not_work(tmp_path, changes, sentence):
    site = Site(tmp_path, **changes)
    if changes.get("AUTH_USER_MODEL"):
        site.settings["INSTALLED_APPS"] = [
            "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
            "people", "djaffar",
        ]  # fmt: skip
        site.settings["ROOT_URLCONF"] = "djaffar_only"
    if "ROOT_URLCONF" not in changes:
        site.manage("migrate", "-v0", "--run-syncdb")
    code = 1 if "ROOT_URLCONF" in changes else 78
    assert sentence in site.manage("djaffar", "check", code=code)


def test_a_database_without_our_tables(tmp_path):
    site = Site(tmp_path)
    for what in ["check", "serve"]:
        assert "run `manage.py migrate djaffar`" in site.manage("djaffar", what, code=78)


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


def test_the_server_refuses_to_share_a_process_with_sqlite():
    import sqlite3  # noqa: F401

    from djaffar import _djaffar

    with pytest.raises(RuntimeError, match="python -m djaffar"):
        _djaffar.main(["--version"])
