"""The history wherever it is: ``history()`` and ``user.activity``.

Where ``settings.DJAFFAR["activity_database"]`` names a ClickHouse, the rows are there, and
:class:`ClickHouseActivities` reads them: like a queryset of ``Activity``, as far as it goes.
Otherwise it is ``Activity.objects``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldError
from django.db import router
from django.db.models import Model
from django.utils import timezone as zones

from djaffar.clickhouse import Server, literal
from djaffar.models import Activity, SessionInfo
from djaffar.options import option
from djaffar.queries import ActivityQuerySet, Moment, Visit, group_visits, moment

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: ClickHouse's Date, as the server writes it, ends here.
LAST_DAY = 49_709

#: A field of Activity, and the column in ClickHouse.
COLUMNS = {
    "pk": "id",
    "id": "id",
    "user": "user_id",
    "user_id": "user_id",
    "session": "session_id",
    "session_id": "session_id",
    "ip_address": "ip_address",
    "date": "date",
    "path": "path",
    "referer": "referer",
    "received_at": "received_at",
    "event_id": "event_id",
    "name": "name",
    "properties": "properties",
    "info__visitor": "visitor",
    "info__user_agent": "user_agent",
}
#: Those that an Activity is made of, in this order.
WHOLE = [
    "id",
    "user_id",
    "session_id",
    "ip_address",
    "date",
    "path",
    "referer",
    "received_at",
    "event_id",
    "name",
    "properties",
    "info__visitor",
    "info__user_agent",
]
COMPARISONS = {"exact": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
NO_EVENT = "00000000-0000-0000-0000-000000000000"
#: A moment that is not known: rows of 0.1.10 that `djaffar move` has taken there.
UNKNOWN = str(-(2**63))


def history() -> ActivityQuerySet | ClickHouseActivities:
    """All activities, wherever the site keeps them."""
    if option("activity_database"):
        return ClickHouseActivities()
    return Activity.objects.all()


class ClickHouseActivities:
    """Activities in ClickHouse. Each method gives another one; rows are read when asked for."""

    def __init__(self, server: Server | None = None) -> None:
        self._server = server
        self._where: list[str] = []
        self._order = ["-date", "-id"]
        self._slice: tuple[int, int | None] = (0, None)

    def _clone(self) -> ClickHouseActivities:
        if self._slice != (0, None):
            raise TypeError("Cannot filter or reorder once a slice has been taken.")
        clone = ClickHouseActivities(self._server)
        clone._where = list(self._where)
        clone._order = self._order
        return clone

    # What gives activities again.

    def all(self) -> ClickHouseActivities:
        return self._clone()

    def filter(self, **conditions: Any) -> ClickHouseActivities:
        """Those for which all of this is so; lookups as the ORM writes them."""
        clone = self._clone()
        clone._where += [_condition(name, value) for name, value in conditions.items()]
        return clone

    def exclude(self, **conditions: Any) -> ClickHouseActivities:
        """Those for which not all of this is so."""
        clone = self._clone()
        all_of_it = " AND ".join(_condition(name, value) for name, value in conditions.items())
        clone._where.append(f"NOT ({all_of_it or '1'})")
        return clone

    def order_by(self, *names: str) -> ClickHouseActivities:
        """By these fields, the other way round where a minus stands before it."""
        clone = self._clone()
        clone._order = list(names)
        for name in names:
            _column(name.removeprefix("-"))
        return clone

    def for_user(self, user: Any) -> ClickHouseActivities:
        """Those of a user, or of the user with that primary key."""
        return self.filter(user=user)

    def for_visitor(self, visitor: str) -> ClickHouseActivities:
        """Those of all sessions of a visitor."""
        return self.filter(info__visitor=visitor)

    def since(self, when: Moment) -> ClickHouseActivities:
        """From a moment or a day on; or of the last so many days, hours, …"""
        return self.filter(date__gte=moment(when))

    def until(self, when: Moment) -> ClickHouseActivities:
        """Before a moment or a day; or older than so many days, hours, …"""
        return self.filter(date__lt=moment(when))

    def page_views(self) -> ClickHouseActivities:
        """Those without a name."""
        return self.filter(name="")

    def named(self, name: str) -> ClickHouseActivities:
        """Those of one kind."""
        return self.filter(name=name)

    # What asks.

    def __iter__(self) -> Iterator[Activity]:
        return self.iterator()

    def iterator(self, chunk_size: int | None = None) -> Iterator[Activity]:
        """One after the other, however many there are."""
        for row in self._rows([COLUMNS[name] for name in WHOLE]):
            yield _activity(row)

    def __getitem__(self, key: int | slice) -> Any:
        clone = self._clone()
        if isinstance(key, slice):
            start, stop = key.start or 0, key.stop
            if start < 0 or (stop or 0) < 0 or key.step is not None:
                raise ValueError("Negative indexing and steps are not supported.")
            clone._slice = (start, None if stop is None else max(stop - start, 0))
            return clone
        if key < 0:
            raise ValueError("Negative indexing is not supported.")
        clone._slice = (key, 1)
        for activity in clone:
            return activity
        raise IndexError(key)

    def first(self) -> Activity | None:
        """The first in this order."""
        return next(iter(self._clone()[:1]), None)

    def last(self) -> Activity | None:
        """The last in this order."""
        clone = self._clone()
        clone._order = [
            name.removeprefix("-") if name.startswith("-") else f"-{name}" for name in self._order
        ]
        return clone.first()

    def get(self, **conditions: Any) -> Activity:
        """The one for which this is so."""
        found: list[Activity] = list(self.filter(**conditions)[:2])
        if not found:
            raise Activity.DoesNotExist("Activity matching query does not exist.")
        if len(found) > 1:
            raise Activity.MultipleObjectsReturned("get() returned more than one Activity.")
        return found[0]

    def count(self) -> int:
        if self._slice != (0, None):
            return sum(1 for _ in self._rows(["id"]))
        [[count]] = self._ask("count()", "")
        return int(count or 0)

    def exists(self) -> bool:
        clone = self if self._slice != (0, None) else self._clone()[:1]
        return any(True for _ in clone._rows(["id"]))

    def values_list(self, *names: str, flat: bool = False) -> Iterator[Any]:
        """Some fields of each."""
        names = names or tuple(WHOLE)
        readers = [_reader(name) for name in names]
        for row in self._rows([_column(name) for name in names]):
            values = tuple(read(text) for read, text in zip(readers, row, strict=True))
            yield values[0] if flat else values

    def values(self, *names: str) -> Iterator[dict[str, Any]]:
        """Some fields of each, by name."""
        names = names or tuple(WHOLE)
        for values in self.values_list(*names):
            yield dict(zip(names, values, strict=True))

    def paths(self) -> list[tuple[str, int]]:
        """Each path, and how many activities there were on it; the busiest first."""
        self._clone()
        rows = self._ask("path, count()", "GROUP BY path ORDER BY count() DESC, path")
        return [(path or "", int(count or 0)) for path, count in rows]

    def visits(self) -> Iterator[Visit]:
        """The visits, by visitor and date. Reads row by row, however many there are."""
        who = "if(visitor != '', visitor, if(session_id != '', session_id, ip_address))"
        self._clone()
        rows = self._ask(f"{who} AS who, date, user_id, path", "ORDER BY who, date, id")
        user, date = _reader("user"), _reader("date")
        return group_visits(
            (row[0] or "", date(row[1]), user(row[2]), row[3] or "") for row in rows
        )

    def _rows(self, columns: Iterable[str]) -> Iterator[list[str | None]]:
        order = ", ".join(
            _column(name.removeprefix("-")) + (" DESC" if name.startswith("-") else "")
            for name in self._order
        )
        start, count = self._slice
        if count == 0:
            return iter(())
        tail = f"ORDER BY {order}" if order else ""
        if count is not None:
            tail += f" LIMIT {start}, {count}"
        elif start:
            tail += f" LIMIT {start}, {2**62}"
        return self._ask(", ".join(columns), tail)

    def _ask(self, what: str, tail: str) -> Iterator[list[str | None]]:
        where = f"WHERE {' AND '.join(self._where)}" if self._where else ""
        server = self._server or Server.of_settings()
        return server.rows(f"SELECT {what} FROM djaffar_activity {where} {tail}")


def _column(name: str) -> str:
    try:
        return COLUMNS[name]
    except KeyError:
        raise FieldError(
            f"Cannot resolve keyword {name!r} in ClickHouse. Choices are: {', '.join(COLUMNS)}"
        ) from None


def _condition(name: str, value: Any) -> str:
    field, lookup = name, "exact"
    if field not in COLUMNS:
        field, _, lookup = name.rpartition("__")
    column = _column(field)
    write = _writer(column)
    if lookup == "isnull" or (lookup == "exact" and value is None):
        blanks = {"event_id": literal(NO_EVENT), "received_at": f"toInt64('{UNKNOWN}')"}
        blank = blanks.get(column, "''")
        return f"{column} {'=' if value in (True, None) else '!='} {blank}"
    if lookup == "in":
        values = [write(item) for item in value]
        return f"{column} IN ({', '.join(values)})" if values else "0"
    if lookup == "range":
        low, high = value
        both = [_condition(f"{field}__gte", low), _condition(f"{field}__lte", high)]
        return f"({' AND '.join(both)})"
    if lookup in COMPARISONS:
        sql = f"{column} {COMPARISONS[lookup]} {write(value)}"
        return f"({sql} AND {_days(lookup, value)})" if column == "date" else sql
    if lookup in ("contains", "startswith", "endswith") and column not in ("id", "date"):
        text = literal(str(value))
        return {
            "contains": f"position({column}, {text}) > 0",
            "startswith": f"substring({column}, 1, {len(str(value).encode())}) = {text}",
            "endswith": f"substring({column}, -{max(len(str(value).encode()), 1)}) = {text}",
        }[lookup]
    raise FieldError(f"Unsupported lookup {lookup!r} for {field} in ClickHouse.")


def _days(lookup: str, value: Any) -> str:
    """The days in which such dates are: only they are read."""
    day = min(max(_micros(value, of_date=True) // 86_400_000_000, 0), LAST_DAY)
    comparison = {"exact": "=", "gt": ">=", "gte": ">=", "lt": "<=", "lte": "<="}[lookup]
    return f"day {comparison} toDate({day})"


def _micros(value: datetime, *, of_date: bool) -> int:
    """Microseconds since 1970. A naive date is in UTC, other moments in TIME_ZONE, as stored."""
    if zones.is_naive(value):
        zone = timezone.utc if of_date and not settings.USE_TZ else zones.get_default_timezone()
        value = value.replace(tzinfo=zone)
    return (value - EPOCH) // timedelta(microseconds=1)


def _writer(column: str) -> Callable[[Any], str]:
    if column in ("date", "received_at"):
        return lambda value: str(_micros(value, of_date=column == "date"))
    if column == "id":
        return lambda value: str(int(value))
    if column == "event_id":
        return lambda value: literal(UUID(str(value)))
    return lambda value: literal(str(value.pk if isinstance(value, Model) else value))


def _reader(name: str) -> Callable[[str | None], Any]:
    """From ClickHouse's text to what the field of Activity holds."""
    column = _column(name)
    if column == "id":
        return lambda text: int(text or 0)
    if column in ("date", "received_at"):
        return lambda text: (
            None if text == UNKNOWN else _moment(int(text or 0), of_date=column == "date")
        )
    if column == "event_id":
        return lambda text: None if text == NO_EVENT else UUID(text)
    if column == "user_id":
        key = get_user_model()._meta.pk
        return lambda text: key.to_python(text) if text else None
    if column == "session_id":
        return lambda text: text or None
    if column == "properties":
        return lambda text: json.loads(text) if text else None
    return lambda text: text or ""


def _moment(micros: int, *, of_date: bool) -> datetime:
    value = EPOCH + timedelta(microseconds=micros)
    if settings.USE_TZ:
        return value
    return zones.make_naive(value, timezone.utc if of_date else zones.get_default_timezone())


def _activity(row: list[str | None]) -> Activity:
    values = [_reader(name)(text) for name, text in zip(WHOLE, row, strict=True)]
    fields = dict(zip(WHOLE, values, strict=True))
    visitor, user_agent = fields.pop("info__visitor"), fields.pop("info__user_agent")
    activity = Activity(**fields)
    activity._state.adding = False
    # Where its user and session are.
    activity._state.db = router.db_for_read(Activity)
    info = None
    if session := fields["session_id"]:
        info = SessionInfo(session_id=session, user_agent=user_agent, visitor=visitor)
    Activity._meta.get_field("info").set_cached_value(activity, info)
    return activity


def add_to_user() -> None:
    """``user.activity``: the history of a user, unless the model has something of that name."""
    user = get_user_model()
    if not hasattr(user, "activity"):
        user.activity = property(lambda self: history().for_user(self))  # type: ignore[attr-defined]
