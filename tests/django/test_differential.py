"""A hundred thousand cookies, real and mutated: Djaffar takes exactly those that Django takes.

Every session engine on every Django: sessions in the formats of all Djangos, and for each cookie
mutations of it. Djaffar is asked first, for Django deletes some sessions that it does not like.
"""

import json
import random
import socket
import string
import time
import urllib.parse

import pytest
from engines import engine
from live import DATE, KEY
from redis_server import redis  # noqa: F401 (fixture)

pytestmark = pytest.mark.slow

# For each of 39: 8 Djangos with four engines, 4 with Redis, 3 with django-redis.
COOKIES = 2_600
CONNECTIONS = 64
# Of the forms that Django has given up.
OLD_COOKIES = 600
PICKLES = "django.contrib.sessions.serializers.PickleSerializer"
OLD_KEY = "old-" + KEY
ALPHABET = string.ascii_letters + string.digits + "-_:.=+/!*'"
# Older parsers of cookies differ in these; ours is that of the newer.
ODD = "\" ,\\@?&(){}[]<>|^~`#$%"


def mutate(cookie, others, chance, odd):
    """The cookie with one to three changes."""
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at = chance.randrange(len(cookie) + 1)
        letter = chance.choice(ALPHABET + (ODD if odd else ""))
        other = chance.choice(others)
        cookie = chance.choice(
            [
                cookie[:at] + letter + cookie[at + 1 :],
                cookie[:at] + letter + cookie[at:],
                cookie[:at] + cookie[at + 1 :],
                cookie[:at],
                cookie[at:],
                cookie.swapcase() if chance.random() < 0.5 else cookie.upper(),
                cookie + letter,
                '"%s"' % cookie if odd else cookie + "=",
                cookie[:at] + other[at:],
                # The signature, or the time, of another.
                cookie.rsplit(":", 1)[0] + ":" + other.rsplit(":", 1)[-1],
                cookie[::-1],
                " " + cookie + " " if odd else cookie + cookie,
            ]
        )
    return cookie[:3_900]


def ask(site, cookies):
    """Posts an activity with each cookie; whether that made no new session."""
    taken = [None] * len(cookies)
    waiting = list(range(len(cookies)))
    connections = [Connection(site.endpoint) for _ in range(CONNECTIONS)]
    for _ in range(100):
        for start in range(0, len(waiting), CONNECTIONS):
            part = waiting[start : start + CONNECTIONS]
            # At once, so that they are committed together.
            for number, connection in zip(part, connections):
                connection.post(number, cookies[number])
            for number, connection in zip(part, connections):
                taken[number] = connection.taken(cookies[number])
        waiting = [number for number in waiting if taken[number] is None]
        if not waiting:
            for connection in connections:
                connection.close()
            return taken
        time.sleep(0.1)
    raise AssertionError("503 again and again: %s" % [cookies[n] for n in waiting[:3]])


class Connection:
    """One that stays: as many bytes and as few steps as it takes."""

    def __init__(self, endpoint):
        host, port = urllib.parse.urlsplit(endpoint).netloc.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.answers = self.socket.makefile("rb")

    def close(self):
        self.answers.close()
        self.socket.close()

    def post(self, number, cookie):
        body = urllib.parse.urlencode({"date": DATE, "path": "/%d" % number})
        head = "POST /djaffar/log/ HTTP/1.1\r\nHost: x\r\nCookie: sessionid=%s\r\n"
        kind = "Content-Type: application/x-www-form-urlencoded\r\n"
        length = "Content-Length: %d\r\n\r\n" % len(body)
        self.socket.sendall((head % cookie + kind + length + body).encode("ascii"))

    def taken(self, cookie):
        """Whether the cookie was answered without a new session; None: it was put off (503), as
        happens while the site's SQLite is locked."""
        status = int(self.answers.readline().split()[1])
        assert status in (204, 503), (status, cookie)
        fresh, length = False, 0
        while (line := self.answers.readline().lower()) != b"\r\n":
            assert line, cookie
            fresh = fresh or line.startswith(b"set-cookie:")
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.answers.read(length)
        return None if status == 503 else not fresh


@pytest.fixture
def compare(django, make_site, tmp_path, request):
    def compare(name):
        judge(django, make_site, name, tmp_path, request)

    return compare


@pytest.mark.every_django
@pytest.mark.parametrize("name", ["db", "cached_db", "file", "signed_cookies"])
def test_djaffar_takes_the_cookies_that_django_takes(compare, name):
    compare(name)


@pytest.mark.parametrize("name", ["redis", "django-redis"])
def test_djaffar_takes_the_cookies_of_sessions_in_redis(compare, name):
    compare(name)


@pytest.mark.older_apps
def test_djaffar_takes_the_cookies_of_sessions_in_redis_of_an_older_django(compare):
    compare("redis")


@pytest.mark.before_django_5
@pytest.mark.parametrize("name", ["db", "file", "signed_cookies"])
def test_djaffar_takes_sessions_in_pickles(django, make_site, tmp_path, request, name):
    more = {"SESSION_SERIALIZER": PICKLES}, ["--session-serializer=pickle"]
    judge(django, make_site, name, tmp_path, request, more)


def judge(django, make_site, name, tmp_path, request, more=None):
    """Both judge the same cookies, on a site of its own."""
    chance = random.Random("%s %s" % (django.version, name))
    settings, options = engine(name, tmp_path, lambda: request.getfixturevalue("redis"))
    count = OLD_COOKIES if more else COOKIES
    for settings_too, options_too in [more] if more else []:
        settings.update(settings_too)
        options += options_too
    options += ["--session-rate-limit=0", "--connections-per-address=1000"]
    if django.number >= (4, 1):
        settings["SECRET_KEY_FALLBACKS"] = [OLD_KEY]
    if django.number[:2] in ((3, 1), (3, 2)):
        options.append("--hashing=both")
    site = make_site(settings)
    if django.number >= (4, 1):
        options.append(site.write_key(OLD_KEY, "old-key"))
    made = json.loads(site.manage("script", SITE_SCRIPT="import cookies\ncookies.make()"))
    odd = django.number >= (2, 2)
    cookies = made + [
        mutate(chance.choice(made), made, chance, odd) for _ in range(count - len(made))
    ]
    site.serve_djaffar(*options)
    ours = ask(site, cookies)
    rows = {row["path"]: row for row in site.activities(len(cookies))}
    rows = [rows["/%d" % number] for number in range(len(cookies))]
    # While the site's SQLite is locked, a session is settled when the row is stored.
    ours = [
        [taken and row["session_id"] is not None, row["user_id"]]
        for taken, row in zip(ours, rows)
    ]

    (tmp_path / "cookies.json").write_text(json.dumps(cookies))
    environment = {"SITE_SCRIPT": "import cookies\ncookies.judge()"}
    environment["COOKIES"] = str(tmp_path / "cookies.json")
    theirs = json.loads(site.manage("script", **environment))
    differences = [
        (cookie, "djaffar", us, "django", them)
        for cookie, us, them in zip(cookies, ours, theirs)
        if (us if them[0] is not None else [None, us[1]]) != them
    ]
    assert not differences, "%d: %s" % (len(differences), differences[:20])
    # Neither all nor nothing: some sessions count, and of them some are logged in.
    assert 10 < sum(bool(taken) for taken, _ in theirs) < len(cookies) / 2
    assert sum(user is not None for _, user in theirs) > 10
