"""The endpoint inside Django, beyond what was recorded of 0.1.10."""

import json
import uuid
from urllib.parse import urlencode

import pytest
from conftest import DATE
from djaffar.models import Activity, SessionInfo
from django.contrib.sessions.models import Session
from django.db import DatabaseError, OperationalError
from django.test import Client
from rest_framework.authtoken.models import Token

URL = "/djaffar/log/"
pytestmark = pytest.mark.django_db


def test_all_fields(post_json):
    event = uuid.uuid4()
    answer = post_json(
        {
            "date": "2016-12-29T07:35:22.571+01:00",
            "path": " /käse ",
            "referer": "https://example.com/",
            "event_id": str(event),
            "name": "buy",
            "properties": {"price": 1.5, "tags": ["a", None, True]},
        }
    )
    assert answer.status_code == 204
    [row] = Activity.objects.all()
    assert (row.path, row.referer, row.name) == ("/käse", "https://example.com/", "buy")
    assert row.date.isoformat() == "2016-12-29T06:35:22.571000+00:00"
    assert (row.event_id, row.properties) == (event, {"price": 1.5, "tags": ["a", None, True]})
    assert abs((row.received_at - SessionInfo.objects.get().created_at).total_seconds()) < 1


def test_the_same_event_is_stored_once(post):
    event = str(uuid.uuid4())
    post(event_id=event)
    post(event_id=event)
    post()
    post()
    assert Activity.objects.count() == 3


def test_a_batch(post_json):
    event = str(uuid.uuid4())
    good = {"date": DATE, "path": "/"}
    batch = [good, {"path": "/"}, 7, {**good, "event_id": event}, {**good, "event_id": event}]
    answer = post_json(batch)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["accepted"], body["duplicates"]) == (2, 1)
    assert [each["index"] for each in body["rejected"]] == [1, 2]
    assert "date" in body["rejected"][0]["errors"]
    assert post_json([{**good, "event_id": event}]).json()["duplicates"] == 1
    assert post_json([]).json() == {"accepted": 0, "duplicates": 0, "rejected": []}
    assert Activity.objects.count() == 2
    assert Session.objects.count() == 1


def test_a_batch_in_which_nothing_is_right_makes_no_session(post_json):
    answer = post_json([{"path": "/"}])
    assert answer.json()["accepted"] == 0
    assert not answer.cookies
    assert not Session.objects.exists()


@pytest.mark.parametrize(
    ("headers", "cookie", "status", "sessions"),
    [
        ({}, False, 204, 1),
        ({"Origin": "http://testserver"}, False, 204, 1),
        ({"Sec-Fetch-Site": "same-origin"}, True, 204, 1),
        ({"Sec-Fetch-Site": "cross-site"}, True, 403, 1),
        ({"Sec-Fetch-Site": "cross-site"}, False, 204, 0),
        ({"Origin": "https://evil.example"}, True, 403, 1),
        ({"Origin": "https://evil.example"}, False, 204, 0),
        ({"Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site"}, True, 204, 1),
        ({"Origin": "null"}, True, 403, 1),
    ],
)
def test_pages_of_other_sites(settings, headers, cookie, status, sessions):
    settings.DJAFFAR = {"allowed_origin": ["https://shop.example"]}
    client = Client(enforce_csrf_checks=True)
    if cookie:
        client.post(URL, {"date": DATE, "path": "/first"})
    answer = client.post(URL, {"date": DATE, "path": "/"}, headers=headers)
    assert answer.status_code == status, answer.content
    assert Activity.objects.filter(path="/").count() == (status == 204)
    assert Session.objects.count() == sessions
    allowed = answer.headers.get("Access-Control-Allow-Origin")
    assert allowed == ("https://shop.example" if "shop" in headers.get("Origin", "") else None)


def test_a_preflight(client, settings):
    settings.DJAFFAR = {"allowed_origin": ["https://shop.example"]}
    answer = client.options(URL, headers={"Origin": "https://shop.example"})
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert "Origin" in answer.headers["Vary"]
    other = client.options(URL, headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"data": "x" * 65_537, "content_type": "text/plain"}, 413),
        ({"data": "[" * 5_000, "content_type": "application/json"}, 400),
        ({"data": "<a/>", "content_type": "text/xml"}, 415),
        ({"data": "date=x", "content_type": "multipart/form-data"}, 400),
        ({"data": b"\x1f\x8b", "content_type": "application/json",
          "headers": {"Content-Encoding": "gzip"}}, 415),
        ({"data": json.dumps({"date": DATE, "path": "a\0b"}), "content_type": "text/plain"}, 400),
        ({"data": "1", "content_type": "application/json"}, 400),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing(client, options, status):
    answer = client.generic("POST", URL, **options)
    assert answer.status_code == status
    assert set(answer.json()) <= {"detail", "errors"}
    assert not answer.cookies
    assert not Session.objects.exists()
    assert not Activity.objects.exists()


@pytest.mark.parametrize("multipart", [True, False])
def test_what_a_middleware_has_read_before(client, settings, multipart):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "people.middleware.reader"]
    form = {} if multipart else {"content_type": "application/x-www-form-urlencoded"}
    data = {"date": DATE, "path": "/käse & brot"}
    answer = client.post(URL, data if multipart else urlencode(data), **form)
    assert answer.status_code == 204, answer.content
    assert Activity.objects.get().path == "/käse & brot"


