"""django-djaffar 0.1.10, see models.py."""

from django.urls import re_path

from .views import ActivityDetail

urlpatterns = [
    re_path(r'^log/$', ActivityDetail.as_view(), name='activity_detail'),
]
