"""The history in the admin: readable, read-only, and fast on a long history."""

from datetime import datetime, timedelta, timezone

import pytest
from djaffar.models import Activity, SessionInfo
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as now


@pytest.fixture
def history(jeff):
    start = now.now() - timedelta(days=1)
    SessionInfo.objects.create(session_id="a" * 32, user_agent="Agent", browser="Firefox")
    Activity.objects.bulk_create(
        Activity(
            # Pairs have the same date: no row may fall between two pages.
            date=start - timedelta(seconds=number // 2),
            path=f"/{number}",
            name="buy" if number % 10 == 0 else "",
            user=jeff if number % 2 else None,
            session_id="a" * 32 if number % 2 else "b" * 32,
        )
        for number in range(250)
    )


def paths(answer):
    return [row.path for row in answer.context["cl"].result_list]


def test_pages_follow_each_other_without_a_gap(admin_client, history):
    url, seen = "/admin/djaffar/activity/", []
    while url:
        answer = admin_client.get(url)
        seen += paths(answer)
        following = answer.context["cl"].following
        url = following and "/admin/djaffar/activity/" + following
    assert len(seen) == 250
    assert set(seen) == {f"/{number}" for number in range(250)}


def test_session_infos_too(admin_client, db):
    SessionInfo.objects.bulk_create(
        SessionInfo(session_id=f"{number:032}", visitor=f"{number:032}") for number in range(150)
    )
    first = admin_client.get("/admin/djaffar/sessioninfo/").context["cl"]
    rest = admin_client.get("/admin/djaffar/sessioninfo/" + first.following).context["cl"]
    assert rest.following is None
    assert len({row.pk for row in [*first.result_list, *rest.result_list]}) == 150
    one = admin_client.get(f"/admin/djaffar/sessioninfo/?visitor={7:032}").context["cl"]
    assert [row.pk for row in one.result_list] == [f"{7:032}"]


def test_nothing_is_counted_and_no_row_is_looked_up_by_itself(
    admin_client, history, django_assert_max_num_queries
):
    with django_assert_max_num_queries(4) as queries:
        answer = admin_client.get("/admin/djaffar/activity/")
    assert len(paths(answer)) == 100
    assert not [query for query in queries.captured_queries if "COUNT(" in query["sql"].upper()]
    assert "Firefox" in answer.content.decode()


def test_no_link_leads_to_counts_and_none_counts(admin_client, history):
    with CaptureQueriesContext(connection) as queries:
        admin_client.get("/admin/djaffar/activity/?_facets=True")
    assert "_facets" not in admin_client.get("/admin/djaffar/activity/").content.decode()
    assert not [query for query in queries if "COUNT(" in query["sql"].upper()]


def test_what_is_long_is_cut_and_escaped(admin_client, jeff):
    path = "/<script>alert(1)</script>/" + "x" * 100
    Activity.objects.create(date=now.now(), path=path, referer=path, user=jeff)
    for url in ["/admin/djaffar/activity/", f"/admin/auth/user/{jeff.pk}/change/"]:
        text = admin_client.get(url).content.decode()
        assert "<script>alert" not in text
        assert 'title="/&lt;script&gt;alert(1)&lt;/script&gt;/xxx' in text


@pytest.mark.parametrize(
    ("query", "count"),
    [("?user=jeff", 100), ("?user=nobody", 0), ("?path=/24", 11), ("?name=buy", 25),
     ("?browser=Firefox", 100), ("?browser=Other", 0), ("?name=buy&user=jeff", 0),
     ("?start=nonsense", 100), ("?start=2016-12-29T07:35:22,x", 100), ("?start=2016-99-99,1", 100)],
)  # fmt: skip
def test_filters(admin_client, history, query, count):
    answer = admin_client.get("/admin/djaffar/activity/" + query)
    assert answer.status_code == 200
    assert len(paths(answer)) == count


def test_the_last_week_unless_more_is_asked_for(admin_client, db):
    Activity.objects.create(date=datetime(2016, 12, 29, tzinfo=timezone.utc), path="/old")
    Activity.objects.create(date=now.now(), path="/new")
    assert paths(admin_client.get("/admin/djaffar/activity/")) == ["/new"]
    assert paths(admin_client.get("/admin/djaffar/activity/?days=all")) == ["/new", "/old"]
    assert paths(admin_client.get("/admin/djaffar/activity/?days=1")) == ["/new"]


def test_read_only(admin_client, history):
    one = Activity.objects.order_by("-date", "-id").first()
    for url in [
        f"/admin/djaffar/activity/{one.pk}/change/",
        f"/admin/djaffar/sessioninfo/{'a' * 32}/change/",
    ]:
        answer = admin_client.get(url)
        assert answer.status_code == 200
        assert 'name="_save"' not in answer.content.decode()
        assert admin_client.post(url, {"path": "/forged"}).status_code == 403
        assert (
            admin_client.post(url.replace("change", "delete"), {"post": "yes"}).status_code == 403
        )
    assert admin_client.get("/admin/djaffar/activity/add/").status_code == 403
    assert Activity.objects.count() == 250


def test_the_timeline_stands_on_the_page_of_the_user(admin_client, history, jeff):
    url = f"/admin/auth/user/{jeff.pk}/change/"
    text = admin_client.get(url).content.decode()
    shown = text[text.lower().index("what this user did last") :]
    assert "/1<" in shown
    assert "/199<" in shown
    assert "/201<" not in shown
    assert "/0<" not in shown
    # It does not stand in the way of saving.
    fields = {"username": "jeffrey", "date_joined_0": "2020-01-01", "date_joined_1": "00:00:00"}
    answer = admin_client.post(url, {**fields, "is_active": "on"})
    assert answer.status_code == 302, answer.context["errors"]
    assert User.objects.get(pk=jeff.pk).username == "jeffrey"


def test_a_user_is_deleted_in_the_admin_and_the_history_stays(admin_client, history, jeff):
    answer = admin_client.post(f"/admin/auth/user/{jeff.pk}/delete/", {"post": "yes"})
    assert answer.status_code == 302
    assert Activity.objects.count() == 250
    assert not Activity.objects.exclude(user=None).exists()
