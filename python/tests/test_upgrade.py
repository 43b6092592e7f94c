"""A database that 0.1.10 made and filled becomes ours, in place and with every row.

The published 0.1.10 runs on Django 1.10 and Python 3.6 (OLD_PYTHON, OLD_PACKAGES; python/tests/run
installs them), on each kind of database.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import forked
import pytest
from conftest import ROOT
from databases import KINDS, Missing

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent

# Run in the new site: what the ORM says afterwards, and that it can write.
SCRIPT = """
import json
from django.core.management import call_command
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from djaffar.models import Activity, SessionInfo
rows = list(Activity.objects.order_by("pk").values_list(
    "pk", "user", "session", "ip_address", "path", "referer", "name", "info__visitor"))
infos = list(SessionInfo.objects.order_by("pk").values_list("pk", "user_agent", "visitor"))
client = Client(HTTP_USER_AGENT="New")
event = "c9bf9e57-1685-4c89-bafb-ff5af830be8a"
data = {"date": "2026-01-01T00:00:00Z", "path": "/" + "é😀" * 900, "event_id": event, "properties": "{}"}
statuses = [client.post("/djaffar/log/", data).status_code for _ in range(2)]
jeff = User.objects.get(username="jeff")
answer = client.post("/djaffar/log/", json.dumps([{**data, "event_id": None}, data]), "application/json")
batch = answer.json()
jeff.delete()
Session.objects.all().delete()
before = [len(rows), Activity.objects.count()]
with connection.cursor() as cursor:
    constraints = connection.introspection.get_constraints(cursor, "djaffar_activity")
    types = {c.name: c.type_code for c in connection.introspection.get_table_description(cursor, "djaffar_activity")}
try:
    Activity.objects.create(date="2026-01-01T00:00:00Z", path="/", event_id=event)
    unique = False
except Exception as error:
    unique = type(error).__name__
print(json.dumps({
    "rows": rows, "infos": infos, "statuses": statuses, "batch": batch, "count": Activity.objects.count(),
    "users": Activity.objects.exclude(user=None).count(), "unique": unique,
    "paths": Activity.objects.paths()[0], "visits": len(list(Activity.objects.visits())),
    "keys": [[c["columns"], bool(c["foreign_key"]), c["unique"]] for c in constraints.values()
             if not c["primary_key"] and not c["check"]],
}, default=str))
"""


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
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


def run(command, database, **environment):
    environment = {**os.environ, "SITE_DATABASE": json.dumps(database), **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def manage(database, *arguments, **environment):
    path = f"{HERE / 'site'}:{os.environ['PYTHONPATH']}"
    command = [sys.executable, str(HERE / "site" / "manage.py"), *arguments]
    environment |= {"SITE_DATABASE": json.dumps(database), "PYTHONPATH": path}
    done = forked.run(command, {**os.environ, **environment}, HERE)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


DUMP = ["dumpdata", "djaffar.Activity", "djaffar.SessionInfo"]


def compare_dumps(old, new):
    """Row by row and field by field: nothing of the old is lost or changed."""

    def key(row):
        return row["model"], str(row["pk"])

    assert [key(row) for row in sorted(old, key=key)] == [key(row) for row in sorted(new, key=key)]
    for before, after in zip(sorted(old, key=key), sorted(new, key=key), strict=True):
        kept = {name: after["fields"][name] for name in before["fields"]}
        assert kept == before["fields"], before


def test_every_row_of_0_1_10_is_kept(server, tmp_path):
    old_python = os.environ.get("OLD_PYTHON")
    if not old_python:
        pytest.skip("no Python 3.6 for Django 1.10 here (OLD_PYTHON)")
    database = server.create("upgraded")
    packages = {"PYTHONPATH": f"{HERE / 'old'}:{os.environ['OLD_PACKAGES']}"}
    old = json.loads(run([old_python, str(HERE / "old" / "fill.py")], database, **packages))
    manage(database, "migrate", "-v0")
    manage(database, "makemigrations", "--check", "--dry-run", "djaffar")
    dumped = json.loads(manage(database, *DUMP))
    compare_dumps(old, dumped)
    # What 0.1.10 dumped can be loaded too, into a new database, whose tables are the same.
    fresh = server.create("fresh")
    manage(fresh, "migrate", "-v0")
    assert described(fresh) == described(database)
    for name, rows in [("old", old), ("new", dumped)]:
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        manage(fresh, "loaddata", "-v0", str(tmp_path / f"{name}.json"))
        assert json.loads(manage(fresh, *DUMP)) == dumped
    found = json.loads(manage(database, "shell", "-v0", "-c", SCRIPT).splitlines()[-1])
    fields = ["user", "session", "ip_address", "path", "referer"]
    activities = [row for row in old if row["model"] == "djaffar.activity"]
    infos = [row for row in old if row["model"] == "djaffar.sessioninfo"]
    assert (len(activities), len(infos)) == (100, 5)
    assert found["rows"] == [
        [row["pk"], *(row["fields"][name] for name in fields), "", row["fields"]["session"]]
        for row in activities
    ]
    assert found["infos"] == sorted(
        [row["pk"], row["fields"]["user_agent"], row["pk"]] for row in infos
    )
    assert found["statuses"] == [204, 204]
    assert found["batch"] == {"accepted": 1, "duplicates": 1, "rejected": []}
    assert (found["count"], found["users"], found["unique"]) == (102, 0, "IntegrityError")
    # Nothing ties the rows to sessions and users, and no index is left over.
    by_rows = [[[None, "session_id"], False, False], [[None, "user_id"], False, False]]
    plain = [[["session_id"], False, False], [["user_id", "date"], False, False]]
    indexes = by_rows if "sqlite" in database["ENGINE"] else plain
    others = [[["date"], False, False], [["event_id"], False, True]]
    assert sorted(found["keys"], key=str) == sorted([*others, *indexes], key=str)
    if "sqlite" not in database["ENGINE"]:
        there_and_back(database)


BACK = """
import json
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from djaffar.models import Activity, SessionInfo
now = timezone.now()
user = User.objects.create_user("bob")
Session.objects.create(pk="l" * 32, expire_date=now)
for key, agent in [("l" * 32, "A" * 1000), ("g" * 32, "gone")]:
    SessionInfo.objects.create(session_id=key, user_agent=agent)
    Activity.objects.create(date=now, path="/" + "é" * 1999, referer="r" * 2000, session_id=key, user=user)
