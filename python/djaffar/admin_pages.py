"""Lists of the admin that open as fast however long the history is.

Nothing is counted, and pages are not skipped: a page says where the next, older one begins. A
filter that no index helps looks at the latest rows only, and the next page looks further back.
"""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.text import Truncator

from djaffar.queries import date_now

#: Activities on a page, and in a user's timeline.
PAGE = 100
#: Rows that a filter without an index looks at for a page.
LATEST = 20_000


def short(text: str, length: int) -> str:
    """The beginning; all of it where the mouse rests."""
    begin = Truncator(text).chars(length)
    return begin if begin == text else format_html('<span title="{}">{}</span>', text, begin)


class Days(admin.SimpleListFilter):
    """How far back; the last week, unless it is said."""

    title = "date"
    parameter_name = "days"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "Past day"), ("30", "Past 30 days"), ("365", "Past year"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        choices = super().choices(changelist)
        week = next(choices)
        yield {**week, "display": "Past 7 days"}
        yield from choices

    def queryset(self, request: Any, queryset: QuerySet) -> QuerySet:
        if self.value() == "all":
            return queryset
        days = int(self.value() or 7)
        return queryset.filter(date__gte=date_now() - timedelta(days=days))


class TextFilter(admin.SimpleListFilter):
    """A filter by what is typed: a list of all values would have to read all rows."""

    template = "admin/djaffar/text_filter.html"
    lookup = ""

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]

    def choices(self, changelist: Any) -> Any:
        kept = changelist.get_filters_params()
        kept = {
            name: values[-1]
            for name, values in kept.items()
            if name not in (self.parameter_name, "start")
        }
        yield {"value": self.value() or "", "kept": kept, "parameter": self.parameter_name}

    def queryset(self, request: Any, queryset: QuerySet) -> QuerySet:
        # Among the latest rows, once it is known which these are (`OnePage`).
        return queryset

    def narrow(self, queryset: QuerySet) -> QuerySet:
        return queryset.filter(**{self.lookup: self.value()})


def text_filter(name: str, field: str) -> type[TextFilter]:
    made = {"title": name, "parameter_name": name, "lookup": field}
    return type(f"{name.title()}Filter", (TextFilter,), made)


class UserFilter(TextFilter):
    """By the name with which a user logs in; the index of users finds the rows."""

    title = parameter_name = "user"

    def queryset(self, request: Any, queryset: QuerySet) -> QuerySet:
        if not self.value():
            return queryset
        model = get_user_model()
        named = model._default_manager.filter(**{model.USERNAME_FIELD: self.value()})
        key = named.values_list("pk", flat=True).first()
        return queryset.none() if key is None else queryset.filter(user_id=key)

    def narrow(self, queryset: QuerySet) -> QuerySet:
        return queryset


class Start(admin.SimpleListFilter):
    """Where a page begins: behind the last row of the page before."""

    title = "page"
    parameter_name = "start"
    template = "admin/djaffar/no_filter.html"
    #: The fields that say where a row stands.
    order: list[str]

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]


class BehindDate(Start):
    """In the order of ``-date, -id``; ``start=DATE,ID``."""

    order = ["date", "pk"]

    @staticmethod
    def text(place: tuple[Any, ...]) -> str:
        return f"{place[0].isoformat()},{place[1]}"

    def queryset(self, request: Any, queryset: QuerySet) -> QuerySet:
        text, _, number = (self.value() or "").rpartition(",")
        try:
            date = parse_datetime(text)
        except ValueError:
            date = None
        if date is None or not number.isdigit():
            return queryset
        # Said twice, for the index of dates helps with the first alone.
        behind = Q(date__lt=date) | Q(pk__lt=int(number))
        return queryset.filter(date__lte=date).filter(behind)

    @staticmethod
    def until(queryset: QuerySet, place: tuple[Any, ...]) -> QuerySet:
        """The rows down to this one."""
        date, number = place
        return queryset.filter(date__gte=date).filter(Q(date__gt=date) | Q(pk__gte=number))


class BehindKey(Start):
    """In the order of the keys; ``start=KEY``."""

    order = ["pk"]

    @staticmethod
    def text(place: tuple[Any, ...]) -> str:
        return str(place[0])

    def queryset(self, request: Any, queryset: QuerySet) -> QuerySet:
        return queryset.filter(pk__gt=self.value()) if self.value() else queryset

    @staticmethod
    def until(queryset: QuerySet, place: tuple[Any, ...]) -> QuerySet:
        return queryset.filter(pk__lte=place[0])


class OnePage(ChangeList):
    """Reads the rows of a page, and whether there is one more."""

    following: str | None = None
    #: So many rows were looked at, and there are older ones.
    looked_at: int | None = None

    def get_results(self, request: HttpRequest) -> None:
        start = self.model_admin.start
        texts = [
            each for each in self.filter_specs if isinstance(each, TextFilter) and each.value()
        ]
        searched = [each for each in texts if not isinstance(each, UserFilter)]
        rows, last = self.queryset, None
        if searched:
            places = rows.select_related(None).values_list(*start.order)
            last, older = [*places[LATEST - 1 : LATEST + 1], None, None][:2]
            last = None if older is None else last
            rows = rows if last is None else start.until(rows, last)
        for each in searched:
            rows = each.narrow(rows)
        found = list(rows[: PAGE + 1])
        self.result_list = found[:PAGE]
        if len(found) > PAGE:
            last = tuple(getattr(found[-2], name) for name in start.order)
        elif last is not None:
            self.looked_at = LATEST
        if last is not None:
            self.following = self.get_query_string({"start": start.text(last)})
        self._say_that_nothing_is_counted()

    def _say_that_nothing_is_counted(self) -> None:
        self.result_count = len(self.result_list)
        self.full_result_count = None
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(self.result_list, PAGE)


class ReadOnly(admin.ModelAdmin):
    """History is not written by hand. What must go is deleted by who may."""

    start: type[Start]
    actions = None
    # They would count.
    show_facets = admin.ShowFacets.NEVER
    sortable_by: list[str] = []
    change_list_template = "admin/djaffar/one_page.html"

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return OnePage

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False
