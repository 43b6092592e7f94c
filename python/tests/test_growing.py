"""A site grows from the view to the server, behind each web server of docs/deployment.md, in a browser
that stays logged in.
"""

import http.client
import os
import re
import sys

import pytest
from conftest import ROOT
from serving import Site
from web_servers import KINDS, lines, program, web_server

sys.path.append(str(ROOT / "tests/django"))
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not os.environ.get("CHROMIUM"), reason="there is no chromium here"),
]
TRUSTED = {"trusted_proxy": ["127.0.0.1/32"]}
SNIPPET = re.search(r"<script>.*?</script>", (ROOT / "README.md").read_text(), re.DOTALL)[0]
PAGE = f"<!doctype html><title>Shop</title>{SNIPPET}"


@pytest.fixture
def chromium(tmp_path):
    from chromium import Chromium

    chromium = Chromium(tmp_path / "profile")
    yield chromium
    chromium.close()


def visit(chromium, url):
    """Opens the page; its snippet is answered before this returns."""
    chromium.open(url)
    sent = "performance.getEntriesByType('resource').find((it) => it.name.includes('/djaffar/log'))"
    assert chromium.wait(f"{sent}?.responseEnd && {sent}.responseStatus") == 204


def log_in(chromium, url):
    chromium.open(url + "/admin/login/?next=/page/?logged-in")
    chromium.run(
        "document.querySelector('#id_username').value = 'jeff@example.com';"
        "document.querySelector('#id_password').value = 'pw';"
        "document.querySelector('form').submit()"
    )
    chromium.wait("location.pathname === '/page/' && document.readyState === 'complete'")


def elsewhere(url, forged):
    """Posts from another address, with a forged one in the header."""
    host, port = url.removeprefix("http://").split(":")
    wire = http.client.HTTPConnection(host, int(port), source_address=("127.0.0.2", 0), timeout=20)
    headers = {"X-Forwarded-For": forged, "Content-Type": "application/x-www-form-urlencoded"}
    wire.request("POST", "/djaffar/log/", "date=2016-12-29T07:35:22Z&path=/address", headers)
    assert wire.getresponse().status == 204
    wire.close()


@pytest.mark.parametrize("kind", KINDS)
def test_one_line_of_the_proxy_moves_the_endpoint(tmp_path, chromium, kind):
    if not program(kind):
        pytest.skip(f"there is no {kind} here")
    site = Site(tmp_path, DJAFFAR=TRUSTED, page=PAGE)
    site.migrate()
    site.script(
        "from django.contrib.auth.models import User\n"
        "print(User.objects.create_superuser('jeff@example.com', password='pw').pk)"
    )
    folder = tmp_path / kind
    with site.wsgi() as django:
        django = django.removeprefix("http://")
        with web_server(kind, folder, django) as url:
            visit(chromium, url + "/page/?anonymous")
            log_in(chromium, url)
            visit(chromium, url + "/page/?view")
            elsewhere(url, "203.0.113.9")
            before = site.rows(4)
        listen = url.removeprefix("http://")
        with site.serving() as server:
            server = server.removeprefix("http://")
            with web_server(kind, folder, django, server, listen) as url:
                assert chromium.run("fetch('/djaffar/health/').then((it) => it.status)") == 200
                visit(chromium, url + "/page/?server")
                elsewhere(url, "203.0.113.9")
                after = site.rows(6)
        # And back.
        with web_server(kind, folder, django, listen=listen) as url:
            visit(chromium, url + "/page/?back")
            assert chromium.run("fetch('/djaffar/health/').then((it) => it.status)") == 404
            rows = site.rows(7)
    anonymous, logged_in, view, _ = before
    assert [anonymous[1], logged_in[1], view[1]] == [None, 1, 1]
    assert view in after[4:], "the same user, session and visitor"
    assert rows[-1] == view
    assert {row[3] for row in (anonymous, logged_in, view)} == {anonymous[3]}, "one visitor"
    read = "from djaffar.models import Activity\nprint(*sorted(Activity.objects.filter(path='/address').values_list('ip_address', flat=True)))"
    assert site.script(read) == "127.0.0.2 127.0.0.2"


def test_the_readme_says_the_same_of_nginx():
    [readme] = lines("nginx", ROOT / "README.md")
    [document] = lines("nginx", ROOT / "docs/deployment.md")
    assert readme == document
