"""Who sends it: what else than a session's cookie says so, and which of it a foreign page can use."""

import base64
import sys

import pytest
from conftest import DATE
from djaffar import server_tokens
from djaffar.models import Activity
from django.contrib.auth.backends import RemoteUserBackend
from django.test import Client
from rest_framework.authtoken.models import Token
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

URL = "/djaffar/log/"
DATA = {"date": DATE, "path": "/"}
CLASSES = "rest_framework.authentication."
DEFAULT = [CLASSES + "SessionAuthentication", CLASSES + "BasicAuthentication"]
REMOTE = "django.contrib.auth.middleware.RemoteUserMiddleware"
FOREIGN = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
pytestmark = pytest.mark.django_db


def basic(name, password="pw"):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def remote(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, REMOTE]
    backend = f"{RemoteUserBackend.__module__}.RemoteUserBackend"
    settings.AUTHENTICATION_BACKENDS = [backend]


def users():
    return list(Activity.objects.values_list("user__username", flat=True))


@pytest.fixture
def of_default(settings):
    """Django REST framework as it is before a site says anything."""
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": DEFAULT}


def test_a_page_of_another_site_cannot_use_what_a_browser_adds(jeff, settings):
    remote(settings)
    client = Client(enforce_csrf_checks=True)
    answer = client.post(URL, DATA, headers=FOREIGN, REMOTE_USER="jeff")
    assert (answer.status_code, users()) == (403, [])
    assert Client().post(URL, DATA, REMOTE_USER="jeff").status_code == 204
    assert users() == ["jeff"]


def test_nor_a_password_that_the_browser_remembers(jeff, of_default):
    answer = Client().post(URL, DATA, headers=basic("jeff") | FOREIGN)
    assert (answer.status_code, users()) == (403, [])
    assert Client().post(URL, DATA, headers=basic("jeff")).status_code == 204
    # Without a user it is anybody's.
    assert Client().post(URL, DATA, headers=FOREIGN).status_code == 204
    assert users() == ["jeff", None]


def test_but_it_can_use_a_token_which_it_must_know(jeff):
    token = {"Authorization": f"Token {Token.objects.create(user=jeff).key}"}
    assert Client().post(URL, DATA, headers=token | FOREIGN).status_code == 204
    assert users() == ["jeff"]


@pytest.mark.parametrize("logged_in", [True, False])
def test_the_password_that_a_proxy_wants_is_none_of_the_sites(jeff, of_default, logged_in):
    client = Client()
    if logged_in:
        client.force_login(jeff)
    assert client.post(URL, DATA, headers=basic("staging")).status_code == 204
    assert users() == ["jeff" if logged_in else None]


@pytest.mark.parametrize("rest_framework", [True, False])
def test_the_user_that_a_middleware_of_the_site_names(jeff, settings, rest_framework, monkeypatch):
    if not rest_framework:
        monkeypatch.setattr("djaffar.authentication.uses_rest_framework", lambda: False)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "people.middleware.as_another"]
    client = Client()
    client.force_login(jeff.__class__.objects.create_user("staff"))
    client.post(URL, DATA, headers={"X-As": "jeff"})
    client.post(URL, DATA)
    assert users() == ["jeff", "staff"]


def test_whom_a_test_of_the_site_takes_for_logged_in(jeff):
    client = APIClient()
    client.force_authenticate(jeff)
    assert client.post(URL, DATA).status_code == 204
    assert users() == ["jeff"]


def test_what_the_server_cannot_know_is_told(settings):
    assert server_tokens.said().notes == []
    remote(settings)
    [note] = server_tokens.said().notes
    assert note.startswith(f"{REMOTE} is in MIDDLEWARE: ")


def test_a_site_that_asks_everybody_to_log_in(settings):
    required = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, required]
    assert Client().get("/page/").status_code == 302
    assert Client().post(URL, DATA).status_code == 204
    assert Client().get("/djaffar/djaffar.js").status_code == 200


def test_settings_of_a_rest_framework_that_is_gone(jeff, monkeypatch, settings):
    settings.INSTALLED_APPS = [
        app for app in settings.INSTALLED_APPS if not app.startswith("rest_framework")
    ]
    for name in [name for name in sys.modules if name.startswith("rest_framework")]:
        # As Python has it for what cannot be imported.
        monkeypatch.setitem(sys.modules, name, None)
    client = Client()
    client.force_login(jeff)
    assert client.post(URL, DATA).status_code == 204
    assert users() == ["jeff"]


@pytest.fixture(autouse=True)
def read_again():
    yield
    api_settings.reload()
