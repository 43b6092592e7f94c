"""Page views that reach Django are logged where the site asks for it, once, and unnoticed."""

import re

import pytest
from asgiref.sync import async_to_sync
from djaffar.models import Activity
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


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("post", "/page/", {}),
        ("head", "/page/", {}),
        ("get", "/nowhere/", {}),
        ("get", "/page/", {"X-Requested-With": "XMLHttpRequest"}),
        ("get", "/page/", {"Sec-Purpose": "prefetch;prerender"}),
        ("get", "/admin/", {}),
    ],
)
def test_what_is_no_page_view(client, method, path, headers):
    answer = getattr(client, method)(path, headers=headers)
    assert "Server-Timing" not in answer.headers
    assert not Activity.objects.exists()


def test_a_page_for_everybody_is_nobodys(client, monkeypatch):
    import urls
    from django.views.decorators.cache import cache_control

    shared = cache_control(public=True)(urls.page)
    monkeypatch.setattr(urls.urlpatterns[2], "callback", shared)
    assert "Server-Timing" not in client.get("/page/").headers
    assert not Activity.objects.exists()


def test_an_error_of_ours_breaks_no_page(client, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("broken")

    monkeypatch.setattr("djaffar.models.Activity.objects.create", fail)
    assert client.get("/page/").status_code == 200
    assert "could not be stored" in caplog.text


def test_nul_and_length(client):
    client.get("/page/?" + "x" * 3000, headers={"Referer": "/\0" + "r" * 3000})
    assert Activity.objects.get().referer == "/" + "r" * 1999


@pytest.mark.django_db(transaction=True)
def test_async(async_client):
    answer = async_to_sync(async_client.get)("/page/")
    assert "Server-Timing" in answer.headers
    assert Activity.objects.count() == 1
