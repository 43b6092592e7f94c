"""Who sends a request, as the site itself would say: Django's session, and the authentication
classes of Django REST framework where the site uses it.

A token goes before the session, as in the server, and the session before a password, which the
server does not take.
"""

from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

#: Of a page of another site that would act for a user of this one.
FOREIGN = "CSRF Failed: the page that sent this is of another site."
#: Schemes that a browser, once asked, goes on sending, whichever page asks for it.
BY_BROWSERS = ["basic", "digest", "negotiate", "ntlm"]


class Failed(Exception):
    """The credentials are wrong: the client must send others."""

    def __init__(self, status: int, body: Any, challenge: str | None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.challenge = challenge


def user_of(request: HttpRequest, foreign: bool = False) -> Any:
    """The user who sends it, or ``None``. A page of a foreign site needs a token for it."""
    if uses_rest_framework():
        user, by_token = _by_rest_framework(request)
    else:
        user, by_token = _of_site(request), False
    if user is None or not user.is_authenticated or user.pk is None:
        return None
    if foreign and not by_token:
        raise Failed(403, {"detail": FOREIGN}, None)
    return user


def _of_site(request: HttpRequest) -> Any:
    """Whom the site takes it for: a middleware of its own may have said so."""
    if hasattr(request, "user"):
        return request.user
    return get_user(request) if hasattr(request, "session") else None


def uses_rest_framework() -> bool:
    """Whether the site says how it authenticates. Settings may outlive what they are for."""
    if apps.is_installed("rest_framework"):
        return True
    return hasattr(settings, "REST_FRAMEWORK") and find_spec("rest_framework") is not None


def _by_rest_framework(request: HttpRequest) -> tuple[Any, bool]:
    """The user, and whether by a token, which no browser sends by itself."""
    from rest_framework.authentication import BasicAuthentication, SessionAuthentication
    from rest_framework.exceptions import APIException
    from rest_framework.request import Request
    from rest_framework.settings import api_settings

    classes = list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
    by_session = [each for each in classes if issubclass(each, SessionAuthentication)]
    by_password = [each for each in classes if issubclass(each, BasicAuthentication)]
    by_header = [each() for each in classes if each not in by_session + by_password]
    wrapped = Request(request, authenticators=by_header)
    # Those of the classes, or whom a test of the site names (`force_authenticate`).
    for authenticator in wrapped.authenticators:
        try:
            found = authenticator.authenticate(wrapped)
        except APIException as error:
            raise _failed(error, by_header[0].authenticate_header(wrapped)) from None
        if found is not None:
            return found[0], _is_explicit(request)
    # SessionAuthentication would ask for a CSRF token, which the page of a cached site has not.
    user = _of_site(request) if by_session else None
    if user is not None and user.is_authenticated:
        return user, False
    for each in by_password:
        # A wrong one is none: it may be for a proxy before the site.
        with suppress(APIException):
            if found := each().authenticate(wrapped):
                return found[0], False
    return None, False


def _failed(error: Any, challenge: str | None) -> Failed:
    from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated

    detail = error.detail
    body = detail if isinstance(detail, (dict, list)) else {"detail": detail}
    if not isinstance(error, (AuthenticationFailed, NotAuthenticated)):
        return Failed(error.status_code, body, None)
    # As views.APIView.get_authenticate_header: the first class says what is asked for.
    return Failed(401 if challenge else 403, body, challenge)


def _is_explicit(request: HttpRequest) -> bool:
    """Whether the Authorization header is one that only a script can have written."""
    words = request.headers.get("Authorization", "").split()
    return bool(words) and words[0].lower() not in BY_BROWSERS
