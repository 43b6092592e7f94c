"""dumpdata and loaddata, also of what 0.1.10 dumped; the fixture for tests of a site; checks."""

import ast
import inspect
import io
import json
from pathlib import Path

import djaffar
import pytest
from djaffar import _djaffar, checks, server
from djaffar.models import Activity, SessionInfo
from django.core.management import call_command
from django.core.management.base import CommandError

# What 0.1.10 prints on Django 1.10.
OLD = """[
{"model": "djaffar.sessioninfo", "pk": "abcdefgh12345678", "fields": {"user_agent": "Old"}},
{"model": "djaffar.activity", "pk": 7, "fields": {"user": null, "session": "abcdefgh12345678",
 "ip_address": "127.0.0.1", "date": "2016-12-29T07:35:22.571Z", "path": "/", "referer": ""}}
]"""

BACKENDS = "django.contrib.sessions.backends."


def dump(*models):
    out = io.StringIO()
    call_command("dumpdata", *models, indent=2, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_what_is_dumped_can_be_loaded(post, post_json, tmp_path):
    post("/käse")
    post_json({"date": "2016-12-29T07:35:22Z", "path": "/", "properties": {"a": [1, 2.5]}})
    text = dump("djaffar.SessionInfo", "djaffar.Activity")
    Activity.objects.all().delete()
    SessionInfo.objects.all().delete()
    file = tmp_path / "dump.json"
    file.write_text(text)
    call_command("loaddata", str(file), verbosity=0)
    assert dump("djaffar.SessionInfo", "djaffar.Activity") == text
    assert "info" not in json.loads(text)[-1]["fields"]


@pytest.mark.django_db
def test_a_dump_of_0_1_10_can_be_loaded(tmp_path):
    file = tmp_path / "old.json"
    file.write_text(OLD)
    call_command("loaddata", str(file), verbosity=0)
    [activity] = Activity.objects.all()
    assert (activity.pk, activity.path, activity.name) == (7, "/", "")
    assert activity.info.visitor == activity.session_id == "abcdefgh12345678"
    assert activity.session is None


def test_the_fixture_for_tests_of_a_site(djaffar_activities, client):
    client.post("/djaffar/log/", {"date": "2016-12-29T07:35:22Z", "path": "/cart"})
    assert djaffar_activities.paths() == [("/cart", 1)]


# --- Checks


@pytest.mark.parametrize(
    ("changes", "check", "found"),
    [
        ({}, checks.proxy, []),
        ({"USE_X_FORWARDED_HOST": True}, checks.proxy, ["djaffar.W001"]),
        ({"SECURE_PROXY_SSL_HEADER": ("A", "b")}, checks.proxy, ["djaffar.W001"]),
        (
            {"USE_X_FORWARDED_HOST": True, "DJAFFAR": {"trusted_proxy": ["10.0.0.0/8"]}},
            checks.proxy,
            [],
        ),
        ({}, checks.engine, []),
        ({"SESSION_ENGINE": BACKENDS + "signed_cookies"}, checks.engine, []),
        ({"SESSION_ENGINE": BACKENDS + "cache"}, checks.engine, ["djaffar.W002"]),
        ({"SESSION_ENGINE": "shop.sessions"}, checks.engine, ["djaffar.W002"]),
        (
            {"SESSION_ENGINE": "shop.sessions", "DJAFFAR": {"session_engine": "db"}},
            checks.engine,
            [],
        ),
        ({}, checks.url, []),
        ({"ROOT_URLCONF": "no_urls"}, checks.url, ["djaffar.W003"]),
    ],
)
def test_the_usual_mistakes_are_named(settings, changes, check, found):
    for name, value in changes.items():
        setattr(settings, name, value)
    from django.urls import clear_url_caches

    clear_url_caches()
    issues = check()
    assert [issue.id for issue in issues] == found
    assert all(issue.hint for issue in issues)


def test_two_sqlites_on_one_file(monkeypatch, settings):
    wal = {
        "ENGINE": "django.db.backends.sqlite3",
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL"},
    }
    settings.DATABASES = {"default": wal}
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 40, 1))
    assert [issue.id for issue in checks.sqlite()] == ["djaffar.W004"]
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 3))
    assert checks.sqlite() == []


@pytest.mark.parametrize(
    ("database", "address"),
    [
        ({"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/db.sqlite3"}, "sqlite:////srv/db.sqlite3"),
        ({"ENGINE": "django.db.backends.postgresql", "NAME": "site", "USER": "u",
          "PASSWORD": "p@/:", "HOST": "db", "PORT": "5433"}, "postgres://u@db:5433/site"),
        ({"ENGINE": "django.db.backends.mysql", "NAME": "site", "USER": "u"}, "mysql://u@/site"),
        ({"ENGINE": "django.db.backends.postgresql", "NAME": "site", "HOST": "/run/pg"},
         "postgres://%2Frun%2Fpg/site"),
        ({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}, None),
        ({"ENGINE": "django.db.backends.oracle", "NAME": "x"}, None),
    ],
)  # fmt: skip
def test_the_address_of_the_database(monkeypatch, database, address):
    class Connection:
        settings_dict = database

    monkeypatch.setattr(server, "connections", {"default": Connection})
    if address is None:
        with pytest.raises(CommandError):
            server.database_url()
    else:
        assert server.database_url() == address


def test_the_migrations_are_complete(db):
    call_command("makemigrations", "djaffar", check=True, dry_run=True, verbosity=0)


def test_the_stubs_name_what_there_is():
    stubs = ast.parse((Path(djaffar.__file__).parent / "_djaffar.pyi").read_text()).body

    def names(body):
        for each in body:
            if isinstance(each, ast.AnnAssign):
                yield each.target.id
            elif isinstance(each, (ast.ClassDef, ast.FunctionDef)):
                yield each.name

    def public(thing):
        return {name for name in vars(thing) if not name.startswith("__") or name == "__version__"}

    assert set(names(stubs)) == public(_djaffar)
    for stub in stubs:
        thing = getattr(_djaffar, stub.name, None) if hasattr(stub, "name") else None
        if isinstance(stub, ast.ClassDef):
            assert set(names(stub.body)) - {"__new__"} == public(thing)
            assert [ast.unparse(base) for base in stub.bases] == (
                ["Exception"] if issubclass(thing, Exception) else []
            )
            for each in stub.body:
                if isinstance(each, ast.FunctionDef):
                    the_same(each, thing if each.name == "__new__" else vars(thing)[each.name])
        elif isinstance(stub, ast.FunctionDef):
            the_same(stub, thing)


def the_same(stub, thing):
    """Whether it is a property, and the parameters: their names, order, kinds and defaults."""
    is_property = "property" in map(ast.unparse, stub.decorator_list)
    assert inspect.isdatadescriptor(thing) == is_property, stub.name
    if not is_property:
        found = inspect.signature(thing).parameters.values()
        found = [(each.name, each.default is each.empty) for each in found if each.name != "self"]
        said = [each.arg for each in stub.args.args if each.arg not in ("self", "cls")]
        assert found == [(name, True) for name in said], stub.name
        assert not [*stub.args.defaults, *stub.args.kwonlyargs], stub.name
