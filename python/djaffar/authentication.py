"""Who sends a request, as the site itself would say: Django's session, and the authentication
classes of Django REST framework where the site uses it.

The Authorization header goes before the session, as in the server.
"""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest


class Failed(Exception):
    """The credentials are wrong: the client must send others."""

    def __init__(self, status: int, body: Any, challenge: str | None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.challenge = challenge


def user_of(request: HttpRequest) -> Any:
    """The user who sends it, or ``None``."""
    user = _by_rest_framework(request) if uses_rest_framework() else _by_session(request)
    return user if user is not None and user.is_authenticated and user.pk is not None else None


def _by_session(request: HttpRequest) -> Any:
    return get_user(request) if hasattr(request, "session") else None


def uses_rest_framework() -> bool:
    """Whether the site says how it authenticates."""
    return apps.is_installed("rest_framework") or hasattr(settings, "REST_FRAMEWORK")


def _by_rest_framework(request: HttpRequest) -> Any:
    from rest_framework.authentication import SessionAuthentication
    from rest_framework.exceptions import APIException, AuthenticationFailed, NotAuthenticated
    from rest_framework.request import Request
    from rest_framework.settings import api_settings

    classes = list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
    by_session = [each for each in classes if issubclass(each, SessionAuthentication)]
    by_header = [each() for each in classes if each not in by_session]
    wrapped = Request(request, authenticators=by_header)
    for authenticator in by_header:
        try:
            found = authenticator.authenticate(wrapped)
        except APIException as error:
            status, challenge = error.status_code, None
            if isinstance(error, (AuthenticationFailed, NotAuthenticated)):
                # As views.APIView.get_authenticate_header: the first one says what is asked for.
                challenge = by_header[0].authenticate_header(wrapped)
                status = 401 if challenge else 403
            detail = error.detail
            body = detail if isinstance(detail, (dict, list)) else {"detail": detail}
            raise Failed(status, body, challenge) from None
        if found is not None:
            return found[0]
    # SessionAuthentication would ask for a CSRF token, which the page of a cached site has not.
    return _by_session(request) if by_session else None
