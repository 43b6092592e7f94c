"""The units of deploy/systemd: systemd reads them, and runs them with all that they forbid."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
import urllib.request

import pytest
from conftest import ROOT
from machine import Machine, why_not
from serving import LOGIN, Site
from shapes import DEPLOY, OPTIONS
from test_clickhouse import clickhouse  # noqa: F401 (fixture)
from test_deploy import BINARY, PASSWORD, SITE_KEY, database, post, with_password  # noqa: F401
from web_servers import free_port

pytestmark = pytest.mark.once
UNITS = DEPLOY / "systemd"
UNIT = (UNITS / "djaffar.service").read_text()
DROP_INS = sorted(path.stem for path in UNITS.glob("*.conf"))
boots = pytest.mark.skipif(bool(why_not()), reason=str(why_not()))
reads = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")


def analyze(folder, names, *arguments):
    """What systemd-analyze thinks of the unit with these drop-ins, the program being ours."""
    unit = folder / "djaffar.service"
    unit.write_text(UNIT.replace("/usr/local/bin/djaffar", str(BINARY)))
    (folder / "djaffar.service.d").mkdir(exist_ok=True)
    for name in names:
        shutil.copy(UNITS / f"{name}.conf", folder / "djaffar.service.d")
    command = ["systemd-analyze", *arguments, unit]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stdout + done.stderr


@reads
@pytest.mark.parametrize("name", ["", *DROP_INS])
def test_systemd_reads_them(name, tmp_path):
    code, said = analyze(tmp_path, [name] if name else [], "verify", "--man=no")
    assert code == 0
    assert said == ""


@reads
def test_what_they_allow_is_little(tmp_path):
    # In tenths; what is left of it is the network and the sockets of databases.
    code, said = analyze(tmp_path, ["django"], "security", "--offline=true", "--threshold=15")
    assert code == 0, said


@pytest.mark.parametrize("name", DROP_INS)
def test_what_they_name_is_there(name):
    text = (UNITS / f"{name}.conf").read_text()
    named = re.findall(r"(?m)^Environment=(\w+)=(\S+)$", text)
    assert named
    assert set(option for option, _ in named) <= OPTIONS
    given = re.findall(r"(?m)^LoadCredential=([\w-]+):/etc/djaffar/[\w-]+$", text)
    used = [value.removeprefix("%d/") for _, value in named if value.startswith("%d/")]
    assert used == given


def test_what_does_not_pass_is_not_tried_again():
    codes = re.search(r"(?m)^RestartPreventExitStatus=(.*)$", UNIT)[1].split()
    ours = re.findall(r"=> (\d+),", (ROOT / "src/failure.rs").read_text())
    assert set(codes) == {"2", *ours} - {"1"}


class Service:
    """A machine with the unit as it stands, and of these drop-ins; the last one says what is the tests'."""

    def __init__(self, folder, names, **options):
        self.machine = Machine(folder, BINARY)
        self.address = f"127.0.0.1:{free_port()}"
        self.machine.write("etc/systemd/system/djaffar.service", UNIT)
        for name in names:
            text = (UNITS / f"{name}.conf").read_text()
            self.machine.write(f"etc/systemd/system/djaffar.service.d/{name}.conf", text)
        self.option(LISTEN=self.address, **options)
        for name, text in {"secret-key": SITE_KEY, "database-password": PASSWORD,
                           "activity-password": "se/cret"}.items():  # fmt: skip
            self.machine.write(f"etc/djaffar/{name}", text + "\n", mode=0o600)

    def option(self, **options):
        lines = "".join(
            f'Environment="DJAFFAR_{name}={value.replace("%", "%%")}"\n'
            for name, value in options.items()
        )
        text = (
            f"[Service]\n{lines}StandardOutput=append:/var/log/djaffar.log\nStandardError=inherit\n"
        )
        self.machine.write("etc/systemd/system/djaffar.service.d/zz-test.conf", text)

    def post(self, path, cookie=""):
        until = time.monotonic() + 20
        while True:
            try:
                assert post(self.address, path, cookie) == 204
                return
            except ConnectionError:
                assert time.monotonic() < until, self.machine.said()
                time.sleep(0.05)

    def must_have_stopped_well(self):
        assert self.machine.said().rstrip().endswith("stopped waiting=0"), self.machine.said()


