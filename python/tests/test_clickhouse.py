"""``history()`` and ``user.activity`` where the activities are in a real ClickHouse, old and new."""

import json
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from djaffar.clickhouse import ClickHouseError, Server, _unescaped, literal
from serving import LOGIN, Site, post

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "old": ROOT / ".venvs/clickhouse-18.16/usr/sbin/clickhouse-server",
    "new": ROOT / ".venvs/chdb/bin/python",
}
# What a site asks, as JSON.
ASK = """
import json
from datetime import timedelta, datetime, timezone
from django.core import serializers
from django.contrib.auth import get_user_model
from djaffar.history import history, ClickHouseActivities
from djaffar.models import Activity
user = get_user_model().objects.get()
mine = user.activity
assert isinstance(mine, ClickHouseActivities)
one = mine.filter(path="/buy").get()
day = datetime(2016, 12, 29, tzinfo=timezone.utc)
strange = history().get(path__startswith="/strange")
print(json.dumps({
    "count": history().count(),
    "mine": sorted(mine.values_list("path", flat=True)),
    "paths": mine.since(day).paths(),
    "none": mine.since(timedelta(days=1)).exists(),
    "one": [one.user == user, one.session_id, str(one.event_id), one.name, one.properties,
            one.date.isoformat(), one.ip_address, one.info.user_agent, one.info.visitor],
    "session": one.session.session_key,
    "newcomer": [history().filter(user=None).exclude(path__contains="strange").get().path],
    "visits": sorted([visit.user_id is not None, sorted(visit.paths)] for visit in history().visits()),
    "ordered": [row.path for row in history().order_by("path")[1:3]],
    "ends": [history().order_by("path").first().path, history().order_by("path").last().path],
    "in": history().filter(path__in=["/", "/buy"], date__range=(day, day + timedelta(1))).count(),
    "event": history().filter(event_id=one.event_id).count(),
    "ids": history().filter(event_id__isnull=False).count(),
    "sliced": [history()[:2].count(), len(list(history()[3:])), history()[0].pk > 0],
    "strange": [strange.path, strange.properties],
    "fixture": len(json.loads(serializers.serialize("json", history().iterator()))),
    "orm": Activity.objects.count(),
    "missing": history().filter(path="/nowhere").first(),
}))
"""
STRANGE = "/strange\\\t\n'\"\\N\\0é\U0001f600"


def free_port():
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
        try:
            for number in range(3):
                with socket.socket() as other:
                    other.bind(("127.0.0.1", port + number))
            return port
        except OSError:
            continue


@pytest.fixture(params=["old", "new"])
def clickhouse(request, tmp_path):
    if not PROGRAMS[request.param].exists():
        pytest.skip("tests/clickhouse/run installs it")
    port = free_port()
    command = [ROOT / "tests/clickhouse/serve", request.param, tmp_path / "clickhouse", str(port)]
    child = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}/"
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, b"SELECT 1", timeout=5)
            break
        except OSError:
            assert child.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
    yield f"clickhouse://djaffar:se%2Fcret@127.0.0.1:{port}/site"
    child.kill()
    child.wait()


def test_the_history_is_read_in_clickhouse(tmp_path, clickhouse):
    site = Site(tmp_path, DJAFFAR={"activity_database": clickhouse})
    site.migrate()
    assert "up to date" in site.manage("djaffar", "migrate")
    key, _ = site.script(LOGIN).split()
    child, url = site.serve()
    log = url + "/djaffar/log/"
    assert post(log, key) == 204
    assert post(log, key, "/cart", **{"User-Agent": "Firefox"}) == 204
    buy = {
        "date": "2016-12-29T07:40:00.000001Z",
        "path": "/buy",
        "name": "buy",
        "event_id": "0123abcd-0000-4000-8000-00000000beef",
        "properties": {"price": 1.5},
    }
    for _ in range(2):
        send(log, key, buy)
    assert post(log, None, "/newcomer") == 204
    properties = {"text": "a\\b'\t\n"}
    send(log, None, {"date": "2016-12-29T07:35:22Z", "path": STRANGE, "properties": properties})
    child.send_signal(signal.SIGTERM)
    # What it has taken is stored before it ends.
    assert child.wait(timeout=20) == 0
    found = json.loads(site.script(ASK))
    one = found.pop("one")
    assert one[:4] == [True, key, buy["event_id"], "buy"]
    assert one[4:7] == [{"price": 1.5}, "2016-12-29T07:40:00.000001+00:00", "127.0.0.1"]
    assert one[7].startswith("Python-urllib")
    assert one[8] == key
    assert found == {
        "count": 5,
        "mine": ["/", "/buy", "/cart"],
        "paths": [["/", 1], ["/buy", 1], ["/cart", 1]],
        "none": False,
        "session": key,
        "newcomer": ["/newcomer"],
        "visits": [[False, ["/newcomer"]], [False, [STRANGE]], [True, ["/", "/buy", "/cart"]]],
        "ordered": ["/buy", "/cart"],
        "ends": ["/", STRANGE],
        "in": 2,
        "event": 1,
        "ids": 1,
        "sliced": [2, 2, True],
        "strange": [STRANGE, properties],
        "fixture": 5,
        "orm": 0,
        "missing": None,
    }


