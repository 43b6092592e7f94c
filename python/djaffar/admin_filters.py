"""Filters of the admin's lists: by date, by what is typed, and by where the page before has ended.

What the address of a page says is anybody's: what makes no sense is as if it was not said.
"""

from datetime import datetime, timedelta
from datetime import timezone as zones
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from djaffar.queries import date_now


def aware(date: datetime | None) -> datetime | None:
    """As the database takes dates; ``None`` for one that it does not take."""
    if date is None or not settings.USE_TZ:
        return None if date is None or timezone.is_aware(date) else date
    try:
        return (timezone.make_aware(date) if timezone.is_naive(date) else date).astimezone(
            zones.utc
        )
    except OverflowError:
        return None


class Days(admin.SimpleListFilter):
    """How far back; the last week, unless it is said."""

    title = _("date")
    parameter_name = "days"
    DAYS = {"1": _("Past day"), "30": _("Past 30 days"), "365": _("Past year")}

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [*self.DAYS.items(), ("all", _("All"))]

    def choices(self, changelist: Any) -> Any:
        choices = super().choices(changelist)
        week = next(choices)
        yield {**week, "display": _("Past 7 days")}
        yield from choices

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        days = int(self.value() or 7) if self.value() in self.DAYS else 7
        return queryset.filter(date__gte=date_now() - timedelta(days=days))


class Typed(admin.SimpleListFilter):
    """A filter by what anybody may write into the address of the page."""

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]

    def value(self) -> str | None:
        text = super().value()
        # PostgreSQL takes no NUL.
        return text and text.replace("\0", "")


class TextFilter(Typed):
    """A filter by what is typed: a list of all values would have to read all rows."""

    template = "admin/djaffar/text_filter.html"
    lookup = ""
    #: Whether an index finds the rows, so that all are looked through.
    indexed = False

    def choices(self, changelist: Any) -> Any:
        kept = changelist.get_filters_params()
        kept = {
            name: values[-1]
            for name, values in kept.items()
            if name not in (self.parameter_name, "start")
        }
        yield {"value": self.value() or "", "kept": kept, "parameter": self.parameter_name}

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # Else among the latest rows, once it is known which these are (`OnePage`).
        return self.narrow(queryset) if self.indexed and self.value() else queryset

    def narrow(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.lookup: self.value()})


def text_filter(
    name: str, field: str, title: Any = None, *, indexed: bool = False
) -> type[TextFilter]:
    made = {"parameter_name": name, "lookup": field, "title": title or name, "indexed": indexed}
    return type(f"{name.title()}Filter", (TextFilter,), made)


class UserFilter(TextFilter):
    """By the name with which a user logs in; the index of users finds the rows."""

    title, parameter_name, indexed = _("user"), "user", True

    def narrow(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        model = get_user_model()
        named = model._default_manager.filter(**{model.USERNAME_FIELD: self.value()})
        key = named.values_list("pk", flat=True).first()
        return queryset.none() if key is None else queryset.filter(user_id=key)


class Start(Typed):
    """Where a page begins: behind the last row of the page before."""

    title = "page"
    parameter_name = "start"
    template = "admin/djaffar/no_filter.html"
    #: The fields that say where a row stands.
    order: list[str]


class BehindDate(Start):
    """In the order of ``-date, -id``; ``start=DATE,ID``."""

    order = ["date", "pk"]

    @staticmethod
    def text(place: tuple[Any, ...]) -> str:
        return f"{place[0].isoformat()},{place[1]}"

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text, _, number = (self.value() or "").rpartition(",")
        try:
            date = aware(parse_datetime(text))
        except ValueError:
            date = None
        # Eighteen digits fit into 64 bits.
        if date is None or not (number.isascii() and number.isdecimal() and len(number) < 19):
            return queryset
        # Said twice, for the index of dates helps with the first alone.
        behind = Q(date__lt=date) | Q(pk__lt=int(number))
        return queryset.filter(date__lte=date).filter(behind)

    @staticmethod
    def until(queryset: QuerySet[Any], place: tuple[Any, ...]) -> QuerySet[Any]:
        """The rows down to this one."""
        date, number = place
        return queryset.filter(date__gte=date).filter(Q(date__gt=date) | Q(pk__gte=number))


class BehindKey(Start):
    """In the order of the keys; ``start=KEY``."""

    order = ["pk"]

    @staticmethod
    def text(place: tuple[Any, ...]) -> str:
        return str(place[0])

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(pk__gt=self.value()) if self.value() else queryset

    @staticmethod
    def until(queryset: QuerySet[Any], place: tuple[Any, ...]) -> QuerySet[Any]:
        return queryset.filter(pk__lte=place[0])
