"""The history in the admin: to be read, not changed; and a timeline on the page of each user."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.forms import BaseInlineFormSet
from django.http import HttpRequest

from djaffar.admin_pages import (
    PAGE,
    BehindDate,
    BehindKey,
    Days,
    ReadOnly,
    UserFilter,
    short,
    text_filter,
)
from djaffar.models import Activity, SessionInfo


@admin.register(Activity)
class ActivityAdmin(ReadOnly):
    list_display = ["date", "user", "name", "on", "came_from", "ip_address", "browser"]
    list_filter = [
        Days,
        UserFilter,
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

    @admin.display(description="path")
    def on(self, activity: Activity) -> str:
        return short(activity.path, 40)

    @admin.display(description="referer")
    def came_from(self, activity: Activity) -> str:
        return short(activity.referer, 30)

    @admin.display
    def browser(self, activity: Activity) -> str | None:
        info = activity.info
        return info and (info.browser or short(info.user_agent, 25))

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
    template = "admin/djaffar/timeline.html"
    verbose_name_plural = "what this user did last"
    fields = readonly_fields = ["date", "name", "path", "referer", "ip_address"]
    ordering = ["-date", "-id"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
