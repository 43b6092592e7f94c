"""A new SECRET_KEY, and the old one as fallback."""

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
