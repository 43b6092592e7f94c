"""The server takes sessions, tokens, hosts and keys as the settings have them: real apps, real tokens."""

import json
import sys
import time

import pytest
from conftest import ROOT
from serving import LOGIN, Site, answer, classes, post

sys.path.append(str(ROOT / "tests/django"))
from redis_server import redis  # noqa: F401 (fixture)

pytestmark = pytest.mark.slow
ENGINE = "django.contrib.sessions.backends."
SESSION = "rest_framework.authentication.SessionAuthentication"
TOKEN = "rest_framework.authentication.TokenAuthentication"
KNOX = "knox.auth.TokenAuthentication"
JWT = "rest_framework_simplejwt.authentication.JWTAuthentication"
OAUTH = "oauth2_provider.contrib.rest_framework.OAuth2Authentication"

# Whether Django reads what the server gave to a newcomer.
READS = """
from importlib import import_module
from django.conf import settings
session = import_module(settings.SESSION_ENGINE).SessionStore(%r)
print(session.get("djaffar_visitor"))
"""


def cache(backend, location, **more):
    return {"default": {"BACKEND": backend, "LOCATION": location, **more}}


def settings_of(engine, folder, url):
    django = "django.core.cache.backends.redis.RedisCache"
    django_redis = "django_redis.cache.RedisCache"
    json_form = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
    zlib = {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"}
    (folder / "sessions").mkdir()
    return {
        "db": {},
        "cached_db": {"SESSION_ENGINE": ENGINE + "cached_db"},
        "file": {"SESSION_FILE_PATH": str(folder / "sessions")},
        "signed_cookies": {},
        "cache": {"CACHES": cache(django, [f"{url}/1", f"{url}/1"], KEY_PREFIX="a:b", VERSION=7)},
        "cache options": {"CACHES": cache(django, url, OPTIONS={"db": 2})},
        "cache other": {
            "CACHES": {
                "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
                "logins": cache(django_redis, f"{url}/3", OPTIONS=zlib)["default"],
            },
            "SESSION_CACHE_ALIAS": "logins",
        },
        "cache json": {"CACHES": cache(django_redis, f"{url}/4", OPTIONS=json_form)},
    }[engine] | {"SESSION_ENGINE": ENGINE + engine.split()[0]}


@pytest.mark.parametrize(
    "engine",
    ["db", "cached_db", "file", "signed_cookies", "cache", "cache options", "cache other", "cache json"],
)  # fmt: skip
def test_every_session_engine(tmp_path, request, engine):
    url = (
        request.getfixturevalue("redis").url
        if engine.startswith("cache ") or engine == "cache"
        else ""
    )
    site = Site(tmp_path, **settings_of(engine, tmp_path, url))
    site.migrate()
    key, user = site.script(LOGIN).split()
    assert "Ready" in site.manage("djaffar", "check")
    with site.serving() as url:
        assert post(url + "/djaffar/log/", key) == 204
        made = answer(url + "/djaffar/log/", None, "/new").headers["Set-Cookie"]
        made = made.split(";")[0].removeprefix("sessionid=")
        rows = {row[0]: row for row in site.rows(2)}
    assert str(rows["/"][1]) == user
    if engine != "signed_cookies":
        assert rows["/"][2] == key
        assert rows["/new"][2] == made
    assert rows["/new"][1] is None
    assert site.script(READS % made) == rows["/new"][3]


TOKENS = """
import json
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from knox.models import AuthToken
from oauth2_provider.models import AccessToken, Application
from rest_framework.authtoken.models import Token
from rest_framework_simplejwt.tokens import AccessToken as Jwt
users = {name: User.objects.create_user(name) for name in ["drf", "knox", "jwt", "oauth"]}
app = Application.objects.create(client_type="confidential", authorization_grant_type="password")
AccessToken.objects.create(
    user=users["oauth"], application=app, token="opaque", scope="read",
    expires=timezone.now() + timedelta(hours=1))
print(json.dumps({
    "drf": "Token " + Token.objects.create(user=users["drf"]).key,
    "knox": "Knox " + AuthToken.objects.create(users["knox"])[1],
    "jwt": "JWT " + str(Jwt.for_user(users["jwt"])),
    "oauth": "Bearer opaque",
    "users": {str(user.pk): name for name, user in users.items()},
}))
"""
KEYS = """
import json
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import *
key = rsa.generate_private_key(65537, 2048)
private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
print(json.dumps({"SIGNING_KEY": private.decode(), "VERIFYING_KEY": public.decode()}))
"""


@pytest.fixture
def shop(tmp_path):
    """A site with all four kinds of tokens, in words of its own."""
    site = Site(tmp_path)
    keys = json.loads(site.script(KEYS))
    site.settings["EXTRA_APPS"] = ["knox", "oauth2_provider"]
    site.settings["REST_KNOX"] = {"AUTH_HEADER_PREFIX": "Knox"}
    site.settings["SIMPLE_JWT"] = {
        **keys, "ALGORITHM": "RS256", "AUTH_HEADER_TYPES": ["JWT"], "AUDIENCE": "shop",
        "ISSUER": "https://id.example", "USER_ID_CLAIM": "sub", "LEEWAY": 5,
    }  # fmt: skip
    site.migrate()
    return site


def test_every_token_that_the_site_takes_and_no_other(shop):
    sent = json.loads(shop.script(TOKENS))
    users = sent.pop("users")
    shop.settings["REST_FRAMEWORK"] = classes(SESSION, TOKEN, KNOX, JWT, OAUTH)
    assert "Ready" in shop.manage("djaffar", "check")
    with shop.serving() as url:
        for name, header in sent.items():
            assert post(url + "/djaffar/log/", None, "/" + name, Authorization=header) == 204, name
            bad = header[:-3] + "AAA"
            assert post(url + "/djaffar/log/", None, "/bad", Authorization=bad) == 401, name
        found = {row[0]: users[str(row[1])] for row in shop.rows(4)}
    assert found == {"/" + name: name for name in sent}

    # One kind only: the others are no credentials here, for the server as for the view.
    shop.settings["REST_FRAMEWORK"] = classes(JWT)
    with shop.serving() as url:
        for name, header in sent.items():
            assert post(url + "/djaffar/log/", None, "/only-" + name, Authorization=header) == 204
        found = {row[0]: row[1] for row in shop.rows(8)[4:]}
    assert {path for path, user in found.items() if user is not None} == {"/only-jwt"}


def test_a_session_counts_where_the_rest_framework_of_the_site_takes_sessions(tmp_path):
    site = Site(tmp_path, REST_FRAMEWORK=classes(TOKEN))
    site.migrate()
    key, user = site.script(LOGIN).split()
    with site.serving() as url:
        assert post(url + "/djaffar/log/", key, "/token-only") == 204
        site.rows(1)
    site.settings["REST_FRAMEWORK"] = classes("people.tokens.Lenient")
    with site.serving() as url:
        assert post(url + "/djaffar/log/", key, "/lenient") == 204
        site.rows(2)
    # Without Django REST framework: no token is any, and sessions count.
    del site.settings["REST_FRAMEWORK"]
    site.bare().settings["REST_FRAMEWORK_IS_ABSENT"] = True
    with site.serving() as url:
        assert post(url + "/djaffar/log/", key, "/plain", Authorization="Token x") == 204
        rows = {row[0]: row[1] for row in site.rows(3)}
    assert rows == {"/token-only": None, "/lenient": int(user), "/plain": int(user)}


def test_the_site_has_the_last_word_about_tokens(tmp_path):
    own = classes("people.tokens.OwnTokens", SESSION)
    site = Site(tmp_path, REST_FRAMEWORK=own, DJAFFAR={"token": ["drf"]})
    site.migrate()
    assert "Ready" in site.manage("djaffar", "check")
    with site.serving() as url:
        assert post(url + "/djaffar/log/", None, Authorization="Token nonsense") == 401


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({"ALLOWED_HOSTS": [".shop.example"]}, "www.shop.example", 204),
        ({"ALLOWED_HOSTS": [".shop.example"]}, "shop.example:8000", 204),
        ({"ALLOWED_HOSTS": [".shop.example"]}, "evil.example", 400),
        ({"ALLOWED_HOSTS": ["*"]}, "evil.example", 204),
        ({"ALLOWED_HOSTS": [], "DEBUG": True}, "localhost", 204),
        ({"ALLOWED_HOSTS": [], "DEBUG": True}, "evil.example", 400),
    ],
)
def test_trusted_hosts(tmp_path, settings, host, status):
    site = Site(tmp_path, **settings)
    site.migrate()
    with site.serving() as url:
        assert post(url + "/djaffar/log/", None, Host=host) == status


