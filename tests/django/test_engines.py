"""Every session engine of Django: its sessions are Djaffar's, and Djaffar's are its."""

import os
import subprocess
import time

import pytest
from engines import NAMES, engine
from live import BINARY, CACHE_SECONDS, PASSWORD, clean
from redis_server import redis, redis_of_its_own  # noqa: F401 (fixtures)

COOKIES = "signed_cookies"


@pytest.fixture
def serve(make_site, tmp_path, request):
    """Makes a site with this engine, both servers running."""

    def serve(name, server=None):
        settings, options = engine(
            name, tmp_path, lambda: server or request.getfixturevalue("redis")
        )
        site = make_site(settings)
        site.serve()
        site.serve_djaffar(*options)
        return site

    return serve


@pytest.mark.parametrize("name", NAMES)
def test_who_logs_in_is_the_user_and_a_logout_ends_it(serve, name):
    site = serve(name)
    browser = site.browser("alice")
    # Long enough that django-redis compresses it.
    browser.post("/session/", data={"cart": "apples " * 200})
    answer = browser.log("/cart")
    assert answer.status_code == 204
    assert "Set-Cookie" not in answer.headers
    row = site.activity("/cart")
    assert row["user_id"] == site.user("alice")
    if name != COOKIES:
        assert row["session_id"] == browser.key
    browser.logout()
    row = browser.logged("/later")
    assert row["user_id"] is None
    assert site.activity("/cart")["session_id"] != row["session_id"]


@pytest.mark.parametrize("name", NAMES)
def test_django_reads_a_session_that_djaffar_began(serve, name):
    site = serve(name)
    browser = site.browser()
    first = browser.logged("/first")
    visitor = first["session_id"]
    assert len(visitor) == 32
    seen = browser.session()
    assert seen["data"] == {"djaffar_visitor": visitor}
    if name != COOKIES:
        assert seen["key"] == browser.key == visitor

    browser.post("/session/", data={"colour": "grün"})
    assert browser.session()["data"] == {"djaffar_visitor": visitor, "colour": "grün"}
    answer = browser.log("/second")
    assert "Set-Cookie" not in answer.headers
    assert site.activity("/second")["session_id"] == visitor

    browser.login("alice")
    assert browser.session()["data"]["djaffar_visitor"] == visitor
    row = browser.logged("/third")
    assert row["user_id"] == site.user("alice")
    infos = site.rows("SELECT session_id, visitor FROM djaffar_sessioninfo")
    assert {info["visitor"] for info in infos} == {visitor}
    # A login changes the key, except where there is none but what stands in the cookie.
    assert len(infos) == (1 if name == COOKIES else 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:4] + ["django-redis-zstd"])
def test_what_ends_a_login_is_seen_within_the_time_of_the_cache(serve, name):
    site = serve(name)
    names = ["bob", "carol", "dave", "erin"]
    browsers = {name: site.browser(name) for name in names}
    bob, carol, dave, erin = browsers.values()
    elsewhere = site.browser("bob")
    for user, browser in [*browsers.items(), ("bob", elsewhere)]:
        row = browser.logged("/%s-%d" % (user, id(browser)))
        assert row["user_id"] == site.user(user)
    kept = carol.key
    passwords = {"new_password1": "better horse 1", "new_password2": "better horse 1"}
    changed = bob.form("/admin/password_change/", old_password=PASSWORD, **passwords)
    assert changed.status_code == 302
    carol.logout()
    carol.cookies.set("sessionid", kept, domain="127.0.0.1")
    site.browser("alice").get("/deactivate/dave/")
    time.sleep(CACHE_SECONDS)

    assert bob.logged("/bob-new")["user_id"] == site.user("bob")
    assert elsewhere.logged("/bob-old")["user_id"] is None
    assert dave.logged("/dave-inactive")["user_id"] is None
    assert erin.logged("/erin-still")["user_id"] == site.user("erin")
    # A cookie that holds its session cannot be called back: Django itself takes it.
    ends = name != COOKIES
    assert (carol.session()["user"] is None) == ends
    carol.cookies.set("sessionid", kept, domain="127.0.0.1")
    assert (carol.logged("/carol-old")["user_id"] is None) == ends


