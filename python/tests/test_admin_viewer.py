"""The admin as staff see it who may only look: no key that opens a session, and no page that fails."""

import re
from datetime import datetime, timedelta, timezone

import pytest
from djaffar import admin_pages
from djaffar.models import Activity, SessionInfo
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone as now

LIST = "/admin/djaffar/activity/"


@pytest.fixture
def live(admin_client, db):
    """The key of the superuser's session, in which there is an activity."""
    data = {"date": now.now().isoformat(), "path": "/buy/", "name": "buy"}
    assert admin_client.post("/djaffar/log/", data).status_code == 204
    return admin_client.session.session_key


@pytest.fixture
def viewer(db):
    user = User.objects.create_user("viewer", is_staff=True)
    names = ["view_activity", "view_sessioninfo", "view_user"]
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


def test_no_page_shows_a_live_session_to_who_may_only_look(viewer, live):
    one = Activity.objects.get()
    owner = one.user_id
    pages = [
        "/admin/", "/admin/djaffar/", LIST, f"{LIST}?name=buy&days=all", f"{LIST}{one.pk}/change/",
        f"{LIST}{one.pk}/history/", f"/admin/auth/user/{owner}/change/",
        f"/admin/auth/user/{owner}/history/",
    ]  # fmt: skip
    for page in pages:
        answer = viewer.get(page)
        assert answer.status_code == 200, page
        assert live not in answer.content.decode(), page
    text = viewer.get(f"{LIST}{one.pk}/change/").content.decode()
    assert live[:8] + "…" in text
    assert "/buy/" in re.search("<h2>(.*?)</h2>", text, re.S)[1]
    for page in ["", f"{live}/change/", f"{live}/history/"]:
        assert viewer.get("/admin/djaffar/sessioninfo/" + page).status_code == 403


@pytest.mark.parametrize(
    "query", ["session__session_key__startswith", "session__gt", "session_id", "info__visitor"]
)
def test_a_session_cannot_be_guessed_by_asking(viewer, live, query):
    assert viewer.get(f"{LIST}?{query}={live[0]}").status_code == 400


def test_a_superuser_finds_a_session_however_many_there_are(admin_client, db, monkeypatch):
    monkeypatch.setattr(admin_pages, "LATEST", 50)
    SessionInfo.objects.bulk_create(
        SessionInfo(session_id=f"{number:032}", visitor="a" * 32) for number in range(120)
    )
    found = admin_client.get(f"/admin/djaffar/sessioninfo/?session={100:032}").context["cl"]
    assert [row.pk for row in found.result_list] == [f"{100:032}"]
    assert found.looked_at is None


@pytest.mark.parametrize(
    ("zone", "date", "shown"),
    [("Asia/Tokyo", datetime(9999, 12, 31, 23, 59, 59), "9999-12-31 23:59:59 UTC"),
     ("America/Chicago", datetime(1, 1, 1), "0001-01-01 00:00:00 UTC")],
)  # fmt: skip
def test_a_date_that_the_zone_of_the_site_does_not_have(
    admin_client, settings, jeff, zone, date, shown
):
    settings.TIME_ZONE = zone
    date = date.replace(tzinfo=timezone.utc)
    one = Activity.objects.create(date=date, received_at=date, path="/far", user=jeff)
    for page in [f"{LIST}?days=all", f"{LIST}{one.pk}/change/", f"{LIST}{one.pk}/history/",
                 f"/admin/auth/user/{jeff.pk}/change/"]:  # fmt: skip
        answer = admin_client.get(page)
        assert answer.status_code == 200
        assert shown in answer.content.decode() or "/history/" in page


@pytest.mark.parametrize(
    "query",
    ["days=abc", "days=99999999999", "days=-1", "start=2026-01-01T00:00:00Z,²",
     "start=2026-01-01T00:00:00Z," + "9" * 30, "start=2026-01-01T00:00:00Z," + "9" * 5000,
     "start=0001-01-01T00:00:00%2B14:00,1", "start=9999-12-31T23:59:59,1", "start=2026-01-01,5"],
)  # fmt: skip
@pytest.mark.parametrize("use_tz", [True, False])
def test_a_link_that_nobody_made_opens_a_page(admin_client, settings, live, query, use_tz):
    settings.USE_TZ = use_tz
    assert admin_client.get(f"{LIST}?{query}").status_code == 200


def test_a_nul_in_a_filter_is_left_out(admin_client, live):
    # PostgreSQL takes none.
    for query in ["path=/b%00uy", "name=b%00uy", "user=ad%00min", "start=%00"]:
        assert len(admin_client.get(f"{LIST}?{query}").context["cl"].result_list) == 1, query


def test_days(admin_client, jeff):
    for days in [0, 5, 20, 300, 3000]:
        Activity.objects.create(date=now.now() - timedelta(days=days), path=f"/{days}")
    for query, count in [("", 2), ("7", 2), ("1", 1), ("30", 3), ("365", 4), ("all", 5)]:
        shown = admin_client.get(f"{LIST}?days={query}").context["cl"].result_list
        assert len(shown) == count, query