OLD = "site-key-of-the-tests-0123456789-abcdefghijklmnop"
NEW = "another-key-0123456789-abcdefghijklmnopqrst"


@pytest.mark.once
def test_a_new_secret_key_counts_while_the_server_runs(tmp_path):
    """Where the keys are files, as secrets of a container are."""
    key_file, old_file = tmp_path / "key", tmp_path / "old-keys"
    key_file.write_text(OLD)
    old_file.write_text("")
    names = {"secret_key_file": key_file, "secret_key_fallback_file": [old_file]}
    said = {
        name: [*map(str, value)] if isinstance(value, list) else str(value)
        for name, value in names.items()
    }
    site = Site(tmp_path, DJAFFAR=said)
    site.migrate()
    key, user = site.script(LOGIN).split()

    def user_now(url, path):
        assert post(url + "/djaffar/log/", key, path) == 204
        until = time.monotonic() + 20
        while path not in (rows := {row[0]: row[1] for row in site.rows(1)}):
            assert time.monotonic() < until
        return rows[path]

    with site.serving() as url:
        assert user_now(url, "/before") == int(user)
        old_file.write_text(OLD)
        key_file.write_text(NEW)
        time.sleep(30)
        assert user_now(url, "/fallback") == int(user)
        # What cannot be a key changes nothing.
        key_file.write_text("short")
        time.sleep(11)
        assert user_now(url, "/fallback-still") == int(user)
        key_file.write_text(NEW)
        old_file.write_text("")
        time.sleep(30)
        assert user_now(url, "/without") is None
