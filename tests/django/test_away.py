"""The database is away while a logged-in user posts."""

import sqlite3
import threading
import time
from contextlib import contextmanager

import pytest


@contextmanager
def locked(site):
    """Somebody writes for a long time."""
    connection = sqlite3.connect(site.database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield
    connection.execute("COMMIT")
    connection.close()


@contextmanager
def moved(site):
    """The file is not where it was."""
    away = site.database.with_suffix(".moved")
    site.database.rename(away)
    yield
    away.rename(site.database)


@pytest.mark.parametrize("away", [locked, moved])
def test_a_cookie_is_taken_down_and_resolved_later_and_a_token_has_to_wait(site, away):
    token = site.manage("drf_create_token", "bob").decode().split()[2]
    headers = {"Authorization": "Token " + token}
    alice, old = site.browser("alice"), site.browser("carol")
    old_key = old.key
    old.logout()
    old.cookies.set("sessionid", old_key, domain="127.0.0.1")
    with away(site):
        started = time.monotonic()
        answers = {}
        posts = [
            threading.Thread(target=lambda n=n, b=b, o=o: answers.update({n: b.log("/" + n, **o)}))
            for n, b, o in [
                ("cookie", alice, {}),
                ("logged-out", old, {}),
                ("token", site.browser(), {"headers": headers}),
                ("newcomer", site.browser(), {}),
            ]
        ]
        for post in posts:
            post.start()
        for post in posts:
            post.join()
        assert time.monotonic() - started < 10
    statuses = {name: answer.status_code for name, answer in answers.items()}
    assert statuses == {"cookie": 204, "logged-out": 204, "newcomer": 204, "token": 503}
    assert int(answers["token"].headers["Retry-After"]) > 0

    row = site.activity("/cookie")
    assert (row["user_id"], row["session_id"]) == (site.user("alice"), alice.key)
    row = site.activity("/logged-out")
    assert (row["user_id"], row["session_id"]) == (None, None)
    assert site.activity("/newcomer")["session_id"] is not None
    assert site.browser().log("/token", headers=headers).status_code == 204
    assert site.activity("/token")["user_id"] == site.user("bob")
    site.activities(4)
