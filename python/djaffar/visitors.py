"""Sessions and visitors: one visitor has many session keys, for every login changes the key."""

import logging
import re
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.db import router, transaction
from django.http import HttpRequest
from django.utils.crypto import get_random_string

log = logging.getLogger("djaffar")

#: In the session's data: the first session key of its visitor. ``login()`` takes it along.
VISITOR = "djaffar_visitor"

_KEY = re.compile(r"[a-z0-9]{8,40}")
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def is_key(text: Any) -> bool:
    """Whether this can be the key of a session."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def key_of(session: SessionBase) -> str | None:
    """The key by which activities know a session.

    An engine without keys (signed_cookies) has the visitor instead.
    """
    key = session.session_key
    if is_key(key):
        return key
    visitor = session.get(VISITOR)
    return visitor if is_key(visitor) else None


def visitor_of(session: SessionBase) -> str | None:
    """The first session key of the visitor whose session this is."""
    visitor = session.get(VISITOR)
    return visitor if is_key(visitor) else key_of(session)


def begin(session: SessionBase) -> None:
    """Gives a newcomer a session, which knows its visitor."""
    session.create()
    key = session.session_key
    session[VISITOR] = key if is_key(key) else get_random_string(32, _CHARACTERS)


def on_login(request: HttpRequest | None, **_: Any) -> None:
    """Keeps the visitor across a login, which gives a session that Django made another key."""
    try:
        _keep_visitor(request)
    except Exception:
        log.exception("the visitor of a session could not be kept across a login")


def _keep_visitor(request: HttpRequest | None) -> None:
    from djaffar.models import SessionInfo

    session = getattr(request, "session", None)
    if session is None or VISITOR in session:
        return
    old = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not is_key(old) or old == session.session_key or session.exists(old):
        # The login has dropped the session that it came with: one that lives is another's.
        return
    with transaction.atomic(using=router.db_for_write(SessionInfo)):
        before = SessionInfo.objects.filter(pk=old).values_list("visitor", flat=True).first()
    # The server may still be about to store what it knows of the session.
    session[VISITOR] = before or old


def forget_user(instance: Any, using: str, **_: Any) -> None:
    """Takes a deleted user out of a history that is in another database than the users."""
    from djaffar.models import Activity

    ours, key = router.db_for_write(Activity), instance.pk
    if ours != using:
        rows = Activity.objects.using(ours).filter(user_id=key)
        transaction.on_commit(lambda: rows.update(user=None), using=using, robust=True)


def name_visitor(instance: Any, **_: Any) -> None:
    """A session without a visitor (in a fixture of 0.1.10) is a visitor of its own."""
    instance.visitor = instance.visitor or instance.session_id
