"""Questions to the history, as methods of ``Activity.objects``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from datetime import timezone as zones
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import Count
from django.db.models.functions import Coalesce, NullIf
from django.utils import timezone

if TYPE_CHECKING:
    from djaffar.models import Activity  # noqa: F401 (in a string, below)

#: A visit ends when nothing has come from the visitor for so long.
VISIT_GAP = timedelta(minutes=30)

Moment = datetime | date | timedelta


@dataclass
class Visit:
    """What one visitor did without a pause of half an hour."""

    visitor: str
    started: datetime
    ended: datetime
    #: The key of the user, if one was logged in at any time of it.
    user_id: Any = None
    paths: list[str] = field(default_factory=list)

    @property
    def duration(self) -> timedelta:
        return self.ended - self.started


class ActivityQuerySet(models.QuerySet["Activity"]):
    """Activities; each method gives activities again, so that they can be put together."""

    def for_user(self, user: Any) -> ActivityQuerySet:
        """Those of a user, or of the user with that primary key."""
        return self.filter(user=user)

    def for_visitor(self, visitor: str) -> ActivityQuerySet:
        """Those of all sessions of a visitor (``SessionInfo.visitor``)."""
        return self.filter(info__visitor=visitor)

    def since(self, when: Moment) -> ActivityQuerySet:
        """From a moment or a day on; or of the last so many days, hours, …"""
        return self.filter(date__gte=moment(when))

    def until(self, when: Moment) -> ActivityQuerySet:
        """Before a moment or a day; or older than so many days, hours, …"""
        return self.filter(date__lt=moment(when))

    def page_views(self) -> ActivityQuerySet:
        """Those without a name."""
        return self.filter(name="")

    def named(self, name: str) -> ActivityQuerySet:
        """Those of one kind."""
        return self.filter(name=name)

    def paths(self) -> list[tuple[str, int]]:
        """Each path, and how many activities there were on it; the busiest first."""
        counted = self.order_by().values_list("path").annotate(count=Count("pk"))
        return list(counted.order_by("-count", "path"))

    def visits(self) -> Iterator[Visit]:
        """The visits, by visitor and date. Reads row by row, however many there are."""
        visitor = Coalesce(NullIf("info__visitor", models.Value("")), "session_id", "ip_address")
        rows = self.annotate(djaffar_visitor=visitor).order_by("djaffar_visitor", "date", "pk")
        columns = rows.values_list("djaffar_visitor", "date", "user_id", "path")
        return group_visits(columns.iterator())


def group_visits(rows: Iterable[tuple[str, datetime, Any, str]]) -> Iterator[Visit]:
    """Rows of visitor, date, user and path, in this order, as visits."""
    visit = None
    for who, when, user, path in rows:
        if visit is None or visit.visitor != who or when - visit.ended > VISIT_GAP:
            if visit is not None:
                yield visit
            visit = Visit(who, started=when, ended=when)
        visit.ended = when
        visit.user_id = visit.user_id if user is None else user
        visit.paths.append(path)
    if visit is not None:
        yield visit


def date_now() -> datetime:
    """Now, as ``date`` has it."""
    return _as_date(datetime.now(zones.utc))


def moment(when: Moment) -> datetime:
    """A moment, a day's beginning, or so long ago. One without a zone is taken as it is."""
    if isinstance(when, timedelta):
        return date_now() - when
    if not isinstance(when, datetime):
        when = timezone.make_aware(datetime.combine(when, time.min))
    return _as_date(when) if timezone.is_aware(when) else when


def _as_date(when: datetime) -> datetime:
    """``date`` has the digits of UTC where Django keeps local times (``USE_TZ = False``)."""
    return when if settings.USE_TZ else when.astimezone(zones.utc).replace(tzinfo=None)
