"""The history in the admin: to be read, not changed; and a timeline on the page of each user."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import router
from django.db.models import QuerySet
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from djaffar.admin_filters import BehindDate, BehindKey, Days, UserFilter, text_filter
from djaffar.admin_pages import PAGE, ReadOnly, moment, short
from djaffar.models import Activity, SessionInfo


@admin.register(Activity)
class ActivityAdmin(ReadOnly):
    list_display = ["when", "user", "name", "on", "came_from", "ip_address", "browser"]
    list_filter = [
        Days,
        UserFilter,
        text_filter("path", "path__startswith", _("path")),
        text_filter("name", "name", _("name")),
        text_filter("browser", "info__browser", _("browser")),
        BehindDate,
    ]
    start = BehindDate
    ordering = ["-date", "-id"]
    fields = [
        "when", "user", "name", "path", "referer", "ip_address", "properties",
        "begin_of_session", "browser", "received", "event_id",
    ]  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["when", "begin_of_session", "browser", "received"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        return rows if _users_beside() else rows.prefetch_related("user")

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        return ["info", "user"] if _users_beside() else ["info"]

    def name_of(self, row: Activity) -> str:
        return f"{row.name} {row.path}".strip()

    @admin.display(description=_("date"))
    def when(self, activity: Activity) -> str:
        return format_html('<span class="nowrap">{}</span>', moment(activity.date))

    @admin.display(description=_("received at"))
    def received(self, activity: Activity) -> str | None:
        return moment(activity.received_at)

    @admin.display(description=_("session"))
    def begin_of_session(self, activity: Activity) -> str | None:
        # Whoever has all of it is logged in as that user.
        return activity.session_id and activity.session_id[:8] + "…"

    @admin.display(description=_("path"))
    def on(self, activity: Activity) -> str:
        return short(activity.path, 40)

    @admin.display(description=_("referer"))
    def came_from(self, activity: Activity) -> str:
        return short(activity.referer, 30)

    @admin.display(description=_("browser"))
    def browser(self, activity: Activity) -> str | None:
        info = activity.info
        return info and (info.browser or short(info.user_agent, 25))

    def get_urls(self) -> list[Any]:
        # By now every app has registered its models.
        user_admin = self.admin_site._registry.get(get_user_model())
        if user_admin is not None and Timeline not in user_admin.inlines:
            user_admin.inlines = [*user_admin.inlines, Timeline]
        return super().get_urls()


def _users_beside() -> bool:
    """Whether the users are in the database of the history, so that they can be joined."""
    return router.db_for_read(get_user_model()) == router.db_for_read(Activity)


@admin.register(SessionInfo)
class SessionInfoAdmin(ReadOnly):
    """For superusers: keys of sessions are all that it is about."""

    list_display = ["session_id", "created_at", "visitor", "browser", "os", "device", "country"]
    list_filter = [
        text_filter("session", "pk", _("session"), indexed=True),
        text_filter("visitor", "visitor", _("visitor")),
        text_filter("browser", "browser", _("browser")),
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

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def name_of(self, row: SessionInfo) -> str:
        return row.session_id[:8] + "…"


class Latest(BaseInlineFormSet):
    """Only the latest of a user's activities, which a form shows and never sends."""

    def __init__(self, data: Any = None, files: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.new_objects = self.changed_objects = self.deleted_objects = []

    def get_queryset(self) -> Any:
        if not hasattr(self, "_latest"):
            self._latest = list(super().get_queryset()[:PAGE])
            for activity in self._latest:
                activity.when = moment(activity.date)
        return self._latest

    def is_valid(self) -> bool:
        return True

    def save(self, commit: bool = True) -> list[Any]:
        return []


class Timeline(admin.TabularInline):
    """What a user did, on the page of the user."""

    model = Activity
    formset = Latest
    template = "admin/djaffar/timeline.html"
    verbose_name_plural = _("what this user did last")
    fields = readonly_fields = ["date", "name", "path", "referer", "ip_address"]
    ordering = ["-date", "-id"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
