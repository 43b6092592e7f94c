"""The sites of the tests: what differs between them comes in the environment."""

import json
import os

SECRET_KEY = os.environ.get("SITE_SECRET_KEY", "site-key-of-the-tests-0123456789-abcdefghijklmnop")
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "rest_framework",
    "rest_framework.authtoken",
    "people",
    "djaffar",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.TokenAuthentication",
    ]
}
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
    "default": json.loads(os.environ["SITE_DATABASE"])
    if "SITE_DATABASE" in os.environ
    else {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
}
if "SITE_HISTORY" in os.environ:
    DATABASES["history"] = json.loads(os.environ["SITE_HISTORY"])
AUTH_USER_MODEL = os.environ.get("SITE_USER_MODEL", "auth.User")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_URL = "/static/"
TIME_ZONE = "America/Chicago"
USE_TZ = True

globals().update(json.loads(os.environ.get("SITE_SETTINGS", "{}")))
INSTALLED_APPS += globals().get("EXTRA_APPS", [])
if "rest_framework" not in INSTALLED_APPS and globals().get("REST_FRAMEWORK_IS_ABSENT"):
    del REST_FRAMEWORK
if "mysql" in DATABASES["default"]["ENGINE"]:
    import pymysql

    # Django asks for mysqlclient, which would have to be compiled.
    pymysql.version_info = (2, 2, 8, "final", 0)
    pymysql.install_as_MySQLdb()
