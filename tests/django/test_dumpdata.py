"""`djaffar dumpdata` prints what `manage.py dumpdata` prints, byte for byte."""

import json
import uuid

import pytest

ACTIVITIES = [
    {"path": "/plain"},
    {"path": "/p\u00e4th/\u65e5\u672c/\U0001f680", "referer": "https://example.com/?q=\"a'b\\c\""},
    {"path": "/<b>&amp;\t\u2028\u007f", "date": "2016-12-29T07:35:22.000001+05:30"},
    {"path": "/micro", "date": "2016-12-29T07:35:22.120000Z"},
    {"path": "/whole", "date": "1999-12-31T23:59:59"},
    {"path": "/uuid", "event_id": str(uuid.uuid4())},
    {"path": "/name", "name": "kauf\u20ac", "properties": {}},
    {
        "path": "/properties",
        "name": "buy",
        "properties": {
            "z": 1, "a": [1, 2.5, -0.0, 1e300, 12345678901234567890, None, True, {}, []],
            "\u00fc \"quoted\"": {"deep": ["\U0001f680", "</script>"]},
        },
    },
]


@pytest.mark.parametrize("use_tz", [True, False], ids=["USE_TZ", "no USE_TZ"])
def test_dumpdata_prints_what_manage_py_prints(make_site, use_tz):
    site = make_site({"USE_TZ": use_tz, "TIME_ZONE": "America/New_York"})
    site.serve()
    zone = ["--use-tz=%s" % str(use_tz).lower(), "--time-zone=America/New_York"]
    site.serve_djaffar(*zone)
    headers = {"Content-Type": "application/json", "User-Agent": "Mozilla \"5\" \u00e9".encode()}
    for browser in [site.browser("alice"), site.browser()]:
        for activity in ACTIVITIES:
            body = json.dumps({"date": "2026-11-23T01:02:03.4Z", **activity})
            assert browser.post(site.endpoint, data=body, headers=headers).status_code == 204
    # The same UUID twice is one activity.
    site.activities(2 * len(ACTIVITIES) - 1)
    site.rows("UPDATE djaffar_activity SET session_id = NULL, received_at = NULL WHERE id = 2")
    for model in ["djaffar.Activity", "djaffar.SessionInfo"]:
        for indent in [[], ["--indent", "2"], ["--indent", "0"]]:
            theirs = site.manage("dumpdata", model, *indent)
            if site.django.number < (6, 0) and not theirs.endswith(b"\n"):
                theirs += b"\n"  # as Django does from 6.0 on
            ours = site.djaffar("dumpdata", model, *indent, *zone, "--database", site.database_url)
            assert ours.decode() == theirs.decode(), (model, indent)
            assert len(json.loads(ours)) == (15 if model.endswith("Activity") else 2)
