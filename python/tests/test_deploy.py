"""The compose files and the Dockerfile of deploy/: read, and what they run is run.

There is no Docker here: a container's command is run with its environment as it stands there, where its
folders, its secrets and its neighbours' names are those of the tests.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import jsonschema
import pytest
from conftest import DATE, ROOT
from databases import KINDS, Missing, program
from serving import LOGIN, Site
from shapes import COMPOSE, OPTIONS, SHAPES, command, image, is_ours, read, said, services
from test_clickhouse import PROGRAMS, clickhouse  # noqa: F401 (fixture)
from web_servers import NGINX_AROUND, free_port, running

pytestmark = pytest.mark.once
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/djaffar"
PASSWORD = "ge:h/eim"
SITE_KEY = "site-key-of-the-tests-0123456789-abcdefghijklmnop"
SCHEMA = ROOT / ".venvs/compose-spec/package/lib/schema.json"


def test_the_image_is_built_of_what_is_here():
    last, names = image()
    [build] = [name for name in names if name]
    assert all(f"--from={build} " in rest for word, rest in last if word == "COPY")
    assert said("ENTRYPOINT") == '["djaffar"]'
    assert said("STOPSIGNAL") == "SIGTERM"
    assert said("USER").split(":")[0].isdigit(), "not root, and known to be so"
    assert said("WORKDIR") == said("VOLUME") == "/var/lib/djaffar"
    version = re.search(r'(?m)^rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text())[1]
    assert f"FROM rust:{version}-" in (COMPOSE.parent / "Dockerfile").read_text()
    for rest in [rest for word, rest in last if word == "ENV"]:
        assert set(pair.split("=")[0] for pair in rest.split()) <= OPTIONS


@pytest.mark.parametrize("name", [path.stem for path in sorted(COMPOSE.glob("*.yaml"))])
def test_compose_reads_it(name):
    if not SCHEMA.exists():
        pytest.skip("the schema of compose files cannot be had from npm here")
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft7Validator(schema).validate(read(name))


def test_docker_reads_them():
    ours = ["docker", "compose", "version"]
    if not shutil.which("docker") or subprocess.run(ours, capture_output=True).returncode != 0:
        pytest.skip("there is no docker compose here; no image is built either")
    for shape in SHAPES:
        command = ["docker", "compose", "-f", COMPOSE / f"{shape}.yaml", "config", "--quiet"]
        done = subprocess.run(
            command, env={**os.environ, "SITE_IMAGE": "site"}, capture_output=True
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shape", SHAPES)
def test_what_it_names_is_there(shape):
    file, found = read(shape), services(shape)
    volumes, secrets = set(), set()
    for name, service in found.items():
        assert service.get("image") or service.get("build"), name
        assert set(service.get("depends_on", [])) <= set(found), name
        secrets.update(service.get("secrets", []))
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE / source).exists(), source
            else:
                assert source not in volumes, f"{source} is of two services"
                volumes.add(source)
        if not is_ours(service):
            continue
        assert (COMPOSE / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        environment = command(service)[1]
        assert set(environment) <= OPTIONS
        for text in environment.values():
            if text.startswith("/run/secrets/"):
                assert text.removeprefix("/run/secrets/") in service["secrets"], text
        if "command" not in service:
            [spool] = service["volumes"]
            assert spool.endswith(":" + said("WORKDIR")), "the spool outlives its container"
    assert volumes == set(file["volumes"]), "each is declared, and each is used"
    assert secrets == set(file.get("secrets", {}))


# --- What it runs


class Place:
    """Where a shape runs: its volumes, secrets and neighbours."""

    def __init__(self, folder, names=()):
        self.folder = folder
        self.names = dict(names)
        self.secrets = {"secret_key": SITE_KEY, "database_password": PASSWORD,
                        "activity_password": "se/cret"}  # fmt: skip
        for name, text in self.secrets.items():
            (folder / name).write_text(text + "\n")

    def put(self, text, volume):
        """What stands in a file of deploy/, for this place."""
        text = text.replace(said("WORKDIR"), str(volume)).replace("0.0.0.0:8000", "127.0.0.1:0")
        text = text.replace("/run/secrets/", f"{self.folder}/")
        for name, other in self.names.items():
            text = text.replace(name, other)
        return text

    def process(self, service):
        """The container's process."""
        [name] = [volume.split(":")[0] for volume in service.get("volumes", [])] or ["none"]
        volume = self.folder / "volumes" / name
        volume.mkdir(parents=True, exist_ok=True)
        arguments, environment = command(service)
        # The proxy is on this machine, not in a network of Docker's.
        environment["DJAFFAR_TRUSTED_PROXY"] += ",127.0.0.1/32"
        environment = {name: self.put(text, volume) for name, text in environment.items()}
        arguments = [self.put(text, volume) for text in arguments[1:]]
        return subprocess.Popen(
            [BINARY, *arguments], cwd=volume, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    @contextmanager
    def server(self, service):
        """A server, and where it answers; afterwards it must end well within its grace."""
        child = self.process(service)
        log, address = "", None
        for line in child.stdout:
            log += line
            address = address or re.search(r"http://(127\.0\.0\.1:\d+)", line)
            if "Stop" in line:
                break
        else:
            raise AssertionError(log)
        child.address = address[1]
        try:
            yield child
        finally:
            if child.poll() is None:
                stop(child, service)


def stop(child, service):
    child.send_signal(signal.SIGTERM)
    grace = int(service["stop_grace_period"].removesuffix("s"))
    said = child.communicate(timeout=grace)[0]
    assert child.returncode == 0, said


def post(address, path, cookie="", source="127.0.0.1"):
    """The status of an activity that is sent from this address."""
    host, port = address.split(":")
    wire = http.client.HTTPConnection(host, int(port), source_address=(source, 0), timeout=20)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie,
               "X-Forwarded-For": "192.0.2.1"}  # fmt: skip
    wire.request("POST", "/djaffar/log/", f"date={DATE}&path={path}", headers)
    status = wire.getresponse().status
    wire.close()
    return status


