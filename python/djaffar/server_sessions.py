"""What the server is told of the site's sessions: engine, place and form, from the settings.

What it could never read is said here, with what to do; whether it can read the rest, it says
itself (``djaffar config check``).
"""

import json
import re
import tempfile
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from django.conf import settings
from django.utils.module_loading import import_string

ENGINES = "django.contrib.sessions.backends."
REDIS = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
ADVICE = f"set SESSION_ENGINE to {ENGINES}cached_db, or stay with the endpoint inside Django"


def said() -> tuple[dict[str, Any], list[str]]:
    """The options, and sentences about what cannot be said by any."""
    engine = settings.SESSION_ENGINE.removeprefix(ENGINES)
    if engine == "cache":
        cache = settings.CACHES.get(settings.SESSION_CACHE_ALIAS, {})
        options, wrong = _cache(cache), _foreign(cache)
        options["session_engine"] = engine
    else:
        form = _form(import_string(settings.SESSION_SERIALIZER)())
        options, wrong = {"session_engine": engine, "session_serializer": form}, []
    if engine == "file":
        options["session_file_path"] = settings.SESSION_FILE_PATH or tempfile.gettempdir()
    if options["session_serializer"] is None:
        del options["session_serializer"]
        wrong.append(f"Sessions are written in a form of the site's own: {ADVICE}.")
    return options, wrong


def _cache(cache: dict[str, Any]) -> dict[str, Any]:
    backend, given = cache.get("BACKEND", ""), cache.get("OPTIONS", {})
    options: dict[str, Any] = {
        "session_serializer": "pickle",
        "session_cache_prefix": f"{cache.get('KEY_PREFIX', '')}:{cache.get('VERSION', 1)}:",
    }
    if _is(backend, DJANGO_REDIS):
        if name := given.get("SERIALIZER"):
            options["session_serializer"] = _form(import_string(name)(given))
        user, password, number = given.get("USERNAME"), given.get("PASSWORD"), None
    elif _is(backend, REDIS):
        if serializer := given.get("serializer"):
            options["session_serializer"] = _form(_made(serializer))
        user, password, number = (given.get(name) for name in ("username", "password", "db"))
    else:
        # The server says what it thinks of it.
        kinds = ("locmem", "memcached")
        kind = next((word for word in kinds if word in backend.lower()), "cache")
        return options | {"session_cache": f"{kind}://"}
    location = cache.get("LOCATION") or ""
    # Django writes to the first.
    first = re.split("[;,]", location)[0] if isinstance(location, str) else [*location, ""][0]
    return options | {"session_cache": _address(first.strip(), (user, password), number)}


def _foreign(cache: dict[str, Any]) -> list[str]:
    """What changes keys or places in a way that is not ours."""
    client = str(cache.get("OPTIONS", {}).get("CLIENT_CLASS") or "DefaultClient")
    foreign = []
    if cache.get("KEY_FUNCTION"):
        foreign.append("a KEY_FUNCTION")
    if client.rpartition(".")[2] != "DefaultClient":
        foreign.append(f"the CLIENT_CLASS {client}")
    return [f"The cache of the sessions has {what}: {ADVICE}." for what in foreign]


def _address(url: str, who: tuple[Any, Any], number: Any) -> str:
    """The address of the Redis, with what stands beside it in OPTIONS."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "valkey"):
        return url
    user, at, host = parts.netloc.rpartition("@")
    name, password = (quote(str(text or ""), safe="") for text in who)
    if password and not at:
        user, at = f"{name}:{password}", "@"
    path = f"/{number}" if number is not None and parts.path in ("", "/") else parts.path
    return urlunsplit((parts.scheme, user + at + host, path, parts.query, ""))


def _form(serializer: Any) -> str | None:
    """What a serializer writes: told by what comes out, not by its name."""
    written = serializer.dumps({"a": 1})
    written = written.encode() if isinstance(written, str) else bytes(written)
    if written.startswith(b"\x80"):
        return "pickle"
    try:
        return "json" if json.loads(written) == {"a": 1} else None
    except ValueError:
        return None


def _made(serializer: Any) -> Any:
    serializer = import_string(serializer) if isinstance(serializer, str) else serializer
    return serializer() if callable(serializer) else serializer


def _is(backend: str, name: str) -> bool:
    """Whether a cache is of this class, or of one made of it."""
    try:
        return backend == name or issubclass(import_string(backend), import_string(name))
    except ImportError:
        return False
