"""The server beside a site on PostgreSQL, MariaDB and MySQL; and the tables that it makes alone there."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from databases import KINDS, Missing
from test_serve import LOGIN, Site, post

pytestmark = pytest.mark.slow

PASSWORD = "ge:h/eim"
TABLES = ["djaffar_activity", "djaffar_sessioninfo", "djaffar_spool_cursor"]
# The keys of the tables between these differ by the version of Django.
DJANGOS = ["auth_user", "auth_group", "auth_permission", "django_session"]
READ = """
import json
from djaffar.models import Activity
rows = Activity.objects.order_by("id").values_list("path", "user", "session_id", "info__visitor")
print(json.dumps(list(rows), default=str))
"""
DESCRIBE = """
import json
from django.db import connection
found = {}
for table in %s:
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, table)
        constraints = connection.introspection.get_constraints(cursor, table)
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity "
                "FROM pg_attribute WHERE attrelid = to_regclass(%%s) AND attnum > 0 "
                "AND NOT attisdropped", [table])
            types = sorted(map(str, cursor.fetchall()))
            cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %%s", [table])
            types += sorted(row[0] for row in cursor.fetchall())
        else:
            cursor.execute(
                "SELECT column_name, column_type, is_nullable, extra, collation_name "
                "FROM information_schema.columns WHERE table_schema = DATABASE() "
                "AND table_name = %%s", [table])
            types = sorted(map(str, cursor.fetchall()))
    found[table] = [
        types,
        sorted(str((c.name, c.type_code, c.internal_size, c.null_ok)) for c in columns),
        sorted(str((c["columns"], c["primary_key"], c["unique"], c["foreign_key"], c["index"]))
               for c in constraints.values() if not c["check"]),
    ]
print(json.dumps(found))
"""


# One server of each for all of its tests: the same worker runs them.
SERVERS = [
    pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql")),
    pytest.param("mariadb", marks=pytest.mark.xdist_group("mariadb")),
    pytest.param("mysql", marks=[pytest.mark.xdist_group("mysql"), pytest.mark.once]),
]


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    # The path of a Unix socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="djaffar-"))
    folder.chmod(0o755)
    try:
        try:
            server = KINDS[request.param](folder)
        except Missing as missing:
            pytest.skip(str(missing))
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def site_on(database, folder, **changes):
    site = Site(folder, **changes)
    site.database = database
    return site


def rows_of(site, count):
    """Read by the site itself, whatever its database is."""
    until = time.monotonic() + 30
    while len(rows := json.loads(site.script(READ))) < count:
        assert time.monotonic() < until, rows
    return rows


def address(database):
    socket = database.get("HOST") or database["OPTIONS"]["unix_socket"]
    scheme = "postgres" if "postgresql" in database["ENGINE"] else "mysql"
    return f"{scheme}://{database['USER']}@{quote(socket, safe='')}/{database['NAME']}"


def djaffar(site, *arguments):
    command = [sys.executable, "-m", "djaffar", *arguments]
    done = subprocess.run(command, capture_output=True, **site.options())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("user_model", ["auth.User", "people.UuidUser"])
def test_the_server_beside_a_site(server, tmp_path, user_model):
    database = server.create("beside_" + user_model.rpartition(".")[2].lower())
    site = site_on(database, tmp_path, AUTH_USER_MODEL=user_model)
    site.manage("migrate", "-v0", "--run-syncdb")
    key, user = site.script(LOGIN).split()
    assert "Ready" in site.manage("djaffar", "check")
    child, url = site.serve()
    try:
        assert post(url + "/djaffar/log/", key) == 204
        assert post(url + "/djaffar/log/", None, "/newcomer") == 204
        rows = {row[0]: row[1:] for row in rows_of(site, 2)}
        assert [str(value) for value in rows["/"]] == [user, key, key]
        assert rows["/newcomer"][0] is None
    finally:
        child.terminate()
        assert child.wait(timeout=20) == 0


def test_the_password_goes_in_a_file_that_nobody_sees(server, tmp_path):
    database = server.create("secret")
    site = site_on(database, tmp_path)
    site.manage("migrate", "-v0")
    if "postgresql" in database["ENGINE"]:
        # A user who must have one, whatever the others may.
        make = f"CREATE ROLE u SUPERUSER LOGIN PASSWORD '{PASSWORD}'"
        command = ["psql", "-h", str(server.folder), "-U", "site", "-c", make, "postgres"]
        subprocess.run(command, check=True, capture_output=True)
        rules = server.folder / "data/pg_hba.conf"
        rules.write_text("local all u scram-sha-256\n" + rules.read_text())
        command[-2] = "SELECT pg_reload_conf()"
        subprocess.run(command, check=True, capture_output=True)
        database |= {"USER": "u", "PASSWORD": PASSWORD}
    else:
        make = (
            f"CREATE USER u@localhost IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO u@localhost"
        )
        command = [
            "mariadb",
            "--no-defaults",
            "-u",
            "root",
            f"--socket={server.socket}",
            "-e",
            make,
        ]
        subprocess.run(command, check=True, capture_output=True)
        database |= {"USER": "u", "PASSWORD": PASSWORD}
    shown = site.manage("djaffar", "config") + site.manage("djaffar", "check")
    child, url = site.serve()
    try:
        assert post(url + "/djaffar/log/", None) == 204
        rows_of(site, 1)
        if sys.platform == "linux":
            shown += Path(f"/proc/{child.pid}/cmdline").read_text()
            shown += Path(f"/proc/{child.pid}/environ").read_text().partition("SITE_DATABASE")[0]
    finally:
        child.terminate()
        child.wait(timeout=20)
    for text in [PASSWORD, quote(PASSWORD, safe="")]:
        assert text not in shown
    assert "database_password_file" in shown


def test_the_tables_are_those_of_django_and_a_django_adopts_them(server, tmp_path):
    django = site_on(server.create("django_made"), tmp_path)
    django.manage("migrate", "-v0")
    alone = site_on(server.create("alone"), tmp_path)
    said = djaffar(alone, "migrate", "--database", address(alone.database))
    assert "up to date" in said
    djaffar(alone, "migrate", "--database", address(alone.database))
    ours = json.loads(alone.script(DESCRIBE % TABLES))
    assert ours == json.loads(django.script(DESCRIBE % TABLES))
    # A Django comes later, and takes what is there.
    os.environ["DJANGO_SUPERUSER_PASSWORD"] = "correct horse"
    djaffar(alone, "createsuperuser", "--database", address(alone.database), "--username", "ada")
    alone.manage("migrate", "-v0", "contenttypes", "--fake-initial")
    alone.manage("migrate", "-v0", "auth", "--fake-initial")
    alone.manage("migrate", "-v0", "sessions", "--fake-initial")
    alone.manage("migrate", "-v0", "djaffar", "--fake")
    alone.manage("migrate", "-v0")
    assert "Ready" in alone.manage("djaffar", "check")
    ours = json.loads(alone.script(DESCRIBE % DJANGOS))
    theirs = json.loads(django.script(DESCRIBE % DJANGOS))
    # Columns and uniqueness; the first migrations of old Djangos name indexes otherwise.
    assert {name: part[1] for name, part in ours.items()} == {
        name: part[1] for name, part in theirs.items()
    }
    who = "from django.contrib.auth import authenticate as a; print(a(username='ada', password='correct horse'))"
    hashers = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    alone.settings["PASSWORD_HASHERS"] = hashers
    assert alone.script(who) == "ada"
