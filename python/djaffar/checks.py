"""System checks: the usual mistakes, each with what to do.

E001 (DJAFFAR) and W003 (no URL) are always looked for; the others matter where the site is deployed
(``manage.py check --deploy``, ``manage.py djaffar check``).
"""

import sqlite3
from typing import Any

from django.conf import settings
from django.core.checks import Error, Tags, Warning
from django.core.checks import register as register_check
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import connections, router
from django.middleware.cache import UpdateCacheMiddleware

from djaffar import _djaffar, options, server, server_sessions, server_tokens
from djaffar.middleware import PageViewMiddleware, listed
from djaffar.models import Activity

#: The first version without the fault of WAL mode (sqlite.org/wal.html, "WAL-reset").
SOUND_SQLITE = (3, 51, 3)


def register() -> None:
    register_check(written, "djaffar")
    register_check(url, Tags.urls)
    for check in (proxy, engine, sqlite, cache):
        register_check(check, "djaffar", deploy=True)


def written(**_: Any) -> list[Error]:
    """Whether the server's own code can read what the site says in ``DJAFFAR``."""
    try:
        given = options.given()
        wrong = options.blank() + _unreadable(given)
    except (CommandError, ImproperlyConfigured) as error:
        wrong = [str(error)]
    hint = '`djaffar serve --help` explains each option; a list is written ["…"], also of one.'
    return [Error(sentence, hint=hint, id="djaffar.E001") for sentence in wrong]


def _unreadable(given: dict[str, Any]) -> list[str]:
    alone = _djaffar.trouble(server.as_toml(given))
    if alone is None:
        return []
    # Options that need each other: the rest is in the settings of Django.
    try:
        tokens = server_tokens.said()
        key = {"jwt_key_file": "handed over"} if tokens.jwt_key else {}
        rest = server.beside(server_sessions.said()[0], tokens)
        together = _djaffar.trouble(server.as_toml({**rest, **key, **given}))
    except Exception:
        together = alone
    return [f"DJAFFAR: {alone}."] if alone == together else []


def proxy(**_: Any) -> list[Warning]:
    behind = getattr(settings, "SECURE_PROXY_SSL_HEADER", None) or settings.USE_X_FORWARDED_HOST
    if not behind or options.networks():
        return []
    return [
        Warning(
            "The site is behind a proxy, and Djaffar is not told which: activities get the "
            "proxy's address instead of the visitor's.",
            hint='Name its network: DJAFFAR = {"trusted_proxy": ["127.0.0.1/32"]}.',
            id="djaffar.W001",
        )
    ]


def engine(**_: Any) -> list[Warning]:
    """Judged by the server's own code, so that both always say the same."""
    given = options.given()
    try:
        said, wrong = server_sessions.said()
    except Exception as error:
        said, wrong = {}, [f"SESSION_ENGINE or its cache cannot be used ({error})."]
    if server.names_sessions(given):
        said, wrong = said | {n: v for n, v in given.items() if n.startswith("session_")}, []
    if not wrong and (trouble := _djaffar.trouble(server.as_toml(said))):
        wrong = [f"{trouble}."]
    return [
        Warning(
            f"`manage.py djaffar serve` cannot read the sessions. {sentence}",
            hint="Until then, stay with the endpoint inside Django, which reads all.",
            id="djaffar.W002",
        )
        for sentence in wrong
    ]


def url(**_: Any) -> list[Warning]:
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        server.prefix()
    except CommandError:
        return [
            Warning(
                "The endpoint has no URL: nothing can be logged.",
                hint='Add path("djaffar/", include("djaffar.urls")) to the URLs of the site.',
                id="djaffar.W003",
            )
        ]
    return []


def sqlite(**_: Any) -> list[Warning]:
    """By what the settings say; without a connection, as checks must be."""
    database = settings.DATABASES.get("default", {})
    if not str(database.get("ENGINE", "")).endswith("sqlite3"):
        return []
    command = str(database.get("OPTIONS", {}).get("init_command", ""))
    return _two_sqlites() if "wal" in command.lower() else []


def cache(**_: Any) -> list[Warning]:
    """A page out of the cache of the site reaches no other middleware."""
    if not listed(PageViewMiddleware) or not listed(UpdateCacheMiddleware):
        return []
    return [
        Warning(
            "PageViewMiddleware and UpdateCacheMiddleware are in MIDDLEWARE: the views of pages "
            "that the cache may keep are not logged.",
            hint="Log them with the tracker, or mark the pages as private: cache_control(private="
            "True).",
            id="djaffar.W005",
        )
    ]


def wal() -> list[Warning]:
    """By what the file says. A connection of its own, which is closed again."""
    connection = connections[router.db_for_write(Activity)]
    if connection.vendor != "sqlite" or sqlite():
        return []
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        [mode] = cursor.fetchone()
    return _two_sqlites() if mode == "wal" else []


def _two_sqlites() -> list[Warning]:
    if sqlite3.sqlite_version_info >= SOUND_SQLITE:
        return []
    return [
        Warning(
            f"Python's SQLite is {sqlite3.sqlite_version}: in WAL mode, two programs that write "
            "to one file (the site and `djaffar serve`) can corrupt it.",
            hint="Upgrade SQLite to 3.51.3, or take the file out of WAL mode "
            "(PRAGMA journal_mode = DELETE).",
            id="djaffar.W004",
        )
    ]
