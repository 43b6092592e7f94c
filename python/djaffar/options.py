"""The options of Djaffar, as the settings of the site say them.

``settings.DJAFFAR`` is a dictionary of the options that ``djaffar serve --help`` explains, by the
same names: ``DJAFFAR = {"trusted_proxy": ["127.0.0.1/32"]}``. The view heeds those of
:data:`OF_THE_VIEW`; the server takes all of them, and has the rest from Django's own settings.
"""

from typing import Any

from django.conf import settings

#: What the view inside Django heeds.
OF_THE_VIEW = ["trusted_proxy", "allowed_origin", "tracker_name"]


def option(name: str, default: Any = None) -> Any:
    """What the site says about an option."""
    return getattr(settings, "DJAFFAR", {}).get(name, default)


def networks() -> list[str]:
    """The proxies whose X-Forwarded-For is believed."""
    return list(option("trusted_proxy", []))


def origins() -> list[str]:
    """The other sites whose pages may post with their cookies."""
    return list(option("allowed_origin", []))


def tracker_name() -> str:
    """The name of the tracker beside the endpoint."""
    return str(option("tracker_name", "djaffar.js"))
