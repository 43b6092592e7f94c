"""The options of ``djaffar serve``, taken from Django's settings.

``settings.DJAFFAR`` says what Django does not know (``listen``, ``spool``, …) and
wins over what is derived here; the environment (``DJAFFAR_LISTEN``) and flags win over both.
"""

import os
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.db import connections, router
from django.db.migrations.executor import MigrationExecutor
from django.urls import NoReverseMatch, reverse

from djaffar.models import Activity


def derived() -> dict[str, Any]:
    """What the settings of Django say, under the names of djaffar's options."""
    said = {
        "database": database_url(),
        "prefix": prefix(),
        "time_zone": settings.TIME_ZONE,
        "use_tz": settings.USE_TZ,
        "user_table": get_user_model()._meta.db_table,
        "authentication_backend": list(settings.AUTHENTICATION_BACKENDS),
        "session_cookie_name": settings.SESSION_COOKIE_NAME,
        "session_cookie_age": settings.SESSION_COOKIE_AGE,
        "session_cookie_domain": settings.SESSION_COOKIE_DOMAIN or "",
        "session_cookie_path": settings.SESSION_COOKIE_PATH,
        "session_cookie_secure": bool(settings.SESSION_COOKIE_SECURE),
        "session_cookie_httponly": bool(settings.SESSION_COOKIE_HTTPONLY),
        "session_cookie_samesite": settings.SESSION_COOKIE_SAMESITE or "off",
        "session_expire_at_browser_close": settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
    }
    if hosts := hosts_by_name():
        said["allowed_host"] = hosts
    return said | getattr(settings, "DJAFFAR", {})


def hosts_by_name() -> list[str]:
    """ALLOWED_HOSTS, where they are names and not patterns; the proxy in front knows them too."""
    hosts = list(settings.ALLOWED_HOSTS)
    return [] if any(host.startswith((".", "*")) for host in hosts) else hosts


def prefix() -> str:
    """The folder of the endpoint, as the URLs of the site have it."""
    try:
        return reverse("activity_detail").removesuffix("log/")
    except NoReverseMatch:
        raise CommandError(
            'The endpoint has no URL: add path("djaffar/", include("djaffar.urls")) to the URLs '
            "of the site."
        ) from None


def database_url() -> str:
    """The database of the activities, as djaffar writes its address."""
    database = connections[router.db_for_write(Activity)].settings_dict
    kind = database["ENGINE"].rpartition(".")[2]
    name = str(database["NAME"])
    if kind in ("sqlite3",):
        if ":memory:" in name or not name:
            raise CommandError("A database in memory is this process's alone; name a file.")
        return f"sqlite:///{os.path.abspath(name)}"
    schemes = {"postgresql": "postgres", "postgis": "postgres", "mysql": "mysql"}
    if kind not in schemes:
        raise CommandError(f"djaffar has no way to write to {database['ENGINE']}.")
    host = database.get("HOST") or "localhost"
    port = f":{database['PORT']}" if database.get("PORT") else ""
    user = quote(str(database.get("USER") or ""), safe="")
    password = quote(str(database.get("PASSWORD") or ""), safe="")
    who = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return f"{schemes[kind]}://{who}{quote(host, safe='')}{port}/{quote(name, safe='')}"


def as_environment(said: dict[str, Any]) -> dict[str, str]:
    """Options as environment variables; what the environment has already said stays."""
    values = {f"DJAFFAR_{name.upper()}": _text(value, ",") for name, value in said.items()}
    return {name: value for name, value in values.items() if name not in os.environ}


def as_toml(said: dict[str, Any]) -> str:
    """Options as djaffar.toml."""
    return "".join(f"{name} = {_toml(value)}\n" for name, value in said.items())


def _text(value: Any, separator: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return separator.join(_text(item, separator) for item in value)
    return str(value)


def _toml(value: Any) -> str:
    if isinstance(value, (bool, int)):
        return _text(value, "")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def pending() -> str | None:
    """What to do where the tables are not those of this version."""
    connection = connections[router.db_for_write(Activity)]
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes("djaffar")
    plan = [migration for migration, _ in executor.migration_plan(leaves)]
    if not any(migration.app_label == "djaffar" for migration in plan):
        return None
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
    applied = any(app == "djaffar" for app, _ in executor.loader.applied_migrations)
    if not applied and "djaffar_schema_version" in tables:
        return (
            "The tables are there, made by `djaffar migrate`. Django takes them over as they are: "
            "run `manage.py migrate djaffar --fake`."
        )
    return "The tables are not there, or old: run `manage.py migrate djaffar`."


def limits() -> list[str]:
    """What of this site the server does not understand yet, and what to do."""
    user = get_user_model()
    key = user._meta.pk
    wrong = []
    columns = {"the primary key": (key, "id")}
    columns["the password"] = (user._meta.get_field("password"), "password")
    for what, (field, expected) in columns.items():
        if field.column != expected:
            wrong.append(
                f"{what} of {user._meta.label} is in the column {field.column}, and djaffar looks "
                f"for {expected}: stay with the endpoint inside Django."
            )
    return wrong
