from django.conf.urls import include, url

urlpatterns = [url(r"^djaffar/", include("djaffar.urls"))]