@boots
def test_alone_and_what_ends_it(tmp_path):
    service = Service(tmp_path, [])
    file = service.machine.root / "var/lib/private/djaffar/djaffar.sqlite3"
    with service.machine.running() as machine:
        service.post("/first")
        assert machine.show("NRestarts") == "0"
        # Killed: it comes again.
        machine.systemctl("kill", "--signal=KILL", "djaffar")
        machine.wait_for(lambda: machine.show("NRestarts") == "1")
        service.post("/second")
        machine.systemctl("reload", "djaffar")
        service.post("/third")
        # What it could read and write outside of its folder: nothing.
        assert {path.name for path in file.parent.iterdir()} >= {
            "djaffar-spool",
            "djaffar.secret-key",
        }
        assert file.stat().st_uid >= 61_184, "a user who is made for it"
        # A configuration that cannot work is not tried again.
        service.option(PREFIX="nonsense")
        machine.systemctl("daemon-reload")
        machine.systemctl("restart", "djaffar")
        machine.wait_for(lambda: machine.show("SubState") == "failed")
        assert machine.show("ExecMainStatus") == "78"
        assert machine.show("NRestarts") == "0"
        # A port that is taken is.
        service.option(LISTEN="192.0.2.1:1")
        machine.systemctl("daemon-reload")
        machine.systemctl("restart", "djaffar")
        machine.wait_for(lambda: machine.show("NRestarts") == "1")
        service.option(LISTEN=service.address)
        machine.systemctl("daemon-reload")
        machine.systemctl("restart", "djaffar")
        service.post("/fourth")
    service.must_have_stopped_well()
    rows = sqlite3.connect(file).execute("SELECT path FROM djaffar_activity ORDER BY id").fetchall()
    assert rows == [("/first",), ("/second",), ("/third",), ("/fourth",)]


@boots
def test_beside_a_site_on_sqlite(tmp_path):
    service = Service(tmp_path, ["django", "sqlite"])
    site = Site(service.machine.root / "srv/site")
    site.database["NAME"] = str(site.folder / "db.sqlite3")
    site.manage("migrate", "-v0")
    key, user = site.script(LOGIN).split()
    for path in [site.folder, site.folder / "db.sqlite3"]:
        os.chown(path, 1000, 1000)
    with service.machine.running():
        service.post("/", f"sessionid={key}")
    service.must_have_stopped_well()
    assert [[str(value) for value in row] for row in site.rows(1)] == [["/", user, key, key]]


@boots
@pytest.mark.parametrize(
    ("database", "drop_in"), [("postgresql", "postgresql"), ("mariadb", "mysql")], indirect=["database"]
)  # fmt: skip
def test_on_a_database_server(database, drop_in, tmp_path):  # noqa: F811
    socket = with_password(database)[1]
    written = re.search(r"DJAFFAR_DATABASE=(.*)", (UNITS / f"{drop_in}.conf").read_text())[1]
    migrated = re.sub(r"127\.0\.0\.1:\d+", lambda _: socket, written)
    djaffar("migrate", migrated)
    # The folder of its socket, where the unit's own /tmp does not hide it.
    inside = migrated.replace(str(database.folder).replace("/", "%2F"), "%2Fsrv%2Fdatabase")
    service = Service(tmp_path, ["django", drop_in], DATABASE=inside)
    with service.machine.running([(database.folder, "/srv/database")]):
        service.post("/database")
    service.must_have_stopped_well()
    [row] = json.loads(djaffar("dumpdata", migrated, "djaffar.Activity"))
    assert row["fields"]["path"] == "/database"


def djaffar(command, address, *arguments):
    done = subprocess.run(
        [BINARY, command, "--database", address, *arguments], capture_output=True, text=True,
        env={"DJAFFAR_DATABASE_PASSWORD": PASSWORD}, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@boots
@pytest.mark.parametrize("clickhouse", ["old"], indirect=True)
def test_the_activities_in_clickhouse(clickhouse, tmp_path):  # noqa: F811
    host = re.search(r"@([\d.:]+)/", clickhouse)[1]
    written = re.search(r"DJAFFAR_ACTIVITY_DATABASE=(.*)", (UNITS / "clickhouse.conf").read_text())[
        1
    ]
    (tmp_path / "machine").mkdir()
    address = re.sub(r"@[^/]*/", f"@{host}/", written)
    service = Service(tmp_path / "machine", ["clickhouse"], ACTIVITY_DATABASE=address)
    with service.machine.running():
        service.post("/clickhouse")
    service.must_have_stopped_well()
    query = f"http://{host}/?user=djaffar&password=se%2Fcret"
    with urllib.request.urlopen(query, b"SELECT path FROM djaffar.djaffar_activity") as answer:
        assert answer.read() == b"/clickhouse\n"
