from django.conf import settings
from django.urls import include, path

urlpatterns = [path("djaffar/", include(f"{settings.APP}.urls"))]
