"""The options of ``djaffar serve``, taken from Django's settings.

``settings.DJAFFAR`` says what Django does not know (``listen``, ``spool``, …) and
wins over what is derived here; the environment (``DJAFFAR_LISTEN``) and flags win over both.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.management.base import CommandError
from django.db import connections, router
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Model
from django.urls import NoReverseMatch, URLResolver, get_resolver, reverse

from djaffar import options as site
from djaffar import server_sessions, server_tokens
from djaffar.models import Activity


@dataclass
class Derived:
    """What the settings of Django say."""

    #: By the names of djaffar's options.
    options: dict[str, Any]
    #: What JWTs are verified with, where that is not SECRET_KEY.
    jwt_key: str | None
    #: What will not work, and how to mend it.
    wrong: list[str]
    #: What differs from Django and does little harm.
    notes: list[str]


def derived() -> Derived:
    """All of it. What ``settings.DJAFFAR`` says is taken as it is."""
    given = site.given()
    sessions, wrong = server_sessions.said()
    tokens = server_tokens.said()
    wrong = [] if names_sessions(given) else wrong
    wrong = site.blank() + _users_wrong() + _databases_wrong() + wrong
    options = {
        "database": given.get("database") or database_url(),
        "prefix": given.get("prefix") or prefix(),
        **beside(sessions, tokens),
        **given,
    }
    if "token" in given:
        return Derived(options, tokens.jwt_key, wrong, [])
    return Derived(options, tokens.jwt_key, wrong + tokens.wrong, tokens.notes)


def beside(sessions: dict[str, Any], tokens: server_tokens.Tokens) -> dict[str, Any]:
    """What stands beside ``DJAFFAR`` in the settings, but for the database and the URLs."""
    return {
        "allowed_host": _hosts(),
        "time_zone": settings.TIME_ZONE,
        "use_tz": settings.USE_TZ,
        "hashing": "sha256",
        "authentication_backend": settings.AUTHENTICATION_BACKENDS if tokens.by_session else [],
        **_users(),
        **_cookie(),
        **sessions,
        **tokens.options,
    }


def names_sessions(given: dict[str, Any]) -> bool:
    """Whether the site says itself how the server is to read its sessions."""
    return any(name in given for name in ("session_engine", "session_cache", "session_serializer"))


def _users() -> dict[str, Any]:
    user = get_user_model()._meta
    return {
        "user_table": user.db_table,
        "user_id_column": user.pk.column,
        "user_password_column": user.get_field("password").column,
        "user_active_column": _active_column() or "",
    }


def _active_column() -> str | None:
    """Where Django finds whether a user may log in; a user model without it has active users."""
    field = getattr(get_user_model(), "is_active", None)
    column = getattr(getattr(field, "field", None), "column", None)
    return column


def _users_wrong() -> list[str]:
    """What the server cannot do with the users of this site."""
    user = get_user_model()
    label, advice = user._meta.label, "stay with the endpoint inside Django"
    wrong = []
    if user._meta.get_field("password").model is not user:
        wrong.append(f"{label} has its password in another table: {advice}.")
    if user.get_session_auth_hash is not AbstractBaseUser.get_session_auth_hash:
        wrong.append(f"{label} has a get_session_auth_hash of its own: {advice}.")
    if _active_column() is None and getattr(user, "is_active", True) is not True:
        wrong.append(f"{label}.is_active is in no column: {advice}.")
    return wrong


def _databases_wrong() -> list[str]:
    """One database for activities, users and sessions: the server has one address."""
    from django.contrib.sessions.models import Session

    ours = router.db_for_write(Activity)
    others: dict[str, type[Model]] = {"the users": get_user_model(), "the sessions": Session}
    if settings.SESSION_ENGINE.rpartition(".")[2] not in ("db", "cached_db"):
        del others["the sessions"]
    return [
        f"The activities are in the database {ours!r} and {what} in {router.db_for_read(model)!r}: "
        "the server needs both in one (DATABASE_ROUTERS), or stay with the endpoint inside Django."
        for what, model in others.items()
        if router.db_for_read(model) != ours
    ]


def _cookie() -> dict[str, Any]:
    return {
        "session_cookie_name": settings.SESSION_COOKIE_NAME,
        "session_cookie_age": settings.SESSION_COOKIE_AGE,
        "session_cookie_domain": settings.SESSION_COOKIE_DOMAIN or "",
        "session_cookie_path": settings.SESSION_COOKIE_PATH,
        "session_cookie_secure": bool(settings.SESSION_COOKIE_SECURE),
        "session_cookie_httponly": bool(settings.SESSION_COOKIE_HTTPONLY),
        "session_cookie_samesite": settings.SESSION_COOKIE_SAMESITE or "off",
        "session_expire_at_browser_close": settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
    }


def _hosts() -> list[str]:
    """ALLOWED_HOSTS, as Django reads it (django.http.request.HttpRequest.get_host)."""
    hosts = list(settings.ALLOWED_HOSTS)
    return hosts or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])


def prefix() -> str:
    """The folder of the endpoint, as the URLs of the site have it."""
    for name in _names(get_resolver(), []):
        try:
            path = reverse(name)
        except NoReverseMatch:
            continue
        if path.endswith("log/"):
            return path.removesuffix("log/")
    raise CommandError(
        'The endpoint has no URL: add path("djaffar/", include("djaffar.urls")) to the URLs of the '
        "site."
    )


def _names(resolver: URLResolver, namespaces: list[str]) -> Iterator[str]:
    """What the endpoint may be called, in each namespace of the site."""
    yield ":".join([*namespaces, "activity_detail"])
    for namespace, (_, inner) in resolver.namespace_dict.items():
        yield from _names(inner, [*namespaces, namespace])


def database_url() -> str:
    """The database of the activities, as djaffar writes its address; without the password."""
    database = connections[router.db_for_write(Activity)].settings_dict
    kind = database["ENGINE"].rpartition(".")[2]
    name = str(database["NAME"])
    if kind in ("sqlite3", "spatialite"):
        if ":memory:" in name or "mode=memory" in name or not name:
            raise CommandError("A database in memory is this process's alone; name a file.")
        if "?" in name or "#" in name:
            raise CommandError(
                f"djaffar opens no file with a ? or # in its name: rename it ({name})."
            )
        return f"sqlite:///{os.path.abspath(name)}"
    schemes = {"postgresql": "postgres", "postgis": "postgres", "mysql": "mysql"}
    if kind not in schemes:
        raise CommandError(f"djaffar has no way to write to {database['ENGINE']}.")
    options = database.get("OPTIONS") or {}
    for option, file in [("service", "pg_service.conf"), ("read_default_file", "my.cnf")]:
        if option in options:
            raise CommandError(
                f"djaffar reads no {file}: name HOST, NAME, USER and PASSWORD in DATABASES, or the "
                'address in DJAFFAR["database"] and the file of its password in '
                'DJAFFAR["database_password_file"].'
            )
    if not name:
        raise CommandError("The database of the activities has no NAME in DATABASES.")
    host = database.get("HOST") or options.get("unix_socket") or ""
    port = f":{database['PORT']}" if database.get("PORT") and host else ""
    user = quote(str(database.get("USER") or ""), safe="")
    who = f"{user}@" if user else ""
    # What Python's drivers and ours call the same, and what only Django's own wants.
    known = ["sslmode", "sslrootcert", "sslcert", "sslkey", "options", "application_name"]
    said = {key: options[key] for key in known if key in options and kind != "mysql"}
    if kind == "mysql" and (tls := options.get("ssl")):
        names = {"ca": "ssl-ca", "cert": "ssl-cert", "key": "ssl-key"}
        said = {names[key]: value for key, value in tls.items() if key in names}
        said.setdefault("ssl-mode", "VERIFY_CA" if "ssl-ca" in said else "REQUIRED")
    if kind == "mysql" and (mode := options.get("ssl_mode")):
        said["ssl-mode"] = mode
    query = f"?{urlencode(said)}" if said else ""
    return f"{schemes[kind]}://{who}{quote(host, safe='')}{port}/{quote(name, safe='')}{query}"


def database_password() -> str | None:
    """The password of that database, if it has one."""
    password = connections[router.db_for_write(Activity)].settings_dict.get("PASSWORD")
    return str(password) if password else None


def as_toml(options: dict[str, Any]) -> str:
    """Options as djaffar.toml."""
    return "".join(f"{name} = {_toml(name, value)}\n" for name, value in options.items())


def _toml(name: str, value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(name, item) for item in value)}]"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        kind = type(value).__name__
        raise CommandError(f"{name}: a {kind} is no text, number, truth or list.") from None
    # The texts, numbers and truths of JSON are those of TOML, but for DEL.
    return text.replace("\x7f", "\\u007f")


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
