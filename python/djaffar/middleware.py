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
from django.middleware.cache import UpdateCacheMiddleware
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string

from djaffar import visitors
from djaffar.head import head_of
from djaffar.queries import date_now

log = logging.getLogger("djaffar")

#: What a browser shows as a page, of its own or in a frame (Sec-Fetch-Dest).
DOCUMENTS = ["document", "iframe", "frame"]


def listed(kind: type) -> list[str]:
    """What the site has in MIDDLEWARE of this kind."""
    return [name for name in settings.MIDDLEWARE if _is_of(kind, name)]


def _is_of(kind: type, name: str) -> bool:
    try:
        found = import_string(name)
    except ImportError:
        # Django says so, and more of it.
        return False
    return isinstance(found, type) and issubclass(found, kind)


class PageViewMiddleware:
    """Logs each HTML page that a GET has got."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        # The cache of the site keeps a page with our header, unless it is private.
        self.cached = bool(listed(UpdateCacheMiddleware))
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self):
            return self._acall(request)
        response = self.get_response(request)
        if _is_page_view(request, response, self.cached):
            _log_safely(request, response)
        return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        response = await self.get_response(request)
        if _is_page_view(request, response, self.cached):
            await sync_to_async(_log_safely)(request, response)
        return response


def _is_page_view(request: HttpRequest, response: HttpResponseBase, cached: bool) -> bool:
    """An HTML page that a browser shows, to one person."""
    sent, headers = request.headers, response.headers
    return (
        request.method == "GET"
        and response.status_code == 200
        and headers.get("Content-Type", "").startswith("text/html")
        # What a script fetches is a part of a page; older browsers do not say what it is for.
        and sent.get("Sec-Fetch-Dest", "document") in DOCUMENTS
        and sent.get("X-Requested-With") != "XMLHttpRequest"
        and "HX-Request" not in sent
        and "prefetch" not in sent.get("Sec-Purpose", "")
        and not _may_be_shared(response, cached)
    )


def _may_be_shared(response: HttpResponseBase, cached: bool) -> bool:
    """Whether a cache may show it, with its id, to many (RFC 9111, 3); ``cached``: by the site."""
    said = response.headers.get("Cache-Control", "").lower().split(",")
    words = {word.partition("=")[0].strip() for word in said}
    if words & {"public", "s-maxage"}:
        return True
    if words & {"private", "no-store"}:
        return False
    return cached or "max-age" in words or "Expires" in response.headers


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
    user = getattr(request, "user", None)
    # Django's own looks into the page's session as soon as it is asked for anything.
    named = user if type(user) is not SimpleLazyObject else None
    cookie = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not cookie:
        return None, None, _key_of(named)
    alone = HttpRequest()
    alone.session = session = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    _only_read(session)
    visitor = session.get(visitors.VISITOR)
    if session.session_key is None:
        return None, None, _key_of(named)
    user = get_user(alone) if named is None else named
    key = visitors.key_of(session)
    return key, visitor or key, _key_of(user)


def _key_of(user: Any) -> Any:
    return user.pk if user is not None and user.is_authenticated else None


def _only_read(session: SessionBase) -> None:
    """Takes from our session what would change the visitor's.

    Django flushes a session whose password is no longer right, gives another key to one of an
    older SECRET_KEY, and replaces an expired file: the page does that, whose cookie it is.
    """

    def nothing(*_: Any, **__: Any) -> None:
        """What is there stays."""

    def create() -> None:
        session._session_key = None

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
