"""Sessions that Djaffar began are Django's sessions like any other."""

import pytest

pytestmark = pytest.mark.every_django


def test_django_reads_a_session_that_djaffar_began_and_keeps_its_key(site):
    browser = site.browser()
    first = browser.logged("/first")
    key = browser.key
    assert (first["session_id"], first["user_id"]) == (key, None)
    seen = browser.session()
    assert seen == {"key": key, "data": {"djaffar_visitor": key}, "user": None}

    seen = browser.post("/session/", data={"colour": "gr\u00fcn"}).json()
    assert seen["key"] == browser.key == key
    seen = browser.session()["data"]
    assert seen == {"djaffar_visitor": key, "colour": "gr\u00fcn"}

    answer = browser.log("/second")
    assert answer.status_code == 204
    assert "Set-Cookie" not in answer.headers
    assert site.activity("/second")["session_id"] == key
    assert browser.session()["data"] == seen
    assert visitors(site) == {key: key}


def test_a_login_changes_the_key_and_keeps_the_visitor(site):
    browser = site.browser()
    browser.logged("/before")
    first = browser.key
    browser.login("alice")
    second = browser.key
    assert second != first
    assert browser.session()["data"]["djaffar_visitor"] == first
    row = browser.logged("/after")
    assert (row["session_id"], row["user_id"]) == (second, site.user("alice"))
    assert visitors(site) == {first: first, second: first}

    browser.logout()
    row = browser.logged("/later")
    assert row["user_id"] is None
    assert row["session_id"] == browser.key
    assert browser.key not in (first, second)
    assert [row["session_id"] for row in site.rows()] == [first, second, browser.key]


def test_clearsessions_leaves_the_history(site):
    browser = site.browser()
    browser.logged("/one")
    browser.login("alice")
    browser.logged("/two")
    before = [tuple(row) for row in site.rows()]
    infos = visitors(site)
    site.rows("UPDATE django_session SET expire_date = '2001-01-01 00:00:00'")
    site.manage("clearsessions")
    assert site.rows("SELECT * FROM django_session") == []
    assert [tuple(row) for row in site.rows()] == before
    assert visitors(site) == infos


def visitors(site):
    rows = site.rows("SELECT session_id, visitor FROM djaffar_sessioninfo")
    return {row["session_id"]: row["visitor"] for row in rows}

