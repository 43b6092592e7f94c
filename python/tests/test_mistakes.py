"""What sites write wrongly in their settings: it is named, with what to do, before it costs a request."""

import types
from pathlib import Path

import pytest
from djaffar import checks, options, server
from django.core.checks import run_checks
from django.core.management.base import CommandError
from django.urls import clear_url_caches, include, path


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"trusted_proxy": "127.0.0.1/32"}, "trusted_proxy: invalid type"),
        ({"trusted_proxy": ["localhost"]}, '"localhost" is no network'),
        ({"trusted_proxies": ["127.0.0.1/32"]}, "unknown field `trusted_proxies`"),
        ({"allowed_origin": ["shop.example"]}, "scheme and host"),
        ({"session_cookie_age": None}, "session_cookie_age is None"),
        ({"spool_retain_seconds": types}, "spool_retain_seconds: a module"),
        (["trusted_proxy"], "dictionary"),
    ],
)
def test_a_mistake_in_the_options_is_an_error(settings, db, said, words):
    # Django's own checks ask the database what it can do.
    settings.DJAFFAR = said
    found = [issue for issue in run_checks() if issue.id == "djaffar.E001"]
    assert len(found) == 1
    assert words in found[0].msg
    assert found[0].hint


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"trusted_proxy": ["127.0.0.1", "::1", "10.0.0.0/8"], "spool": Path("/srv/spool")},
        # Good with what the settings of Django say.
        {"session_cookie_samesite": "None"},
        {"token": ["jwt"], "jwt_algorithm": "RS256"},
    ],
)
def test_what_is_right_is_none(settings, said):
    settings.SESSION_COOKIE_SECURE = True
    jwt = "rest_framework_simplejwt.authentication.JWTAuthentication"
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [jwt]}
    settings.SIMPLE_JWT = {"ALGORITHM": "RS256", "VERIFYING_KEY": "-----BEGIN PUBLIC KEY-----"}
    settings.DJAFFAR = said
    assert checks.written() == []


def test_one_proxy_may_be_named_by_its_address(client, settings, db):
    from djaffar.models import Activity

    settings.DJAFFAR = {"trusted_proxy": ["127.0.0.1"]}
    data = {"date": "2026-01-01T00:00:00Z", "path": "/"}
    client.post("/djaffar/log/", data, headers={"X-Forwarded-For": "192.0.2.7"})
    assert Activity.objects.get().ip_address == "192.0.2.7"


def test_the_endpoint_is_found_in_a_namespace(settings):
    urls = types.ModuleType("urls_of_a_shop")
    ours = include(("djaffar.urls", "tracking"), namespace="tracking")
    urls.urlpatterns = [path("shop/", include(([path("d/", ours)], "shop")))]
    settings.ROOT_URLCONF = urls
    clear_url_caches()
    assert checks.url() == []
    assert server.prefix() == "/shop/d/"


SQLITE, MYSQL = "django.db.backends.sqlite3", "django.db.backends.mysql"


@pytest.mark.parametrize(
    ("database", "words"),
    [
        # As Django's own documentation writes it.
        ({"ENGINE": MYSQL, "OPTIONS": {"read_default_file": "/etc/my.cnf"}}, "reads no my.cnf"),
        ({"ENGINE": MYSQL, "NAME": ""}, "has no NAME"),
        ({"ENGINE": SQLITE, "NAME": "/srv/what?/db"}, "rename it"),
        ({"ENGINE": SQLITE, "NAME": "/srv/a#b"}, "rename it"),
    ],
)
def test_a_database_that_the_server_cannot_be_told_of(monkeypatch, settings, database, words):
    class Connection:
        settings_dict = {"NAME": "", **database}

    monkeypatch.setattr(server, "connections", {"default": Connection})
    with pytest.raises(CommandError, match=words):
        server.derived()
    # The site may say it itself.
    settings.DJAFFAR = {"database": "sqlite:////srv/db"}
    assert server.derived().options["database"] == "sqlite:////srv/db"


def test_none_is_left_out_for_the_server_and_named(settings):
    settings.DJAFFAR = {"session_cookie_age": None, "database": "sqlite:////srv/db"}
    derived = server.derived()
    assert derived.options["session_cookie_age"] == settings.SESSION_COOKIE_AGE
    assert any("session_cookie_age is None" in sentence for sentence in derived.wrong)
    assert list(options.given()) == ["database"]
