"""What a site writes with Djaffar, for a checker of types: it must know what it gets."""

from datetime import date, timedelta

from djaffar import __version__
from djaffar.middleware import PageViewMiddleware
from djaffar.models import Activity, SessionInfo
from djaffar.queries import ActivityQuerySet, Visit
from django.contrib.auth.models import User
from typing_extensions import assert_type


def report(user: User) -> str:
    mine = Activity.objects.for_user(user).since(timedelta(days=7)).page_views()
    assert_type(mine, ActivityQuerySet)
    assert_type(mine.paths(), list[tuple[str, int]])
    for visit in Activity.objects.since(date(2026, 1, 1)).until(timedelta(days=1)).visits():
        assert_type(visit, Visit)
        assert_type(visit.duration, timedelta)
        assert_type(visit.paths, list[str])
    first = mine.named("buy").first()
    assert_type(first, Activity | None)
    if first is not None and first.info is not None:
        assert_type(first.path, str)
        assert_type(first.info, SessionInfo)
    return f"{__version__}: {mine.count()}"


MIDDLEWARE = [f"{PageViewMiddleware.__module__}.{PageViewMiddleware.__qualname__}"]
