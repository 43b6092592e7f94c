"""``path("djaffar/", include("djaffar.urls"))``."""

from django.urls import path

from djaffar.views import activity_detail

urlpatterns = [
    path("log/", activity_detail, name="activity_detail"),
    # A redirect to the address with its slash would lose the body.
    path("log", activity_detail),
]
