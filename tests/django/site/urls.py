"""The pages of the site: the admin (to log in), and what the tests look at."""

import json
import os

import django
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

if django.VERSION >= (2, 0):
    from django.urls import re_path
else:
    from django.conf.urls import url as re_path


@csrf_exempt
def session(request):
    """The session and the user as Django sees them; a POST puts values into the session first."""
    for name, value in request.POST.items():
        request.session[name] = value
    seen = {
        "key": request.session.session_key,
        "data": dict(request.session),
        "user": request.user.pk,
    }
    return HttpResponse(json.dumps(seen), content_type="application/json")


@csrf_exempt
def expiry(request, seconds):
    """Ends the session in so many seconds."""
    request.session.set_expiry(int(seconds))
    return HttpResponse("")


@csrf_exempt
def deactivate(request, name):
    """What a member of staff does with the box "active" in the admin."""
    user = get_user_model().objects.get(username=name)
    user.is_active = False
    user.save()
    return HttpResponse("")


def page(request):
    """A page that somebody pasted HTML into."""
    return HttpResponse(os.environ["SITE_PAGE"])


urlpatterns = [
    re_path(r"^admin/", admin.site.urls),
    re_path(r"^session/$", session),
    re_path(r"^expiry/(\d+)/$", expiry),
    re_path(r"^deactivate/(\w+)/$", deactivate),
    re_path(r"^page/", page),
]

if "rest_framework" in settings.INSTALLED_APPS:
    from rest_framework.authentication import TokenAuthentication
    from rest_framework.decorators import api_view, authentication_classes
    from rest_framework.response import Response

    @api_view(["POST"])
    @authentication_classes([TokenAuthentication])
    def whoami(request):
        return Response({"user": request.user.pk})

    urlpatterns.append(re_path(r"^whoami/$", whoami))

if hasattr(settings, "WHO"):
    from who import who

    urlpatterns.append(re_path(r"^who/$", who))
