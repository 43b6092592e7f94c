"""``path("djaffar/", include("djaffar.urls"))``."""

from django.urls import path

from djaffar import options
from djaffar._djaffar import Tracker
from djaffar.tracker import tracker
from djaffar.views import activity_detail

urlpatterns = [
    path("log/", activity_detail, name="activity_detail"),
    # A redirect to the address with its slash would lose the body.
    path("log", activity_detail),
    path(options.tracker_name(), tracker, name="djaffar_tracker"),
    path(Tracker.MORE_NAME, tracker, {"more": True}),
]
