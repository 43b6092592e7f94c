"""Page views that reach Django are logged where the site asks for it, once, and unnoticed."""

import os
import re

import pytest
from asgiref.sync import async_to_sync
from djaffar import checks
from djaffar.models import Activity
from django.contrib.sessions.backends.file import SessionStore
from django.contrib.sessions.models import Session

pytestmark = pytest.mark.django_db
MIDDLEWARE = "djaffar.middleware.PageViewMiddleware"


@pytest.fixture(autouse=True)
def listed(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, MIDDLEWARE]


def test_a_visitor_without_javascript(client):
    answer = client.get("/orders/7/?x=1", headers={"Referer": "https://example.com/"})
    [row] = Activity.objects.all()
    assert (row.path, row.referer, row.name) == ("/orders/7/", "https://example.com/", "")
    assert row.properties == {"url_name": "order", "route": "orders/<int:number>/"}
    assert (row.user, row.session_id, row.ip_address) == (None, None, "127.0.0.1")
    assert "Vary" not in answer.headers
    assert not answer.cookies
    assert not Session.objects.exists()


def test_the_tracker_sends_the_same_view_and_it_is_stored_once(client, post, jeff):
    client.force_login(jeff)
    answer = client.get("/page/")
    told = re.search(r'djaffar;desc="([-0-9a-f]+)"', answer.headers["Server-Timing"])[1]
    assert "Vary" not in answer.headers, "the session was not touched"
    post("/page/", event_id=told)
    [row] = Activity.objects.all()
    assert (row.user, row.session_id) == (jeff, client.session.session_key)
    assert row.info.visitor == row.session_id


def test_a_dead_session_or_a_changed_password_is_nobody(client, jeff):
    client.cookies["sessionid"] = "a" * 32
    assert not client.get("/page/").cookies
    client.force_login(jeff)
    jeff.set_password("another")
    jeff.save()
    client.get("/page/")
    assert list(Activity.objects.values_list("user")) == [(None,), (None,)]
    assert Session.objects.count() == 1, "what Django would do to the session, it does itself"


@pytest.mark.parametrize("logged_in", [True, False])
def test_the_user_that_a_middleware_of_the_site_names(client, jeff, settings, logged_in):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "people.middleware.as_another"]
    if logged_in:
        client.force_login(jeff.__class__.objects.create_user("staff"))
    client.get("/page/", headers={"X-As": "jeff"})
    [row] = Activity.objects.all()
    assert (row.user, row.session_id is not None) == (jeff, logged_in)


def test_a_rotated_key_logs_nobody_out(client, jeff, settings):
    """Django gives such a session another key, which only the page's own can tell the browser."""
    client.force_login(jeff)
    key = client.session.session_key
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-key-0123456789-abcdefghijklmnopqrst"
    for _ in range(2):
        assert not client.get("/page/").cookies
    assert [session.session_key for session in Session.objects.all()] == [key]
    rows = Activity.objects.values_list("user", "session_id")
    assert list(rows) == [(jeff.pk, key), (jeff.pk, key)]


def test_an_expired_file_begins_no_session(client, settings, monkeypatch, tmp_path):
    """Django's engine makes another file as soon as it reads such a one."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.file"
    monkeypatch.setattr(SessionStore, "_storage_path", str(tmp_path), raising=False)
    assert client.session.session_key
    [file] = tmp_path.iterdir()
    os.utime(file, (0, 0))
    assert not client.get("/page/").cookies
    assert list(tmp_path.iterdir()) == [file]
    assert Activity.objects.get().session_id is None


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("post", "/page/", {}),
        ("head", "/page/", {}),
        ("get", "/nowhere/", {}),
        ("get", "/page/", {"X-Requested-With": "XMLHttpRequest"}),
        ("get", "/page/", {"Sec-Purpose": "prefetch;prerender"}),
        ("get", "/page/", {"Sec-Fetch-Dest": "empty"}),
        ("get", "/page/", {"HX-Request": "true"}),
        ("get", "/admin/", {}),
    ],
)
def test_what_is_no_page_view(client, method, path, headers):
    answer = getattr(client, method)(path, headers=headers)
    assert "Server-Timing" not in answer.headers
    assert not Activity.objects.exists()


@pytest.mark.parametrize(
    ("cache_control", "mine"),
    [
        ("", True),
        ("private, max-age=600", True),
        ("max-age=0, no-store", True),
        ("no-cache", True),
        ("public", False),
        ("private, s-maxage=600", False),
        ("max-age=600", False),
        ("Max-Age=0", False),
        (None, False),
    ],
)
def test_a_page_that_a_cache_may_hand_to_many_is_nobodys(client, monkeypatch, cache_control, mine):
    import urls

    def cached(request):
        answer = urls.page(request)
        name = "Expires" if cache_control is None else "Cache-Control"
        answer.headers[name] = cache_control or "Thu, 01 Jan 2026 00:00:00 GMT"
        return answer

    monkeypatch.setattr(urls.urlpatterns[2], "callback", cached)
    answer = client.get("/page/", headers={"Sec-Fetch-Dest": "document"})
    assert ("Server-Timing" in answer.headers) == Activity.objects.exists() == mine


def test_the_cache_of_the_site(client, settings):
    """It keeps pages with the headers that we gave them."""
    cache = "django.middleware.cache."
    settings.MIDDLEWARE = [
        cache + "UpdateCacheMiddleware",
        *settings.MIDDLEWARE[:-1],
        cache + "FetchFromCacheMiddleware",
        MIDDLEWARE,
    ]
    assert "Server-Timing" not in client.get("/page/").headers
    assert not Activity.objects.exists()
    assert [issue.id for issue in checks.cache()] == ["djaffar.W005"]
    settings.MIDDLEWARE = settings.MIDDLEWARE[:-1]
    assert not checks.cache()


def test_an_error_of_ours_breaks_no_page(client, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("broken")

    monkeypatch.setattr("djaffar.models.Activity.objects.create", fail)
    assert client.get("/page/").status_code == 200
    client.get("/named/a%0aERROR%20forged/")
    lines = caplog.text.splitlines()
    assert "the page view of '/named/a\\nERROR forged/' could not be stored" in caplog.text
    assert not any(line.startswith("ERROR forged") for line in lines)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("/" + "r" * 3000, "/" + "r" * 1999),
        # As a web server hands over the bytes of a header.
        ("/käse €".encode().decode("latin-1"), "/käse €"),
        ("/caf\xe9", "/café"),
        ("/\0", ""),
    ],
)
def test_headers_are_read_as_the_server_does(client, post, jeff, sent, kept):
    client.force_login(jeff)
    client.get("/page/?" + "x" * 3000, headers={"Referer": sent, "User-Agent": sent})
    [row] = Activity.objects.all()
    assert (row.referer, row.info.user_agent) == (kept, kept[:1000])


@pytest.mark.django_db(transaction=True)
def test_async(async_client):
    answer = async_to_sync(async_client.get)("/page/")
    assert "Server-Timing" in answer.headers
    assert Activity.objects.count() == 1
