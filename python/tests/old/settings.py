"""A site of 2017: the published django-djaffar 0.1.10 on Django 1.10 (and Python 3.6)."""

import json
import os

SECRET_KEY = "site-key-of-the-tests-0123456789-abcdefghijklmnop"
ROOT_URLCONF = "urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "rest_framework.authtoken",
    "djaffar",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": json.loads(os.environ["SITE_DATABASE"])}
if "mysql" in DATABASES["default"]["ENGINE"]:
    import pymysql

    pymysql.install_as_MySQLdb()
USE_TZ = True