Activity.objects.create(date=now, path="/gone", user_id=user.pk + 1000)
count = Activity.objects.count()
call_command("migrate", "djaffar", "0001", verbosity=0)
call_command("migrate", "djaffar", verbosity=0)
rows = Activity.objects.order_by("-pk").values_list("session_id", "user__username", "path", "referer")
found = [Activity.objects.count() - count, list(rows[:3]), list(SessionInfo.objects.values_list("pk"))]
call_command("migrate", "djaffar", "zero", verbosity=0)
with connection.cursor() as cursor:
    tables = connection.introspection.table_names(cursor)
call_command("migrate", "djaffar", verbosity=0)
print(json.dumps([*found, [table for table in tables if table.startswith("djaffar_")]]))
"""


def there_and_back(database):
    """A migration that is taken back loses no activity; and the app can be taken out."""
    said = json.loads(manage(database, "shell", "-v0", "-c", BACK).splitlines()[-1])
    long = ["bob", "/" + "é" * 999, "r" * 160]
    rows = [[None, None, "/gone", ""], [None, *long], ["l" * 32, *long]]
    assert said == [0, rows, [["l" * 32]], []]


def described(database):
    script = """
import json
from django.db import connection
tables = {}
for table in ["djaffar_activity", "djaffar_sessioninfo", "djaffar_spool_cursor"]:
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, table)
        constraints = connection.introspection.get_constraints(cursor, table)
    tables[table] = [
        sorted(str((c.name, c.type_code, c.internal_size, c.null_ok)) for c in columns),
        sorted(str((c["columns"], c["primary_key"], c["unique"], bool(c["foreign_key"]), c["check"]))
               for c in constraints.values()),
    ]
print(json.dumps(tables))
"""
    return json.loads(manage(database, "shell", "-v0", "-c", script).splitlines()[-1])


def test_the_tables_are_those_of_the_server(tmp_path):
    """On SQLite, column by column and index by index; only the order of the columns may differ."""
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "django")}
    manage(database, "migrate", "-v0")
    ours = sqlite3.connect(tmp_path / "server")
    for file in sorted((ROOT / "migrations/sqlite").glob("0*.sql")):
        ours.executescript(file.read_text().replace("{user_id}", "integer"))
    assert schema(sqlite3.connect(tmp_path / "django")) == schema(ours)
    there_and_back(database)
    assert schema(sqlite3.connect(tmp_path / "django")) == schema(ours)


def schema(connection):
    found = {}
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE tbl_name LIKE 'djaffar%'"
    )
    for kind, name, table, sql in rows.fetchall():
        if kind == "index":
            # Django puts an expression in parentheses of its own.
            found[name] = sql and sql.replace('(("id" >> 16))', '("id" >> 16)')
        else:
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            found[name] = {
                (column, type.lower(), not_null, default, key)
                for _, column, type, not_null, default, key in columns
            }
            found[name, "json"] = "JSON_VALID" in sql
            found[name, "autoincrement"] = "AUTOINCREMENT" in sql
    statistics = "SELECT idx, stat FROM sqlite_stat1 WHERE tbl = 'djaffar_activity'"
    found["statistics"] = set(connection.execute(statistics))
    return found
