"""A site without the admin."""

from django.urls import include, path

urlpatterns = [path("djaffar/", include("djaffar.urls"))]
