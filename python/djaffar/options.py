"""The options of Djaffar, as the settings of the site say them.

``settings.DJAFFAR`` is a dictionary of the options that ``djaffar serve --help`` explains, by the
same names: ``DJAFFAR = {"trusted_proxy": ["127.0.0.1/32"]}``. The view heeds those of
:data:`OF_THE_VIEW`; the server takes all of them, and has the rest from Django's own settings.
"""

import os
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: What the view inside Django heeds.
OF_THE_VIEW = ["trusted_proxy", "allowed_origin", "tracker_name"]


def given() -> dict[str, Any]:
    """All that the site says: paths as text, and without what it only says None of."""
    said = getattr(settings, "DJAFFAR", {})
    if not isinstance(said, dict):
        raise ImproperlyConfigured(f"DJAFFAR must be a dictionary, not a {type(said).__name__}.")
    texts = {
        name: str(value) if isinstance(value, os.PathLike) else value
        for name, value in said.items()
    }
    return {name: value for name, value in texts.items() if value is not None}


def blank() -> list[str]:
    """What is wrong about options that are None."""
    names = [name for name, value in getattr(settings, "DJAFFAR", {}).items() if value is None]
    return [f"DJAFFAR: {name} is None: leave it out, or say what it is to be." for name in names]


def option(name: str, default: Any = None) -> Any:
    """What the site says about an option."""
    return given().get(name, default)


def networks() -> list[str]:
    """The proxies whose X-Forwarded-For is believed."""
    return list(option("trusted_proxy", []))


def origins() -> list[str]:
    """The other sites whose pages may post with their cookies."""
    return list(option("allowed_origin", []))


def tracker_name() -> str:
    """The name of the tracker beside the endpoint."""
    return str(option("tracker_name", "djaffar.js"))
