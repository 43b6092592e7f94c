"""A new SECRET_KEY, and the old one as fallback."""

import signal
import time

import pytest
from live import KEY

OLD = "the-key-of-last-year-9876543210-zyxwvutsrqponmlkji"


def test_a_session_under_the_old_key_counts_while_that_is_a_fallback(make_site):
    site = make_site()
    site.write_key(OLD)
    django = site.serve()
    alice = site.browser("alice")
    django.stop()

    site.write_key("the-key-of-this-year-0123456789-abcdefghijklm")
    site.serve_djaffar(site.write_key(OLD, "old-key"))
    row = alice.logged("/with-fallback")
    assert (row["user_id"], row["session_id"]) == (site.user("alice"), alice.key)
    site.processes.pop().stop()

    site.serve_djaffar()
    assert alice.logged("/without")["user_id"] is None

    # Django agrees in both cases.
    django = site.serve()
    assert alice.session()["user"] is None
    django.stop()
    site.settings["SECRET_KEY_FALLBACKS"] = [OLD]
    site.serve()
    assert alice.session()["user"] == site.user("alice")
    # It has signed the session anew, under another key; now no fallback is needed.
    assert alice.logged("/renewed")["user_id"] == site.user("alice")


@pytest.mark.newest_django
def test_sighup_has_the_keys_read_again_at_once(make_site):
    site = make_site()
    site.serve()
    (site.folder / "old-key").write_text("")
    server = site.serve_djaffar("--secret-key-fallback-file=old-key")
    alice = site.browser("alice")
    newcomer = site.browser()
    visitor = newcomer.logged("/newcomer")["session_id"]
    assert alice.logged("/before")["user_id"] == site.user("alice")

    def rotate(key, old):
        site.write_key(key)
        (site.folder / "old-key").write_text(old)
        said = server.log.count("keys")
        server.child.send_signal(signal.SIGHUP)
        until = time.monotonic() + 5
        while server.log.count("keys") == said:
            assert time.monotonic() < until, server.log
            time.sleep(0.02)

    rotate("short", OLD)
    assert "the old ones go on counting" in server.log
    assert alice.logged("/still")["user_id"] == site.user("alice")
    rotate(OLD, KEY)
    assert alice.logged("/with-fallback")["user_id"] == site.user("alice")
    assert newcomer.logged("/newcomer-again")["session_id"] == visitor
    rotate(OLD, "")
    assert alice.logged("/without")["user_id"] is None
    assert KEY not in server.log
    assert OLD not in server.log
