"""The tracker inside Django: the file of the server, under the site's names."""

import gzip

import pytest
from conftest import DATE, ROOT
from django.test import Client, override_settings
from django.urls import clear_url_caches, reverse

FILES = {"/djaffar/djaffar.js": "djaffar.min.js", "/djaffar/more.js": "more.min.js"}
URL = "/djaffar/djaffar.js"


@pytest.mark.parametrize(("url", "name"), FILES.items())
def test_the_file_is_the_servers(client, url, name):
    file = (ROOT / "assets/tracker" / name).read_bytes()
    answer = client.get(url)
    assert (answer.status_code, answer.content) == (200, file)
    expected = {
        "Content-Type": "text/javascript; charset=utf-8",
        "Cache-Control": "public, max-age=3600, stale-while-revalidate=86400",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    assert {header: answer.headers[header] for header in expected} == expected
    assert not answer.cookies

    compressed = client.get(url, headers={"Accept-Encoding": "gzip, deflate, br"})
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed.content) == file
    assert compressed.headers["ETag"] != answer.headers["ETag"]


def test_a_browser_that_has_it(client):
    etag = client.get(URL).headers["ETag"]
    answer = client.get(URL, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
    assert "Content-Encoding" not in answer.headers
    assert client.get(URL, headers={"If-None-Match": '"old"'}).status_code == 200


def test_only_reading(client):
    assert client.post(URL).status_code == 405
    answer = client.head(URL)
    assert (answer.status_code, answer.content) == (200, b"")


def test_under_another_name():
    import importlib

    from djaffar import urls
    from django.conf import settings

    try:
        with override_settings(DJAFFAR={"tracker_name": "shop.js"}):
            importlib.reload(urls)
            importlib.reload(importlib.import_module(settings.ROOT_URLCONF))
            clear_url_caches()
            assert reverse("djaffar_tracker") == "/djaffar/shop.js"
            assert Client().get("/djaffar/shop.js").status_code == 200
            assert Client().get(URL).status_code == 404
    finally:
        importlib.reload(urls)
        importlib.reload(importlib.import_module(settings.ROOT_URLCONF))
        clear_url_caches()
    assert Client().get(URL).status_code == 200


@pytest.mark.django_db
@override_settings(DJAFFAR={"allowed_origin": ["https://shop.example"]})
def test_who_asks_to_be_nobody_gets_no_session(client):
    from djaffar.models import Activity

    body = f'[{{"date": "{DATE}", "path": "/"}}]'
    headers = {"Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site"}
    sent = {"content_type": "text/plain;charset=UTF-8", "headers": headers}
    answer = client.post("/djaffar/log/?anonymous", body, **sent)
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After"
    assert not answer.cookies
    assert Activity.objects.get().session_id is None
    assert client.post("/djaffar/log/?x", body, **sent).cookies
