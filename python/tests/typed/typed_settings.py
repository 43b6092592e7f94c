SECRET_KEY = "site-key-of-the-tests-0123456789-abcdefghijklmnop"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "djaffar",
]
