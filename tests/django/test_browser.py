"""What a real browser does: the page of a server alone, the README's snippet, a foreign page."""

import html
import json
import os
import re
import sys
from pathlib import Path

import pytest
from chromium import Chromium
from live import HERE, PASSWORD, Process

pytestmark = [
    pytest.mark.newest_django,
    pytest.mark.skipif(not os.environ["CHROMIUM"], reason="there is no chromium here"),
]
ROOT = Path(__file__).parents[2]
ROWS = "[...document.querySelectorAll('tbody tr')].map((row) => row.innerText.split('\\t'))"


def snippet():
    """The snippet of the README."""
    found = re.search(r"<script>.*?</script>", (ROOT / "README.md").read_text(), re.DOTALL)
    return found.group()


def tag():
    """The script tag of the README."""
    return re.search(r"^<script async.*</script>$", (ROOT / "README.md").read_text(), re.M).group()


@pytest.fixture
def chromium(tmp_path):
    chromium = Chromium(tmp_path / "profile")
    yield chromium
    chromium.close()


@pytest.fixture
def shop(make_site):
    """A site with the snippet in its page, behind one origin."""
    site = make_site()
    site.page = "<!doctype html><title>Shop</title><h1>Shop</h1>" + snippet()
    site.serve()
    site.serve_djaffar("--trusted-proxy=127.0.0.1/32")
    djaffar = site.endpoint.removesuffix("/djaffar/log/")
    proxy = Process([sys.executable, HERE / "proxy.py", site.url, djaffar])
    site.processes.append(proxy)
    site.url = proxy.url
    return site


def log_in(chromium, site, name):
    chromium.open(site.url + "/admin/login/?next=/session/")
    chromium.run(
        "document.querySelector('#id_username').value = '%s';"
        "document.querySelector('#id_password').value = '%s';"
        "document.querySelector('form').submit()" % (name, PASSWORD)
    )
    chromium.wait("location.pathname === '/session/' && document.readyState === 'complete'")


def test_the_page_of_a_server_alone_logs_itself_and_shows_its_row(make_site, chromium):
    site = make_site(empty=True)
    site.database = site.folder / "djaffar.sqlite3"
    home = site.serve_djaffar(alone=True).url
    chromium.open(home + "/")
    chromium.wait(ROWS + ".length === 1")
    [row] = site.activities(1)
    assert (row["path"], row["name"], row["user_id"]) == ("/", "", None)
    assert row["session_id"]
    [[date, path, _, name, user, address]] = chromium.run(ROWS)
    assert date.startswith(row["date"][:10])
    assert (path, name, user, address) == ("/", "", "", "127.0.0.1")
    assert chromium.run("document.querySelector('#state').innerText") == "Newest first."

    chromium.run("document.querySelector('#again').click()")
    chromium.wait(ROWS + ".length === 2")
    assert [row[3] for row in chromium.run(ROWS)] == ["button", ""]
    assert len({row["session_id"] for row in site.activities(2)}) == 1
    # The tag that it shows is the first snippet of the README.
    shown = chromium.run("document.querySelector('pre').innerText")
    assert html.unescape(shown).strip() == tag()


def test_one_tag_logs_the_visits_of_a_logged_in_user(shop, chromium):
    log_in(chromium, shop, "alice")
    chromium.open(shop.url + "/page/")
    chromium.run(
        "document.head.append(document.createRange().createContextualFragment(%s))"
        % json.dumps(tag())
    )
    chromium.wait("window.djaffar && !djaffar.q")
    rows = shop.activities(2)
    assert {row["user_id"] for row in rows} == {shop.user("alice")}
    assert {row["path"] for row in rows} == {"/page/"}
    assert len({row["session_id"] for row in rows}) == 1


def test_the_snippet_stores_the_activity_of_a_logged_in_user(shop, chromium):
    log_in(chromium, shop, "alice")
    page = shop.url + "/page/?from=test"
    chromium.open(page)
    row = shop.activity("/page/")
    assert row["user_id"] == shop.user("alice")
    assert row["ip_address"] == "127.0.0.1"
    [info] = shop.rows("SELECT * FROM djaffar_sessioninfo")
    assert "HeadlessChrome" in info["user_agent"]
    timing = "performance.getEntriesByType('resource').at(-1)"
    entry = chromium.wait("%s && %s.toJSON()" % (timing, timing))
    assert entry["name"].endswith("/djaffar/log/")
    assert entry["responseStatus"] == 204


POST = """fetch("%s/djaffar/log/", {
  method: "POST", credentials: "include", mode: "no-cors",
  body: new URLSearchParams({ date: "2016-12-29T07:35:22Z", path: "/%s" }),
}).then(() => true)"""


def test_a_page_of_a_foreign_origin_cannot_post_as_the_user(shop, chromium):
    log_in(chromium, shop, "alice")
    chromium.open(shop.url + "/session/")
    assert chromium.run(POST % (shop.url, "own")) is True
    assert shop.activity("/own")["user_id"] == shop.user("alice")

    # Another port is another origin of the same site: the browser sends the cookie.
    neighbour = Process([sys.executable, HERE / "proxy.py", shop.url, shop.url])
    shop.processes.append(neighbour)
    chromium.open(neighbour.url + "/session/")
    assert chromium.run(POST % (shop.url, "neighbour")) is True
    # Another host is another site: the browser withholds the cookie.
    chromium.open(neighbour.url.replace("127.0.0.1", "localhost") + "/session/")
    assert chromium.run(POST % (shop.url, "elsewhere")) is True
    row = shop.activity("/elsewhere")
    assert (row["user_id"], row["session_id"]) == (None, None)
    assert {row["path"] for row in shop.rows()} == {"/own", "/elsewhere"}
    # Nobody was logged out by that.
    chromium.open(shop.url + "/session/")
    seen = chromium.run("fetch('/session/').then((answer) => answer.json())")
    assert seen["user"] == shop.user("alice")
