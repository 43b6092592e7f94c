"""The history in Django's admin: to be read, not changed, and fast however long it is.

Nothing is counted, and pages are not skipped: a page says where the next, older one begins.
"""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from djaffar.models import Activity, SessionInfo

#: Activities on a page, and in a user's timeline.
PAGE = 100


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
        return queryset.filter(date__gte=timezone.now() - timedelta(days=days))


class TextFilter(admin.SimpleListFilter):
    """A filter by what is typed: a list of all values would have to read all rows."""

    template = "admin/djaffar/text_filter.html"
    lookup = ""

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]

    def choices(self, changelist: Any) -> Any:
        kept = changelist.get_filters_params()
        kept.pop(self.parameter_name, None)
        kept = {name: values[-1] for name, values in kept.items()}
        yield {"value": self.value() or "", "kept": kept, "parameter": self.parameter_name}

    def queryset(self, request: Any, queryset: QuerySet) -> QuerySet:
        text = self.value()
        return queryset.filter(**{self.lookup: text}) if text else queryset


def text_filter(name: str, field: str) -> type[TextFilter]:
    made = {"title": name, "parameter_name": name, "lookup": field}
    return type(f"{name.title()}Filter", (TextFilter,), made)


class Start(admin.SimpleListFilter):
    """Where a page begins: behind the last row of the page before."""

    title = "page"
    parameter_name = "start"
    template = "admin/djaffar/no_filter.html"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]


class BehindDate(Start):
    """In the order of ``-date, -id``; ``start=DATE,ID``."""

    @staticmethod
    def of(activity: Activity) -> str:
        return f"{activity.date.isoformat()},{activity.pk}"

    def queryset(self, request: Any, queryset: QuerySet) -> QuerySet:
        text, _, number = (self.value() or "").rpartition(",")
        try:
            date = parse_datetime(text)
        except ValueError:
            date = None
        if date is None or not number.isdigit():
            return queryset
        return queryset.filter(Q(date__lt=date) | Q(date=date, id__lt=int(number)))


class BehindKey(Start):
    """In the order of the keys; ``start=KEY``."""

    @staticmethod
    def of(info: SessionInfo) -> str:
        return info.pk

    def queryset(self, request: Any, queryset: QuerySet) -> QuerySet:
        return queryset.filter(pk__gt=self.value()) if self.value() else queryset


class OnePage(ChangeList):
    """Reads the rows of a page, and whether there is one more."""

    following: str | None = None

    def get_results(self, request: HttpRequest) -> None:
        rows = list(self.queryset[: PAGE + 1])
        self.result_list = rows[:PAGE]
        if len(rows) > PAGE:
            self.following = self.get_query_string({"start": self.model_admin.start.of(rows[-2])})
        self.result_count = len(self.result_list)
        self.full_result_count = None
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(self.result_list, PAGE)


class ReadOnly(admin.ModelAdmin):
    """History is not written by hand. What must go is deleted by who may."""

    start: type[Start]
    actions = None
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


@admin.register(Activity)
class ActivityAdmin(ReadOnly):
    list_display = ["date", "user", "name", "path", "referer", "ip_address", "browser"]
    list_filter = [
        Days,
        text_filter("user", f"user__{get_user_model().USERNAME_FIELD}"),
        text_filter("path", "path__startswith"),
        text_filter("name", "name"),
        text_filter("browser", "info__browser"),
        BehindDate,
    ]
    start = BehindDate
    list_select_related = ["user", "info"]
    ordering = ["-date", "-id"]
    fields = [
        "date", "user", "name", "path", "referer", "ip_address", "properties",
        "session_id", "browser", "received_at", "event_id",
    ]  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["session_id", "browser"]

    @admin.display
    def browser(self, activity: Activity) -> str | None:
        info = activity.info
        return (info.browser or info.user_agent) if info else None

    def get_urls(self) -> list[Any]:
        # By now every app has registered its models.
        user_admin = self.admin_site._registry.get(get_user_model())
        if user_admin is not None and Timeline not in user_admin.inlines:
            user_admin.inlines = [*user_admin.inlines, Timeline]
        return super().get_urls()


@admin.register(SessionInfo)
class SessionInfoAdmin(ReadOnly):
    list_display = ["session_id", "created_at", "visitor", "browser", "os", "device", "country"]
    list_filter = [
        text_filter("session", "session_id"),
        text_filter("visitor", "visitor"),
        text_filter("browser", "browser"),
        BehindKey,
    ]
    ordering = ["pk"]
    start = BehindKey
    fields = [
        "session_id", "user_agent", "visitor", "browser", "os", "device", "bot", "country",
        "created_at",
    ]  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["session_id"]


class Latest(BaseInlineFormSet):
    """Only the latest of a user's activities, which a form shows and never sends."""

    def __init__(self, data: Any = None, files: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.new_objects = self.changed_objects = self.deleted_objects = []

    def get_queryset(self) -> Any:
        if not hasattr(self, "_latest"):
            self._latest = list(super().get_queryset()[:PAGE])
        return self._latest

    def is_valid(self) -> bool:
        return True

    def save(self, commit: bool = True) -> list[Any]:
        return []


class Timeline(admin.TabularInline):
    """What a user did, on the page of the user."""

    model = Activity
    formset = Latest
    verbose_name_plural = "what this user did last"
    fields = readonly_fields = ["date", "name", "path", "referer", "ip_address"]
    ordering = ["-date", "-id"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