def test_headers_are_bytes(client):
    """As a web server hands them over: a character for each."""
    text = "/käse €".encode().decode("latin-1")
    client.post(URL, {"date": DATE}, HTTP_USER_AGENT=text, HTTP_REFERER=text)
    client.post(URL, {"date": DATE}, HTTP_REFERER="/caf\xe9")
    assert list(Activity.objects.values_list("path", flat=True)) == ["/käse €", "/café"]
    assert SessionInfo.objects.get().user_agent == "/käse €"


def test_more_memory_than_django_would_allow(client, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    answer = client.post(URL, {"date": DATE, "path": "/"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("peer", "trusted", "forwarded", "address"),
    [
        ("203.0.113.9", [], "1.1.1.1", "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.0/8"], "1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("", [], "1.1.1.1", "127.0.0.1"),
        ("", ["127.0.0.1/32"], "1.1.1.1", "1.1.1.1"),
        ("nonsense", ["127.0.0.1/32"], "1.1.1.1", "0.0.0.0"),
        ("::ffff:203.0.113.9", [], "", "203.0.113.9"),
    ],
)
def test_addresses(client, settings, peer, trusted, forwarded, address):
    settings.DJAFFAR = {"trusted_proxy": trusted}
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    answer = client.post(URL, {"date": DATE, "path": "/"}, headers=headers, REMOTE_ADDR=peer)
    assert answer.status_code == 204
    assert Activity.objects.get().ip_address == address


def test_dates_without_an_offset(post, settings):
    post("/zone", date="2016-12-29T07:35:22")
    assert Activity.objects.get().date.isoformat() == "2016-12-29T13:35:22+00:00"


def test_use_tz_off(post, settings):
    settings.USE_TZ = False
    post("/a", date="2016-12-29T07:35:22+01:00")
    post("/b", date="2016-12-29T07:35:22")
    dates = dict(Activity.objects.values_list("path", "date"))
    assert dates["/a"].isoformat() == "2016-12-29T06:35:22"
    assert dates["/b"].isoformat() == "2016-12-29T07:35:22"


@pytest.mark.parametrize("rest_framework", [True, False])
def test_the_session_says_who_it_is_without_a_csrf_token(jeff, settings, rest_framework):
    if not rest_framework:
        del settings.REST_FRAMEWORK
        settings.INSTALLED_APPS = [
            app for app in settings.INSTALLED_APPS if not app.startswith("rest_framework")
        ]
    client = Client(enforce_csrf_checks=True)
    client.force_login(jeff)
    assert client.post(URL, {"date": DATE, "path": "/"}).status_code == 204
    assert Activity.objects.get().user == jeff
    token = {"Authorization": "Token 0000000000000000000000000000000000000000"}
    answer = client.post(URL, {"date": DATE, "path": "/"}, headers=token)
    assert answer.status_code == (401 if rest_framework else 204)


def test_a_token_goes_before_the_session(client, jeff, django_user_model):
    other = django_user_model.objects.create_user("other")
    token = Token.objects.create(user=other)
    client.force_login(jeff)
    data = {"date": DATE, "path": "/"}
    assert (
        client.post(URL, data, headers={"Authorization": f"Token {token.key}"}).status_code == 204
    )
    assert Activity.objects.get().user == other
    other.is_active = False
    other.save()
    answer = client.post(URL, data, headers={"Authorization": f"Token {token.key}"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Token"


def test_a_changed_password_makes_the_visitor_anonymous(client, jeff, post):
    client.force_login(jeff)
    jeff.set_password("another")
    jeff.save()
    post()
    assert Activity.objects.get().user is None


def test_a_site_without_sessions(client, settings):
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    answer = client.post(URL, {"date": DATE, "path": "/"})
    assert answer.status_code == 204
    assert Activity.objects.get().session_id is None


@pytest.mark.parametrize("atomic", [True, False])
def test_a_database_that_is_away_is_503_and_leaves_nothing(client, monkeypatch, settings, atomic):
    from django.db import connection

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)
    data = {"date": DATE, "path": "/"}
    with monkeypatch.context() as broken:

        def fail(*_, **__):
            # After all else was written.
            raise OperationalError("gone")

        broken.setattr("djaffar.queries.ActivityQuerySet.bulk_create", fail)
        answer = client.post(URL, data)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert not answer.cookies
    assert not Session.objects.exists()
    assert client.post(URL, data).status_code == 204
    assert Activity.objects.count() == 1


def test_other_pages_are_left_alone(client, jeff):
    client.force_login(jeff)
    answer = client.get("/page/")
    assert "Vary" not in answer.headers
    assert not answer.cookies


def test_the_name_of_the_url():
    from django.urls import reverse

    assert reverse("activity_detail") == URL


def test_a_login_survives_an_error_of_ours(client, jeff, monkeypatch):
    def fail(*_, **__):
        raise DatabaseError("broken")

    client.cookies["sessionid"] = "a" * 32
    monkeypatch.setattr("djaffar.models.SessionInfo.objects.filter", fail)
    assert client.get("/login/?name=jeff&password=pw").status_code == 200
