"""What the server is told of the site's tokens: the authentication classes of Django REST framework
that the site has, in their order, with what their own settings say.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.middleware import RemoteUserMiddleware

from djaffar.authentication import uses_rest_framework
from djaffar.middleware import listed

SESSION = "rest_framework.authentication.SessionAuthentication"
BASIC = "rest_framework.authentication.BasicAuthentication"
DRF = "rest_framework.authentication.TokenAuthentication"
KNOX = "knox.auth.TokenAuthentication"
JWT = "rest_framework_simplejwt.authentication.JWTAuthentication"
STATELESS = "rest_framework_simplejwt.authentication.JWTStatelessUserAuthentication"
OAUTH = "oauth2_provider.contrib.rest_framework.authentication.OAuth2Authentication"
#: SIMPLE_JWT: what the server takes as it is in the defaults.
FIXED = ["AUTH_HEADER_NAME", "TOKEN_TYPE_CLAIM", "JTI_CLAIM", "REVOKE_TOKEN_CLAIM"]


@dataclass
class Tokens:
    """What the classes say."""

    options: dict[str, Any] = field(default_factory=lambda: {"token": []})
    #: Whether a session says who it is.
    by_session: bool = False
    #: What JWTs are verified with, where that is not SECRET_KEY.
    jwt_key: str | None = None
    #: What the server does not understand, and what to do.
    wrong: list[str] = field(default_factory=list)
    #: What differs and does little harm.
    notes: list[str] = field(default_factory=list)


def said() -> Tokens:
    """What the site's REST framework asks for a token; a site without it has none."""
    tokens = Tokens(notes=_named_by_middleware())
    if not uses_rest_framework():
        tokens.by_session = True
        return tokens
    from rest_framework.settings import api_settings

    for each in api_settings.DEFAULT_AUTHENTICATION_CLASSES:
        names = [f"{base.__module__}.{base.__qualname__}" for base in each.__mro__]
        # A class that is made of another asks first for what is its own.
        known = next((name for name in names if name in _READ), None)
        if known is None or not _READ[known](each, tokens):
            tokens.wrong.append(
                f"{names[0]} is in DEFAULT_AUTHENTICATION_CLASSES, and the server does not know "
                "what it asks for: stay with the endpoint inside Django, or say in settings.py "
                'which tokens count all the same, such as DJAFFAR = {"token": ["drf"]}.'
            )
    return tokens


def _named_by_middleware() -> list[str]:
    """Users whom only Django is told of."""
    return [
        f"{name} is in MIDDLEWARE: the server is not told of the user in that header, and knows "
        "the session that Django begins for it. Whom another middleware puts into request.user, "
        "it does not know either."
        for name in listed(RemoteUserMiddleware)
    ]


def _session(_: Any, tokens: Tokens) -> bool:
    tokens.by_session = True
    return True


def _basic(_: Any, tokens: Tokens) -> bool:
    tokens.notes.append(
        "BasicAuthentication is in DEFAULT_AUTHENTICATION_CLASSES: the server takes no passwords, "
        "so that a request with one counts as without."
    )
    return True


def _drf(each: Any, tokens: Tokens) -> bool:
    from rest_framework.authentication import TokenAuthentication as Original

    if each.keyword != Original.keyword or each.get_model is not Original.get_model or each.model:
        return False
    tokens.options["token"].append("drf")
    return _is_untouched(each, Original, "authenticate_credentials")


def _knox(each: Any, tokens: Tokens) -> bool:
    from knox.auth import TokenAuthentication as Original
    from knox.models import get_token_model
    from knox.settings import knox_settings

    digest = knox_settings.SECURE_HASH_ALGORITHM().name
    if digest not in ("sha512", "sha256"):
        tokens.wrong.append(f"Knox hashes with {digest}, and the server knows sha512 and sha256.")
    tokens.options["token"].append("knox")
    tokens.options["knox_header"] = knox_settings.AUTH_HEADER_PREFIX
    tokens.options["knox_table"] = get_token_model()._meta.db_table
    return _is_untouched(each, Original, "authenticate_credentials", "validate_user")


