"""Sessions and visitors: one visitor has many session keys, for every login changes the key."""

import logging
import re
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.db import router, transaction
from django.http import HttpRequest
from django.utils.crypto import get_random_string
from django.utils.encoding import force_str

from djaffar import _djaffar
from djaffar.fields import are_apart

log = logging.getLogger("djaffar")

#: In the session's data: the first session key of its visitor. ``login()`` takes it along.
VISITOR = "djaffar_visitor"

_KEY = re.compile(r"[a-z0-9]{8,40}")
#: What a login puts into a session.
_OF_A_LOGIN = {SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY}
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
    session[VISITOR] = _name(session)


def _name(session: SessionBase) -> str:
    """The visitor of a session that has none before it."""
    key = session.session_key
    return key if is_key(key) else get_random_string(32, _CHARACTERS)


def on_login(request: HttpRequest | None, **_: Any) -> None:
    """Keeps the visitor across a login, which gives a session that Django made another key."""
    try:
        _keep_visitor(request)
    except Exception:
        log.exception("the visitor of a session could not be kept across a login")


def _keep_visitor(request: HttpRequest | None) -> None:
    session = getattr(request, "session", None)
    if session is None or VISITOR in session:
        return
    old = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    session[VISITOR] = _visitor_before(session, old) or _name(session)


def _visitor_before(session: SessionBase, old: Any) -> str | None:
    """Whose the session was that the login came with, unless the cookie is only invented."""
    from djaffar.models import SessionInfo

    if not is_key(old) or old == session.session_key or session.exists(old):
        # The login has dropped the session that it came with: one that lives is another's.
        return None
    with transaction.atomic(using=router.db_for_write(SessionInfo)):
        infos = SessionInfo.objects.filter(pk=old)
        for visitor in infos.values_list("visitor", flat=True):
            return visitor or old
    # The server may still be about to store what it knows of a session, which it has made, or
    # Django for what it holds.
    fallbacks = [force_str(key) for key in settings.SECRET_KEY_FALLBACKS]
    if _djaffar.is_minted(old, force_str(settings.SECRET_KEY), fallbacks):
        return old
    return old if set(session.keys()) - _OF_A_LOGIN else None


def forget_user(instance: Any, using: str, **_: Any) -> None:
    """Takes a deleted user out of a history that is in another database than the users."""
    from djaffar.models import Activity

    if are_apart(Activity, get_user_model(), using):
        rows = Activity.objects.using(router.db_for_write(Activity)).filter(user_id=instance.pk)
        transaction.on_commit(lambda: rows.update(user=None), using=using, robust=True)


def name_visitor(instance: Any, **_: Any) -> None:
    """A session without a visitor (in a fixture of 0.1.10) is a visitor of its own."""
    instance.visitor = instance.visitor or instance.session_id
