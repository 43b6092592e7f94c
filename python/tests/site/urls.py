import os

from django.contrib import admin
from django.contrib.auth import authenticate, login, logout
from django.http import HttpResponse, JsonResponse
from django.urls import include, path


def page(request, number=0, name=""):
    return HttpResponse(os.environ.get("SITE_PAGE", "<!doctype html><title>A page</title>"))


def log_in(request):
    user = authenticate(request, username=request.GET["name"], password=request.GET["password"])
    login(request, user)
    return JsonResponse({"key": request.session.session_key})


def log_out(request):
    logout(request)
    return HttpResponse()


def rekey(request):
    request.session.cycle_key()
    return HttpResponse()


def broken(request):
    raise RuntimeError("broken")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("djaffar/", include("djaffar.urls")),
    path("page/", page, name="page"),
    path("orders/<int:number>/", page, name="order"),
    path("named/<str:name>/", page),
    path("broken/", broken),
    path("login/", log_in),
    path("logout/", log_out),
    path("rekey/", rekey),
]