def send(url, key, value):
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Cookie"] = f"sessionid={key}"
    request = urllib.request.Request(url, json.dumps(value).encode(), headers)
    assert urllib.request.urlopen(request, timeout=20).status == 204


@pytest.mark.django_db
def test_without_a_clickhouse_it_is_the_table(jeff):
    from djaffar.models import Activity

    Activity.objects.create(date="2026-01-01T00:00:00Z", path="/x", user=jeff)
    assert [activity.path for activity in jeff.activity] == ["/x"]


def test_addresses():
    server = Server("clickhouse://a%40b:p%2Fw@h1+[::1]:9~h3:81/db?cluster=main")
    assert server.hosts == ["h1:8123", "[::1]:9", "h3:81"]
    assert (server.password, server.database, server.cluster) == ("p/w", "db", "main")
    assert Server("clickhouse://h/db", "x").password == "x"
    with pytest.raises(ClickHouseError, match="clickhouse://"):
        Server("postgres://h/db")
    with pytest.raises(ClickHouseError, match="no ClickHouse answers"):
        list(Server(f"clickhouse://127.0.0.1:{free_port()}/db").rows("SELECT 1"))


def test_tls(tmp_path):
    """As the server does: the roots are those that are named, and the name must be right."""

    def run(arguments):
        subprocess.run(
            ["openssl", *arguments.split()], cwd=tmp_path, check=True, capture_output=True
        )

    for root in ("root", "other"):
        run(f"req -new -x509 -days 2 -nodes -subj /CN={root} -keyout {root}.key -out {root}.crt")
    run("req -new -nodes -subj /CN=localhost -keyout server.key -out server.csr")
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost\n")
    run(
        "x509 -req -in server.csr -days 2 -CA root.crt -CAkey root.key -CAcreateserial"
        " -extfile names -out server.crt"
    )

    class Rows(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"1\tone\n")

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    web = ThreadingHTTPServer(("127.0.0.1", 0), Rows)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    port = web.server_port

    def ask(url):
        return list(Server(url).rows("SELECT 1"))

    try:
        root = f"ca_certs={tmp_path}/root.crt"
        assert ask(f"clickhouses://localhost:{port}/db?{root}") == [["1", "one"]]
        assert ask(f"clickhouse://localhost:{port}/db?secure=1&{root}") == [["1", "one"]]
        for url in (
            f"clickhouses://localhost:{port}/db?ca_certs={tmp_path}/other.crt",
            f"clickhouses://localhost:{port}/db",
            f"clickhouses://127.0.0.1:{port}/db?{root}",
        ):
            with pytest.raises(ClickHouseError, match="CERTIFICATE_VERIFY_FAILED"):
                ask(url)
    finally:
        web.shutdown()
        web.server_close()
    assert Server(f"clickhouses://h/db?{root}").hosts == ["h:8443"]
    with pytest.raises(ClickHouseError, match="ca_certs"):
        Server("clickhouses://h/db?ca_certs=/nowhere.pem")


@pytest.mark.parametrize("text", ["", "a'b\\", "\\\\n", "\\N", "tab\there", "é"])
def test_literals_and_values(text):
    escaped = text.replace("\\", "\\\\").replace("\t", "\\t").replace("'", "\\'")
    assert _unescaped(escaped) == text
    assert literal(text).strip("'").replace("\\'", "'").replace("\\\\", "\\") == text


def test_what_it_does_not_know_is_said():
    from djaffar.history import ClickHouseActivities
    from django.core.exceptions import FieldError

    activities = ClickHouseActivities()
    for wrong in [{"browser": "x"}, {"path__regex": "x"}, {"date__contains": "1"}]:
        with pytest.raises(FieldError):
            activities.filter(**wrong)
    with pytest.raises(FieldError):
        activities.order_by("browser")
    with pytest.raises(TypeError):
        activities[:1].filter(path="/")


def test_a_moment_that_is_not_known():
    """Rows of 0.1.10 that ``djaffar move`` has taken there."""
    from djaffar.history import UNKNOWN, _condition, _reader

    assert _reader("received_at")(UNKNOWN) is None
    assert _reader("received_at")("1000000").year == 1970
    assert _condition("received_at__isnull", True) == f"received_at = toInt64('{UNKNOWN}')"
