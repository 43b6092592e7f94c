"""Lists of the admin that open as fast however long the history is.

Nothing is counted, and pages are not skipped: a page says where the next, older one begins. A
filter that no index helps looks at the latest rows only, and the next page looks further back.
No page shows or tells the key of a session: whoever has it is that user.
"""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from djaffar.admin_filters import Start, TextFilter

#: Activities on a page, and in a user's timeline.
PAGE = 100
#: Rows that a filter without an index looks at for a page.
LATEST = 20_000


def short(text: str, length: int) -> str:
    """The beginning; all of it where the mouse rests."""
    begin = Truncator(text).chars(length)
    return begin if begin == text else format_html('<span title="{}">{}</span>', text, begin)


def moment(date: datetime | None) -> str | None:
    """As the site writes dates; in UTC where its time zone has no such date."""
    if date is None:
        return None
    try:
        return str(localize(timezone.localtime(date) if timezone.is_aware(date) else date))
    except OverflowError:
        return f"{date.replace(tzinfo=None).isoformat(' ', 'seconds')} UTC"


class OnePage(ChangeList):
    """Reads the rows of a page, and whether there is one more."""

    following: str | None = None
    #: So many rows were looked at, and there are older ones.
    looked_at: int | None = None

    def get_results(self, request: HttpRequest) -> None:
        start = self.model_admin.start
        texts = [each for each in self.filter_specs if isinstance(each, TextFilter)]
        searched = [each for each in texts if each.value() and not each.indexed]
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


class Named:
    """A row under another name than its own, which has the key of a session in it."""

    def __init__(self, row: Any, name: str) -> None:
        self._row, self._name = row, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, name)

    def __str__(self) -> str:
        return self._name


class ReadOnly(admin.ModelAdmin):
    """History is not written by hand, nor deleted here: ``Activity.objects`` does that."""

    start: type[Start]
    actions = None
    # They would count.
    show_facets = admin.ShowFacets.NEVER
    sortable_by: list[str] = []
    change_list_template = "admin/djaffar/one_page.html"

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return OnePage

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # Only what is listed: a key is guessed by ?session__session_key__startswith=a, =b, …
        for each in self.get_list_filter(request):
            if isinstance(each, type) and lookup == getattr(each, "parameter_name", None):
                return True
            name = each if isinstance(each, str) else each[0] if isinstance(each, tuple) else None
            if name is not None and f"{lookup}__".startswith(f"{name}__"):
                return super().lookup_allowed(lookup, value, request)
        return False

    def name_of(self, row: Any) -> str:
        """What the pages call it."""
        raise NotImplementedError

    def render_change_form(self, request: Any, context: Any, **options: Any) -> Any:
        if row := context.get("original"):
            name = self.name_of(row)
            context |= {"original": Named(row, name), "subtitle": name}
        return super().render_change_form(request, context, **options)

    def history_view(self, request: Any, object_id: str, extra_context: Any = None) -> Any:
        response = super().history_view(request, object_id, extra_context)
        if context := getattr(response, "context_data", None):
            name = self.name_of(context["object"])
            title = _("Change history: %s") % name
            context |= {"object": Named(context["object"], name), "title": title}
        return response

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False
