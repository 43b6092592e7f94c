"""Dates with and without USE_TZ: what Django writes is read rightly, and the other way round."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

ZONE = "America/New_York"


@pytest.fixture(params=[True, False], ids=["USE_TZ", "no USE_TZ"])
def local_site(request, make_site):
    site = make_site({"USE_TZ": request.param, "TIME_ZONE": ZONE})
    site.serve()
    use_tz = "--use-tz=%s" % str(request.param).lower()
    site.serve_djaffar(use_tz, "--time-zone=" + ZONE)
    site.zone = timezone.utc if request.param else ZoneInfo(ZONE)
    return site


def test_a_session_ends_at_its_hour(local_site):
    site = local_site
    alice, bob = site.browser("alice"), site.browser("bob")
    for browser, hours in [(alice, 1), (bob, -1)]:
        expires = datetime.now(site.zone) + timedelta(hours=hours)
        sql = "UPDATE django_session SET expire_date = ? WHERE session_key = ?"
        site.rows(sql, expires.strftime("%Y-%m-%d %H:%M:%S.%f"), browser.key)
    old = bob.key
    assert alice.logged("/live")["user_id"] == site.user("alice")
    row = bob.logged("/expired")
    assert row["user_id"] is None
    assert row["session_id"] != old
    # The session that took its place is live for Django, and ours is live after that.
    assert bob.session()["data"] == {"djaffar_visitor": row["session_id"]}
    assert alice.session()["user"] == site.user("alice")


def test_the_digits_of_received_at_and_date(local_site):
    site = local_site
    browser = site.browser()
    browser.log("/offset", data={"date": "2026-07-02T03:04:05.678901+02:00"})
    browser.log("/local", data={"date": "2026-07-02T03:04:05"})
    row = site.activity("/offset")
    received = datetime.fromisoformat(row["received_at"]).replace(tzinfo=site.zone)
    assert abs(datetime.now(timezone.utc) - received) < timedelta(seconds=20)
    assert row["date"] == "2026-07-02 01:04:05.678901"
    # Without an offset: local time, which is kept as it came where Django keeps local times.
    hour = 7 if site.zone is timezone.utc else 3
    assert site.activity("/local")["date"] == "2026-07-02 0%d:04:05" % hour
