"""Questions to the history."""

from datetime import date, datetime, timedelta, timezone

import pytest
from djaffar.models import Activity, SessionInfo
from django.db import connection
from django.utils import timezone as now

pytestmark = pytest.mark.django_db
START = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def log(minutes, path="/", **fields):
    return Activity.objects.create(date=START + timedelta(minutes=minutes), path=path, **fields)


def test_the_paths_of_a_user(jeff):
    log(0, "/a", user=jeff)
    log(1, "/b", user=jeff)
    log(2, "/b", user=jeff)
    log(3, "/c")
    log(-9999, "/old", user=jeff)
    mine = Activity.objects.for_user(jeff).since(date(2026, 1, 1))
    assert mine.paths() == [("/b", 2), ("/a", 1)]
    assert Activity.objects.for_user(jeff.pk).since(START).until(
        START + timedelta(minutes=1)
    ).paths() == [("/a", 1)]


def test_the_last_days():
    Activity.objects.create(date=now.now() - timedelta(days=2), path="/")
    assert Activity.objects.since(timedelta(days=3)).count() == 1
    assert Activity.objects.since(timedelta(days=1)).count() == 0
    assert Activity.objects.until(timedelta(days=1)).count() == 1


def test_kinds():
    log(0, name="buy")
    log(0)
    assert Activity.objects.named("buy").count() == 1
    assert Activity.objects.page_views().count() == 1


def test_visits_end_after_half_an_hour_and_not_with_the_session(jeff):
    SessionInfo.objects.create(session_id="a" * 32)
    SessionInfo.objects.create(session_id="b" * 32, visitor="a" * 32)
    SessionInfo.objects.create(session_id="c" * 32)
    log(0, "/1", session_id="a" * 32)
    log(30, "/2", session_id="b" * 32, user=jeff)
    log(61, "/3", session_id="b" * 32)
    log(10, "/4", session_id="c" * 32)
    log(10, "/5", ip_address="203.0.113.9")
    visits = {tuple(visit.paths): visit for visit in Activity.objects.visits()}
    assert set(visits) == {("/1", "/2"), ("/3",), ("/4",), ("/5",)}
    first = visits["/1", "/2"]
    assert (first.visitor, first.user_id) == ("a" * 32, jeff.pk)
    assert first.duration == timedelta(minutes=30)
    assert Activity.objects.for_visitor("a" * 32).count() == 3
    assert list(Activity.objects.none().visits()) == []


@pytest.mark.parametrize("of", ["user", "session"])
def test_no_question_about_one_reads_the_whole_table(of, jeff):
    mine = Activity.objects.filter(**{f"{of}_id": jeff.pk})
    plan = mine.explain()
    if connection.vendor == "sqlite":
        assert f"USING INDEX djaffar_activity_{of}" in plan, plan