@pytest.mark.parametrize("name", ["file", COOKIES, "redis"])
def test_a_rotated_key_counts_as_long_as_it_is_a_fallback(make_site, tmp_path, request, name):
    settings, options = engine(name, tmp_path, lambda: request.getfixturevalue("redis"))
    new = "new-" + "k7#v!mq2z8x_w4n9c3b6t1y5r0p-e8u7i6o5a4s3d2f1"
    site = make_site(settings)
    site.serve()
    site.serve_djaffar(*options)
    alice = site.browser("alice")
    newcomer = site.browser()
    first = newcomer.logged("/newcomer")["session_id"]

    old = (site.folder / "secret-key").read_text()
    site.write_key(new)
    fallback = site.write_key(old, "old-key")
    for with_fallback in (True, False):
        site.close()
        site.processes.clear()
        site.settings["SECRET_KEY_FALLBACKS"] = [old] if with_fallback else []
        site.serve()
        site.serve_djaffar(*options, *([fallback] if with_fallback else []))
        kept = alice.key
        path = "/%s" % with_fallback
        row = alice.logged(path)
        alice.cookies.set("sessionid", kept, domain="127.0.0.1")
        user = alice.session()["user"]
        assert row["user_id"] == user
        assert (user is not None) == with_fallback
        if with_fallback:
            alice.cookies.set("sessionid", kept, domain="127.0.0.1")
            assert newcomer.logged("/again")["session_id"] == first


@pytest.mark.newest_django
def test_while_redis_is_away_sessions_wait_and_nothing_is_lost(serve, redis_of_its_own):  # noqa: F811
    server = redis_of_its_own
    site = serve("redis", server)
    alice = site.browser("alice")
    assert alice.logged("/before")["user_id"] == site.user("alice")
    time.sleep(1)
    server.stop()
    newcomer = site.browser()
    assert newcomer.log("/newcomer").status_code == 204
    stranger = site.browser()
    stranger.cookies.set("sessionid", "0123456789abcdef0123456789abcdef", domain="127.0.0.1")
    assert stranger.log("/stranger").status_code == 204
    time.sleep(1)
    assert len(site.rows()) == 1
    server.start()
    rows = site.activities(3)
    # The cache forgot all sessions, so nobody is logged in; newcomers are there.
    by_path = {row["path"]: row for row in rows}
    assert by_path["/newcomer"]["session_id"] == newcomer.key
    assert by_path["/stranger"]["session_id"] is None
    assert newcomer.session()["data"] == {"djaffar_visitor": newcomer.key}


@pytest.mark.newest_django
@pytest.mark.parametrize(
    "options, advice",
    [
        (["--session-engine=cache"], "needs the URL of its Redis"),
        (["--session-engine=cache", "--session-cache=locmem://"], "cached_db"),
        (["--session-engine=cache", "--session-cache=memcached://127.0.0.1"], "cached_db"),
        (["--session-engine=shop.sessions"], "none of Django's own engines"),
        (["--session-engine=file", "--session-file-path=/nowhere"], "SESSION_FILE_PATH"),
        (["--token=jwt", "--jwt-algorithm=RS256"], "jwt_key_file"),
        (["--token=jwt", "--jwt-algorithm=ES512", "--jwt-key-file=secret-key"], "jwt_algorithm"),
        (["--token=jwt", "--jwt-algorithm=RS256", "--jwt-key-file=secret-key"], "PEM"),
    ],
)
def test_what_cannot_be_read_is_refused_at_start(make_site, options, advice):
    site = make_site()
    command = ["serve", "--listen=127.0.0.1:0", "--database=" + site.database_url]
    done = subprocess.run(
        [BINARY, *command, "--secret-key-file=secret-key", *options],
        cwd=site.folder,
        env=clean({}),
        capture_output=True,
        timeout=20,
        text=True,
    )
    assert done.returncode == 78, done.stderr
    assert advice in done.stderr


@pytest.mark.newest_django
def test_a_session_file_is_only_for_its_owner(serve, tmp_path):
    site = serve("file")
    browser = site.browser()
    browser.logged("/first")
    [path] = [p for p in os.scandir(tmp_path / "sessions")]
    assert path.name == "sessionid" + browser.key
    assert path.stat().st_mode & 0o777 == 0o600
