"""History survives log-ins, log-outs, clearsessions and the deletion of users."""

from datetime import timedelta

import pytest
from djaffar.models import Activity, SessionInfo
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.http import int_to_base36

pytestmark = pytest.mark.django_db
ENGINES = ["db", "cached_db", "cache", "file", "signed_cookies"]


@pytest.fixture(params=ENGINES)
def engine(request, settings, tmp_path):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    return request.param


def visitors():
    return set(Activity.objects.values_list("info__visitor", flat=True))


def test_two_then_a_login_three_then_a_logout_four_then_clearsessions(engine, client, post, jeff):
    for number in range(2):
        post(f"/anonymous/{number}")
    client.get("/login/?name=jeff&password=pw")
    for number in range(3):
        post(f"/jeff/{number}")
    assert len(visitors()) == 1, "a login makes no second visitor"
    client.get("/logout/")
    for number in range(4):
        post(f"/again/{number}")
    Session.objects.update(expire_date=timezone.now() - timedelta(days=1))
    call_command("clearsessions")
    assert Activity.objects.count() == 9
    assert Activity.objects.filter(user=jeff).count() == 3
    assert len(visitors()) == 2, "a logout does"
    jeff.delete()
    assert Activity.objects.count() == 9
    assert not Activity.objects.exclude(user=None).exists()
    for activity in Activity.objects.all():
        assert activity.session is None
        assert activity.user is None
        assert activity.session_id in str(activity)


@pytest.mark.parametrize("known", [True, False], ids=["stored", "still in the spool"])
def test_a_session_that_django_made_keeps_its_visitor(client, post, jeff, known):
    session = client.session  # Django's own: it knows no visitor.
    session["cart"] = [1]
    session.save()
    before = session.session_key
    if known:
        post("/before")
    client.get("/login/?name=jeff&password=pw")
    post("/after")
    assert client.session.session_key != before
    assert visitors() == {before}
    # And once more, by another log-in of the same user.
    client.get("/login/?name=jeff&password=pw")
    post("/later")
    assert visitors() == {before}


def test_a_new_key_makes_no_visitor_of_one_who_came_by_a_login(engine, client, post, jeff):
    """A password that is changed gives the session another key, and so does a rotated key."""
    client.get("/login/?name=jeff&password=pw")
    post("/before")
    client.get("/rekey/")
    post("/after")
    [visitor] = visitors()
    assert visitor


def minted(secret):
    """A key as the server makes them (src/auth/mint.rs)."""
    body = "00k3y" + "r" * 16
    mac = salted_hmac("djaffar.auth.mint", body, secret, algorithm="sha256").digest()
    return body + int_to_base36(int.from_bytes(mac[:16], "big"))[-11:]


@pytest.mark.parametrize("ours", [True, False])
def test_a_visitor_is_not_what_a_cookie_says(client, post, jeff, settings, ours):
    """But the server may still be about to store what it made; it signs its keys."""
    cookie = minted(settings.SECRET_KEY) if ours else "i" * 32
    client.cookies["sessionid"] = cookie
    client.get("/login/?name=jeff&password=pw")
    post()
    assert visitors() == {cookie if ours else client.session.session_key}


def test_the_session_is_there_while_it_lives(client, post):
    post()
    [activity] = Activity.objects.select_related("session", "info")
    assert activity.session == Session.objects.get()
    assert activity.info == SessionInfo.objects.get()
    assert str(activity).startswith(f"ANONYMOUS, {activity.session_id}, 127.0.0.1, 2016-12-29")
    assert str(Activity(path="/", date=activity.date)).startswith("ANONYMOUS, NOSESSION, , 2016")


def test_two_browsers_are_two_visitors(client, post, jeff):
    from django.test import Client

    post()
    Client().post("/djaffar/log/", {"date": "2016-12-29T07:35:22Z", "path": "/"})
    assert len(visitors()) == 2


def test_none_where_nothing_is_known(client, post):
    # Of a session without a row of ours, and of one that Django has dropped.
    Activity.objects.create(date=timezone.now(), path="/", session_id="z" * 32)
    assert Activity.objects.get().info is None
    assert Activity.objects.prefetch_related("info").get().info is None
    SessionInfo.objects.create(session_id="z" * 32)
    info = SessionInfo.objects.get()
    assert [info.session, info.session] == [None, None]
    assert SessionInfo.objects.prefetch_related("session").get().session is None
    post()
    info = SessionInfo.objects.get(pk=client.session.session_key)
    assert info.session == Session.objects.get()
    assert info.session.sessioninfo == info
