"""A Django site as small as it can be, for every Django from 1.8 on (so also for Python 2.7).

What a test wants otherwise comes as JSON in SITE_SETTINGS.
"""

import json
import os

import django

SECRET_KEY = os.environ["SITE_SECRET_KEY"]
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = [
    "compat",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
if django.VERSION < (1, 10):
    MIDDLEWARE_CLASSES = MIDDLEWARE + [
        "django.contrib.auth.middleware.SessionAuthenticationMiddleware",
    ]
if django.VERSION >= (5, 2):
    # Django REST framework, and models of our tables for dumpdata.
    INSTALLED_APPS += ["rest_framework", "rest_framework.authtoken", "djaffar"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SITE_DATABASE"],
        "OPTIONS": {"timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
# Logins are what is tested here, not how long a guess of a password takes.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_URL = "/static/"
TIME_ZONE = "UTC"
USE_TZ = True

globals().update(json.loads(os.environ.get("SITE_SETTINGS", "{}")))
INSTALLED_APPS += globals().get("EXTRA_APPS", [])
