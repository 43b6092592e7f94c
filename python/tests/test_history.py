"""History survives log-ins, log-outs, clearsessions and the deletion of users."""

from datetime import timedelta

import pytest
from djaffar.models import Activity, SessionInfo
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.utils import timezone

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
