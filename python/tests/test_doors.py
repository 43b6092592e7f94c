"""History survives, whichever door it came through: the view under a WSGI and an ASGI server, and the
server beside the site. A browser's cookie jar, and Django's own pages to log in and out.
"""

import http.cookiejar
import re
import urllib.parse
import urllib.request
from contextlib import ExitStack

import pytest
from serving import DATE, Site

USER = """
from django.contrib.auth.models import User
print(User.objects.create_superuser("jeff", password="pw").pk)
"""
# Every session is over, and the user is gone.
FORGET = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.utils import timezone
Session.objects.update(expire_date=timezone.now() - timedelta(days=1))
call_command("clearsessions")
User.objects.all().delete()
print(Session.objects.count(), User.objects.count())
"""


class Browser:
    def __init__(self, site, endpoint):
        self.site, self.endpoint = site, endpoint
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(jar)

    def open(self, url, **fields):
        body = urllib.parse.urlencode(fields).encode() if fields else None
        return self.opener.open(url, body, timeout=20)

    def form(self, page, action, **fields):
        text = self.open(self.site + page).read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', text)[1]
        self.open(self.site + action, csrfmiddlewaretoken=token, **fields)

    def log(self, path):
        assert self.open(self.endpoint + "/djaffar/log/", date=DATE, path=path).status == 204


@pytest.mark.parametrize("door", ["wsgi", "asgi", "server"])
def test_two_then_a_login_three_then_a_logout_four_then_all_is_forgotten(tmp_path, door):
    site = Site(tmp_path)
    site.migrate()
    user = int(site.script(USER))
    with ExitStack() as stack:
        home = stack.enter_context(site.asgi() if door == "asgi" else site.wsgi())
        endpoint = stack.enter_context(site.serving()) if door == "server" else home
        browser = Browser(home, endpoint)
        for number in range(2):
            browser.log(f"/anonymous/{number}")
        site.wait(2)
        browser.form(
            "/admin/login/", "/admin/login/", username="jeff", password="pw", next="/page/"
        )
        for number in range(3):
            browser.log(f"/jeff/{number}")
        site.wait(5)
        browser.form("/admin/", "/admin/logout/")
        for number in range(4):
            browser.log(f"/again/{number}")
        rows = site.rows(9)
    kinds = {
        name: [row for row in rows if name in row[0]] for name in ["anonymous", "jeff", "again"]
    }
    assert [len(kind) for kind in kinds.values()] == [2, 3, 4]
    assert {row[1] for row in kinds["jeff"]} == {user}
    assert {row[1] for row in kinds["anonymous"] + kinds["again"]} == {None}
    assert len({row[2] for row in rows}) == 3, "three sessions"
    assert len({row[3] for row in kinds["anonymous"] + kinds["jeff"]}) == 1, "one visitor"
    assert len({row[3] for row in rows}) == 2, "a logout makes another"
    assert site.script(FORGET) == "0 0"
    assert site.rows(9) == [[row[0], None, *row[2:]] for row in rows]