def djaffar(place, service, *arguments):
    """Another command in the same container."""
    child = place.process({**service, "command": list(arguments)})
    text = child.communicate(timeout=60)[0]
    assert child.returncode == 0, text
    return text


def stored(place, service, count):
    """The fields of the activities, once there are so many."""
    until = time.monotonic() + 30
    while True:
        rows = json.loads(djaffar(place, service, "dumpdata", "djaffar.Activity"))
        if len(rows) >= count:
            assert len(rows) == count
            return {row["fields"]["path"]: row["fields"] for row in rows}
        assert time.monotonic() < until, rows
        time.sleep(0.1)


def test_alone(tmp_path):
    service, place = services("alone")["djaffar"], Place(tmp_path)
    [health] = re.findall(r'CMD (\["bash".*\])', said("HEALTHCHECK"))
    with place.server(service) as child:
        assert post(child.address, "/alone") == 204
        stored(place, service, 1)
        check = [text.replace("127.0.0.1/8000", child.address.replace(":", "/"))
                 for text in json.loads(health)]  # fmt: skip
        assert subprocess.run(check).returncode == 0
    assert subprocess.run(check, stderr=subprocess.DEVNULL).returncode != 0
    # Another container with the same volume: a new one after an upgrade.
    with place.server(service) as child:
        assert post(child.address, "/again") == 204
        stored(place, service, 2)


@pytest.fixture
def database(request):
    # The path of a Unix socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="djaffar-"))
    folder.chmod(0o755)
    try:
        server = KINDS[request.param](folder)
    except Missing as missing:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(str(missing))
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def with_password(server):
    """The database `site`, which its user enters with a password only."""
    settings = server.create("site")
    if "postgresql" in settings["ENGINE"]:
        alter = f"ALTER ROLE site PASSWORD '{PASSWORD}'"
        psql = [program("psql"), "-h", server.folder, "-U", "site", "postgres", "-c"]
        subprocess.run([*psql, alter], check=True, capture_output=True)
        rules = server.folder / "data/pg_hba.conf"
        rules.write_text("local site site scram-sha-256\n" + rules.read_text())
        subprocess.run([*psql, "SELECT pg_reload_conf()"], check=True, capture_output=True)
        socket = str(server.folder)
    else:
        make = (f"CREATE USER site@localhost IDENTIFIED BY '{PASSWORD}';"
                "GRANT ALL ON site.* TO site@localhost")  # fmt: skip
        client = [program("mariadb"), "--no-defaults", "-u", "root", f"--socket={server.socket}"]
        subprocess.run([*client, "-e", make], check=True, capture_output=True)
        socket = str(server.socket)
    return {**settings, "USER": "site", "PASSWORD": PASSWORD}, quote(socket, safe="")


