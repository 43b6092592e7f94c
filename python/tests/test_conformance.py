"""The recorded behaviour of 0.1.10, replayed on the view over a socket.

The recording and what differs on purpose are the two files that the server is held to as well
(tests/conformance.rs).
"""

import http.client
import json
import re
import sqlite3
from datetime import timezone

import pytest
from conftest import ROOT
from djaffar.models import Activity
from django.contrib.sessions.models import Session
from django.db import connection

FIXTURES = ROOT / "tests/fixtures/conformance"
RECORDED = json.loads((FIXTURES / "django-djaffar-0.1.10.json").read_text())["cases"]
DIFFERENCES = json.loads((FIXTURES / "differences.json").read_text())
SITE = (FIXTURES / "site.sql").read_text()
KEYS = dict(re.findall(r"^-- (\S+) = (\S+)$", SITE, re.MULTILINE))
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:50.0) Gecko/20100101 Firefox/50.0"


def expected(case):
    """The answer that is due, from the recording and the differences."""
    due = dict(case["response"])
    difference = DIFFERENCES.get(case["name"])
    if difference and "stored" in difference:
        row = {
            "user": None,
            "session": "new",
            "ip_address": "127.0.0.1",
            "date": "2016-12-29 07:35:22.571000",
            "path": "",
            "referer": "",
            "session_info_user_agent": AGENT,
            **difference["stored"],
        }
        new = row["session"] == "new"
        due.update(status=204, body=None, activities=[row])
        due.update(sets_session_cookie=new, session_rows_added=int(new))
    elif difference:
        due.update(status=difference["status"], body=difference["body"], activities=[])
    if 400 <= due["status"] < 500:
        due.update(sets_session_cookie=False, session_rows_added=0)
    return due


def send(server, request):
    wire = http.client.HTTPConnection(server.thread.host, server.thread.port, timeout=20)
    body = (request["body"] or "").encode()
    wire.putrequest(request["method"], request["path"].encode().decode("latin-1"))
    for name, value in request["headers"].items():
        wire.putheader(name, value.encode())
    sent = request["session"]
    if sent:
        sent = sent[1:] if sent.startswith("=") else KEYS[sent]
        wire.putheader("Cookie", f"sessionid={sent}")
    if request["authorization"]:
        text = re.sub(r"\$t_\w+", lambda name: KEYS[name[0]], request["authorization"])
        wire.putheader("Authorization", text)
    wire.putheader("Content-Length", str(len(body)))
    wire.endheaders(body)
    answer = wire.getresponse()
    text = answer.read()
    wire.close()
    return sent, answer, json.loads(text) if text else None


def shortened(body):
    """The parser's own words after "JSON parse error" are its own."""
    detail = (body or {}).get("detail", "")
    return {"detail": "JSON parse error"} if detail.startswith("JSON parse error") else body


def described(activity, sent, new):
    key = activity.session_id
    date = activity.date.astimezone(timezone.utc).replace(tzinfo=None)
    return {
        "user": activity.user.username if activity.user else None,
        "session": "new" if key and key == new else "sent" if key and key == sent else "another",
        "ip_address": activity.ip_address,
        "date": date.isoformat(" "),
        "path": activity.path,
        "referer": activity.referer,
        "session_info_user_agent": activity.info.user_agent,
    }


@pytest.fixture
def recorded_site(transactional_db, settings):
    settings.SECRET_KEY = KEYS["secret"]
    source = sqlite3.connect(":memory:")
    source.executescript(SITE)
    with connection.cursor() as cursor:
        for table in ["auth_user", "django_session", "authtoken_token"]:
            rows = source.execute(f"SELECT * FROM {table}")
            columns = [column[0] for column in rows.description]
            places = ", ".join(["%s"] * len(columns))
            into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
            for row in rows:
                cursor.execute(into, row)


@pytest.mark.parametrize("case", RECORDED, ids=[case["name"] for case in RECORDED])
def test_every_recorded_case_is_answered_as_recorded(recorded_site, live_server, case):
    due = expected(case)
    before = Session.objects.count()
    sent, answer, body = send(live_server, case["request"])
    assert (answer.status, shortened(body)) == (due["status"], shortened(due["body"]))
    assert answer.getheader("Allow") == "POST, OPTIONS"
    assert answer.getheader("Vary") == "Accept, Cookie"
    assert answer.getheader("WWW-Authenticate") == ("Token" if answer.status == 401 else None)
    cookie = re.search(r"sessionid=([a-z0-9]{32});", answer.getheader("Set-Cookie") or "")
    assert (cookie is not None) == due["sets_session_cookie"]
    assert Session.objects.count() - before == due["session_rows_added"]
    rows = [described(row, sent, cookie and cookie[1]) for row in Activity.objects.all()]
    assert rows == due["activities"]


def test_all_are_replayed():
    assert len(RECORDED) == 130
    assert set(DIFFERENCES) <= {case["name"] for case in RECORDED}