def _oauth(each: Any, tokens: Tokens) -> bool:
    from oauth2_provider.contrib.rest_framework import OAuth2Authentication as Original
    from oauth2_provider.models import get_access_token_model
    from oauth2_provider.settings import oauth2_settings

    if oauth2_settings.RESOURCE_SERVER_INTROSPECTION_URL:
        tokens.wrong.append(
            "OAUTH2_PROVIDER asks another server about tokens (RESOURCE_SERVER_INTROSPECTION_URL), "
            "and djaffar asks none: tokens that are not in the site's table get 401."
        )
    tokens.options["token"].append("oauth")
    tokens.options["oauth_table"] = get_access_token_model()._meta.db_table
    return _is_untouched(each, Original, "authenticate")


def _stateless(each: Any, tokens: Tokens) -> bool:
    from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication as Original

    tokens.options["jwt_stateless"] = True
    return _jwt(each, tokens, Original)


def _jwt(each: Any, tokens: Tokens, original: Any = None) -> bool:
    from rest_framework_simplejwt.authentication import JWTAuthentication
    from rest_framework_simplejwt.settings import DEFAULTS, api_settings

    tokens.options["token"].append("jwt")
    tokens.options |= _jwt_options(api_settings)
    shared = api_settings.ALGORITHM.startswith("HS")
    key = api_settings.SIGNING_KEY if shared else api_settings.VERIFYING_KEY
    tokens.jwt_key = None if shared and key == settings.SECRET_KEY else _text(key)
    for name in FIXED:
        if getattr(api_settings, name) != DEFAULTS[name]:
            tokens.wrong.append(_simple_jwt(name, f"other than {DEFAULTS[name]}"))
    if api_settings.JWK_URL:
        tokens.wrong.append(_simple_jwt("JWK_URL", "which is fetched: name a VERIFYING_KEY"))
    rule = api_settings.USER_AUTHENTICATION_RULE
    if rule.__module__.partition(".")[0] != "rest_framework_simplejwt":
        tokens.wrong.append(_simple_jwt("USER_AUTHENTICATION_RULE", "of the site's own"))
    stateless = tokens.options.get("jwt_stateless", False)
    key = get_user_model()._meta.pk
    if not stateless and api_settings.USER_ID_FIELD not in ("pk", key.name, key.attname):
        tokens.wrong.append(_simple_jwt("USER_ID_FIELD", "that is not the primary key"))
    if not stateless and not api_settings.CHECK_USER_IS_ACTIVE:
        tokens.notes.append(_simple_jwt("CHECK_USER_IS_ACTIVE = False", "inactive users get 401"))
    original = original or JWTAuthentication
    return _is_untouched(each, original, "authenticate", "get_user", "get_validated_token")


def _jwt_options(its: Any) -> dict[str, Any]:
    leeway = its.LEEWAY
    seconds = leeway.total_seconds() if isinstance(leeway, timedelta) else leeway
    return {
        "jwt_algorithm": its.ALGORITHM,
        "jwt_audience": _list(its.AUDIENCE),
        "jwt_issuer": _list(its.ISSUER),
        "jwt_header": _list(its.AUTH_HEADER_TYPES),
        "jwt_user_claim": its.USER_ID_CLAIM,
        "jwt_token_type": its.AUTH_TOKEN_CLASSES[0].token_type,
        "jwt_leeway": int(seconds or 0),
        "jwt_check_password": bool(its.CHECK_REVOKE_TOKEN),
    }


def _simple_jwt(name: str, what: str) -> str:
    return f"SIMPLE_JWT has {name}, {what}; the server does not know that."


def _is_untouched(each: Any, original: Any, *methods: str) -> bool:
    return all(getattr(each, name) is getattr(original, name) for name in methods)


def _list(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _text(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key or "")


_READ = {
    SESSION: _session,
    BASIC: _basic,
    DRF: _drf,
    KNOX: _knox,
    JWT: _jwt,
    STATELESS: _stateless,
    OAUTH: _oauth,
}
