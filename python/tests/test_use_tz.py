"""Sites that keep local times (USE_TZ = False): ``date`` has the digits of UTC all the same."""

from datetime import date, datetime, timedelta, timezone

import pytest
from djaffar.models import Activity
from djaffar.queries import moment

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(params=["Asia/Tokyo", "America/New_York"])
def zone(request, settings):
    settings.USE_TZ = False
    settings.TIME_ZONE = request.param
    return request.param


def now():
    return datetime.now(timezone.utc)


def test_the_last_hour_is_not_another(zone, post):
    for hours in (0, 3):
        post(f"/{hours}", date=(now() - hours * HOUR).isoformat())
    assert Activity.objects.since(HOUR).get().path == "/0"
    assert Activity.objects.until(HOUR).get().path == "/3"


def test_a_moment_with_its_zone_and_a_day_of_the_site(zone):
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    naive = datetime(2026, 1, 1, 12)
    assert moment(noon.astimezone()) == moment(naive) == naive
    begins = {"Asia/Tokyo": datetime(2025, 12, 31, 15), "America/New_York": datetime(2026, 1, 1, 5)}
    assert moment(date(2026, 1, 1)) == begins[zone]


def test_the_middleware_and_the_admin(zone, settings, client, admin_client, post):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "djaffar.middleware.PageViewMiddleware"]
    client.get("/page/")
    [view] = Activity.objects.all()
    utc = now().replace(tzinfo=None)
    assert abs(view.date - utc) < HOUR
    assert abs(view.received_at - datetime.now()) < HOUR, "ours is local"
    post("/22", date=(now() - 22 * HOUR).isoformat())
    post("/26", date=(now() - 26 * HOUR).isoformat())
    shown = admin_client.get("/admin/djaffar/activity/?days=1").context["cl"].result_list
    assert {each.path for each in shown} == {"/page/", "/22"}