@contextmanager
def nginx(folder, shape, names):
    """The nginx of a shape, with its own files; its address."""
    listen = f"127.0.0.1:{free_port()}"
    files = [volume.split(":")[0] for volume in services(shape)["nginx"]["volumes"]]
    text = "\n".join((COMPOSE / file).read_text() for file in sorted(files))
    text = text.replace("listen 80;", f"listen {listen};")
    for name, other in names.items():
        assert f"{name}:8000" in text, "it is sent something"
        text = text.replace(f"{name}:8000", other)
    with running("nginx", folder, NGINX_AROUND.replace("SERVERS", text), listen):
        yield listen


@pytest.mark.parametrize(
    ("shape", "database"),
    [("postgresql", "postgresql"), ("mariadb", "mariadb"), ("servers", "postgresql")],
    indirect=["database"],
)
def test_beside_a_site(shape, database, tmp_path):
    if not shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"):
        pytest.skip("there is no nginx here")
    settings, socket = with_password(database)
    site = Site(tmp_path)
    site.database, site.page = settings, "the site's page"
    site.manage("migrate", "-v0")
    key, user = site.script(LOGIN).split()
    place = Place(tmp_path, {"@database/": f"@{socket}/"})
    ours = {name: it for name, it in services(shape).items() if is_ours(it)}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(place.server(it)) for name, it in ours.items()}
        url = stack.enter_context(site.wsgi())
        names = {name: child.address for name, child in servers.items()}
        names["site"] = url.removeprefix("http://")
        address = stack.enter_context(nginx(tmp_path / "nginx", shape, names))
        with urllib.request.urlopen(f"http://{address}/page/", timeout=20) as answer:
            assert "the site's page" in answer.read().decode()
        with urllib.request.urlopen(f"http://{address}/djaffar/djaffar.js", timeout=20) as answer:
            assert "javascript" in answer.headers["Content-Type"]
        assert post(address, "/user", f"sessionid={key}", "127.0.0.2") == 204
        for number in range(10):
            assert post(address, f"/{number}") == 204
        first, service = next(iter(ours.items()))
        rows = stored(place, service, 11)
        assert str(rows["/user"]["user"]) == user
        assert rows["/user"]["session"] == key
        # Of a proxy that it trusts it believes the last address, not what the browser claims.
        assert rows["/user"]["ip_address"] == "127.0.0.2"
        if len(ours) > 1:
            # A server is stopped for its upgrade: the balancer goes on with the others.
            stop(servers[first], service)
            for number in range(10, 20):
                assert post(address, f"/{number}") == 204
            stored(place, service, 21)
            assert len({volume for it in ours.values() for volume in it["volumes"]}) == 2


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("clickhouse", ["old"], indirect=True)
def test_clickhouse(database, clickhouse, tmp_path):  # noqa: F811
    _, socket = with_password(database)
    host = re.search(r"@([\d.:]+)/", clickhouse)[1]
    place = Place(tmp_path, {"@database/": f"@{socket}/", "clickhouse:8123": host})
    found = services("clickhouse")
    migrate = place.process(found["migrate"])
    text = migrate.communicate(timeout=60)[0]
    assert migrate.returncode == 0, text
    with place.server(found["djaffar"]) as child:
        assert post(child.address, "/clickhouse") == 204
        stored(place, found["djaffar"], 1)
    query = f"http://{host}/?user=djaffar&password=se%2Fcret"
    with urllib.request.urlopen(query, b"SELECT path FROM djaffar.djaffar_activity") as answer:
        assert answer.read() == b"/clickhouse\n"
