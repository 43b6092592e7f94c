"""Writes activities through Django's ORM: on every database of its, in its transactions."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import timezone as zones
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connections, router, transaction
from django.http import HttpRequest
from django.utils import timezone

from djaffar import _djaffar, visitors
from djaffar.models import Activity, SessionInfo

log = logging.getLogger("djaffar")

_EPOCH = datetime(1970, 1, 1, tzinfo=zones.utc)


@dataclass
class Sender:
    """Who sends: nothing of it is what the client says it is."""

    request: HttpRequest
    address: str
    user: Any
    #: Whether a newcomer gets a session.
    may_begin: bool


def store(sender: Sender, activities: Sequence[_djaffar.Activity]) -> int:
    """Stores activities, all or none; says how many of them were not stored already."""
    using = router.db_for_write(Activity)
    with transaction.atomic(using=using):
        fresh = _not_stored(activities, using)
        if not fresh:
            return 0
        session = _session(sender)
        session_id = visitors.key_of(session) if session is not None else None
        if session is not None and session_id is not None:
            _save_info(session, session_id, fresh[0].user_agent, using)
        common = {
            "user_id": _user_id(sender.user),
            "session_id": session_id,
            "ip_address": sender.address,
            "received_at": timezone.now(),
        }
        rows = [Activity(**common, **_fields(activity)) for activity in fresh]
        # Another request may be storing the same event at this very moment.
        identified = any(row.event_id for row in rows)
        ignore = identified and connections[using].features.supports_ignore_conflicts
        Activity.objects.using(using).bulk_create(rows, ignore_conflicts=ignore)
    return len(fresh)


def _not_stored(activities: Sequence[_djaffar.Activity], using: str) -> list[_djaffar.Activity]:
    ids = {UUID(each.event_id) for each in activities if each.event_id}
    seen: set[UUID] = set()
    if ids:
        stored = Activity.objects.using(using).filter(event_id__in=ids)
        seen = set(stored.values_list("event_id", flat=True))
    fresh = []
    for each in activities:
        if each.event_id:
            if UUID(each.event_id) in seen:
                continue
            seen.add(UUID(each.event_id))
        fresh.append(each)
    return fresh


def _session(sender: Sender) -> Any:
    """The session of the request; a newcomer's is begun. A key that is none is never adopted."""
    session = getattr(sender.request, "session", None)
    if session is None:
        return None
    # Django looks up the cookie's key when it is asked for what is in the session.
    session.get(visitors.VISITOR)
    if session.session_key is None or visitors.key_of(session) is None:
        if not sender.may_begin:
            return None
        visitors.begin(session)
    return session


def _save_info(session: Any, session_id: str, user_agent: str, using: str) -> None:
    infos = SessionInfo.objects.using(using)
    if infos.filter(pk=session_id).exists():
        return
    info = SessionInfo(
        session_id=session_id,
        user_agent=user_agent,
        visitor=visitors.visitor_of(session),
        created_at=timezone.now(),
    )
    ignore = connections[using].features.supports_ignore_conflicts
    infos.bulk_create([info], ignore_conflicts=ignore)


def _user_id(user: Any) -> Any:
    if user is None:
        return None
    try:
        # A token may name a user whom no table has: what it says must fit the column.
        return Activity._meta.get_field("user").target_field.to_python(user.pk)
    except ValidationError:
        return None


def _fields(activity: _djaffar.Activity) -> dict[str, Any]:
    return {
        "date": _moment(activity.date),
        "path": activity.path,
        "referer": activity.referer,
        "event_id": UUID(activity.event_id) if activity.event_id else None,
        "name": activity.name,
        "properties": json.loads(activity.properties) if activity.properties else None,
    }


def _moment(microseconds: int) -> datetime:
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment if settings.USE_TZ else moment.replace(tzinfo=None)
