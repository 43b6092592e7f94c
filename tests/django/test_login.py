"""A user who logs in at Django is the user of Djaffar's rows, and ceases to be when Django says."""

import time

import pytest
from live import CACHE_SECONDS, PASSWORD


@pytest.mark.every_django
def test_who_logs_in_at_django_is_the_user_of_the_row(site):
    alice = site.browser("alice")
    answer = alice.log("/cart")
    assert answer.status_code == 204
    assert "Set-Cookie" not in answer.headers
    row = site.activity("/cart")
    assert row["user_id"] == site.user("alice")
    assert row["session_id"] == alice.key
    [info] = site.rows("SELECT * FROM djaffar_sessioninfo")
    assert info["session_id"] == alice.key
    assert "python-requests" in info["user_agent"]
    assert alice.session()["user"] == site.user("alice")


@pytest.mark.every_django
def test_a_cookie_that_anybody_made_up_is_not_adopted(site):
    browser = site.browser()
    browser.cookies.set("sessionid", "0123456789abcdef0123456789abcdef", domain="127.0.0.1")
    row = browser.logged("/made-up")
    assert row["user_id"] is None
    assert row["session_id"] not in (None, "0123456789abcdef0123456789abcdef")


@pytest.mark.slow
def test_what_ends_a_login_is_seen_within_the_time_of_the_cache(site):
    names = ["alice", "bob", "carol", "dave", "erin"]
    browsers = {name: site.browser(name) for name in names}
    alice, bob, carol, dave, erin = browsers.values()
    bob_at_home = site.browser("bob")
    erin.get("/expiry/4/")
    kept = {name: browser.key for name, browser in browsers.items()}
    for name, browser in [*browsers.items(), ("bob", bob_at_home)]:
        row = browser.logged("/%s-%s" % (name, browser.key))
        assert row["user_id"] == site.user(name)

    passwords = {"new_password1": "better horse 1", "new_password2": "better horse 1"}
    changed = bob.form("/admin/password_change/", old_password=PASSWORD, **passwords)
    assert changed.status_code == 302
    carol.logout()
    carol.cookies.set("sessionid", kept["carol"], domain="127.0.0.1")
    alice.get("/deactivate/dave/")
    time.sleep(4.1)
    # The end of a session is known beforehand: nothing is believed beyond it.
    check_newcomer(erin, kept["erin"])
    time.sleep(CACHE_SECONDS - 4)

    assert bob.logged("/bob-new")["user_id"] == site.user("bob")
    assert bob_at_home.logged("/bob-old")["user_id"] is None
    assert dave.logged("/dave-inactive")["user_id"] is None
    check_newcomer(carol, kept["carol"])
    row = alice.logged("/alice-still")
    assert (row["user_id"], row["session_id"]) == (site.user("alice"), kept["alice"])


def check_newcomer(browser, old_key):
    """The session is gone: its key is not adopted, and nobody is logged in."""
    row = browser.logged("/after-" + old_key)
    assert row["user_id"] is None
    assert row["session_id"] != old_key
    assert browser.key == row["session_id"]

