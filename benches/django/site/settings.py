"""The site that is measured; DOOR says which endpoint it has: original or view."""

import os

SECRET_KEY = "bench-site-key-0123456789-abcdefghijklmnopqrstuvwxyz"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
APP = "original" if os.environ["DOOR"] == "original" else "djaffar"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    APP,
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SITE_DATABASE"],
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]
}
if APP == "original":
    REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"] = ["original.authentication.WithoutCsrf"]
else:
    DJAFFAR = {
        "spool": os.environ["SITE_DATABASE"] + "-spool",
        "listen": "127.0.0.1:8102",
        "rate_limit": 0,
    }
USE_TZ = True
