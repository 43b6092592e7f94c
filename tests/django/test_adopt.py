"""A file that Djaffar made alone becomes the database of a Django site: docs/django.md."""

import pytest

PASSWORD = "a long password of 2026"
DEFAULT_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]


@pytest.fixture
def alone(make_site):
    """Djaffar with its own file, and a visitor; a Django that knows the file but not yet its
    tables."""
    site = make_site({"PASSWORD_HASHERS": DEFAULT_HASHERS}, empty=True)
    site.database = site.folder / "djaffar.sqlite3"
    server = site.serve_djaffar(alone=True)
    site.write_key((site.folder / "djaffar.secret-key").read_text().strip())
    site.visitor = site.browser()
    site.visitor.logged("/alone")
    superuser = ["--username", "zo\u00eb", "--email", "zoe@example.com"]
    site.djaffar("createsuperuser", *superuser, DJANGO_SUPERUSER_PASSWORD=PASSWORD)
    site.processes.remove(server)
    server.stop()
    return site


def test_django_adopts_the_file(alone):
    site = alone
    site.manage("migrate", "--fake-initial", "--noinput")
    assert b"[ ]" not in site.manage("showmigrations", "--plan")
    site.manage("check", "--database", "default")
    site.serve()
    assert site.visitor.session()["data"] == {"djaffar_visitor": site.visitor.key}

    site.serve_djaffar()
    first = site.visitor.key
    site.visitor.login("zo\u00eb", PASSWORD)
    assert site.visitor.get("/admin/auth/user/").status_code == 200
    row = site.visitor.logged("/adopted")
    assert row["user_id"] == site.user("zo\u00eb")
    assert row["session_id"] == site.visitor.key != first
    assert [row["path"] for row in site.rows()] == ["/alone", "/adopted"]


def test_the_adopted_tables_are_those_of_a_new_django(alone, make_site):
    new = make_site(empty=True)
    new.manage("migrate", "--noinput")
    alone.manage("migrate", "--fake-initial", "--noinput")
    for table in new.rows("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        assert shape(alone, table["name"]) == shape(new, table["name"]), table["name"]


def shape(site, table):
    """Columns in any order, indexes, foreign keys."""
    columns = site.rows("SELECT name, upper(type), \"notnull\", pk FROM pragma_table_info(?)", table)
    indexes = site.rows(
        "SELECT l.\"unique\", l.partial, group_concat(i.name) FROM pragma_index_list(?) l, "
        "pragma_index_info(l.name) i GROUP BY l.name",
        table,
    )
    keys = site.rows("SELECT \"from\", \"table\", \"to\" FROM pragma_foreign_key_list(?)", table)
    return [sorted(map(tuple, part)) for part in (columns, indexes, keys)]
