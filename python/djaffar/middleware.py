"""Page views that reach Django, for visitors without JavaScript. Off unless it is listed.

``MIDDLEWARE = [..., "djaffar.middleware.PageViewMiddleware"]``, the last of all.

A view is stored with an ``event_id``, and the page's tracker is told it in the header
``Server-Timing: djaffar;desc="…"``: when it sends the same view with that id, it is stored once.
It touches neither ``request.session`` nor ``request.user``, so that a page can be cached as before,
and begins no session.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.db import router, transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from djaffar import visitors
from djaffar.head import head_of
from djaffar.queries import date_now

log = logging.getLogger("djaffar")


class PageViewMiddleware:
    """Logs each HTML page that a GET has got."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self):
            return self._acall(request)
        response = self.get_response(request)
        if _is_page_view(request, response):
            _log_safely(request, response)
        return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        response = await self.get_response(request)
        if _is_page_view(request, response):
            await sync_to_async(_log_safely)(request, response)
        return response


def _is_page_view(request: HttpRequest, response: HttpResponseBase) -> bool:
    """An HTML page, shown to one person: a cache would show its id to many."""
    headers = response.headers
    caching = [word.strip() for word in headers.get("Cache-Control", "").lower().split(",")]
    shared = any(word == "public" or word.startswith("s-maxage") for word in caching)
    prefetched = "prefetch" in request.headers.get("Sec-Purpose", "")
    return (
        request.method == "GET"
        and response.status_code == 200
        and headers.get("Content-Type", "").startswith("text/html")
        and request.headers.get("X-Requested-With") != "XMLHttpRequest"
        and not shared
        and not prefetched
    )


def _log_safely(request: HttpRequest, response: HttpResponseBase) -> None:
    from djaffar.models import Activity

    try:
        event_id = uuid.uuid4()
        with transaction.atomic(using=router.db_for_write(Activity)):
            _log(request, event_id)
        told = f'djaffar;desc="{event_id}"'
        before = response.headers.get("Server-Timing")
        response.headers["Server-Timing"] = f"{before}, {told}" if before else told
    except Exception:
        log.exception("the page view of %r could not be stored", request.path)


def _log(request: HttpRequest, event_id: uuid.UUID) -> None:
    from djaffar.models import Activity, SessionInfo

    sent = head_of(request)
    key, visitor, user = _who(request)
    now = timezone.now()
    Activity.objects.create(
        user_id=user,
        session_id=key,
        ip_address=sent.address,
        date=date_now(),
        received_at=now,
        path=_plain(request.path, 2000),
        referer=_plain(sent.referer, 2000),
        event_id=event_id,
        properties=_route(request),
    )
    if key is not None:
        agent = _plain(sent.user_agent, 1000)
        info = {"user_agent": agent, "visitor": visitor, "created_at": now}
        SessionInfo.objects.get_or_create(session_id=key, defaults=info)


def _plain(text: str, limit: int) -> str:
    """PostgreSQL cannot hold a NUL."""
    return text.replace("\0", "")[:limit]


def _who(request: HttpRequest) -> tuple[str | None, str | None, Any]:
    """Session, visitor and user, read from a session of our own: the page's is not touched."""
    cookie = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not cookie:
        return None, None, None
    session = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    _only_read(session)
    alone = HttpRequest()
    alone.session = session  # type: ignore[attr-defined]
    visitor = session.get(visitors.VISITOR)
    if session.session_key is None:
        return None, None, None
    user = get_user(alone)
    key = visitors.key_of(session)
    return key, visitor or key, user.pk if user.is_authenticated else None


def _only_read(session: SessionBase) -> None:
    """Takes from our session what would change the visitor's.

    Django flushes a session whose password is no longer right, gives another key to one of an
    older SECRET_KEY, and replaces an expired file: the page does that, whose cookie it is.
    """

    def nothing(*_: Any, **__: Any) -> None:
        """What is there stays."""

    def create() -> None:
        session._session_key = None  # type: ignore[attr-defined]

    # Not in a class of our own: the name of the engine's is in the signature of the session.
    for name in ["cycle_key", "delete", "flush", "save"]:
        setattr(session, name, nothing)
    session.create = create  # type: ignore[method-assign]


def _route(request: HttpRequest) -> dict[str, str] | None:
    """What the URLs of the site call this page."""
    match = request.resolver_match
    if match is None:
        return None
    return {"url_name": match.view_name, "route": match.route}
