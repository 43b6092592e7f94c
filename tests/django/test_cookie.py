"""The cookie of a new session is, attribute for attribute, the one that this Django sets."""

from email.utils import parsedate_to_datetime

import pytest

SETTINGS = [
    {},
    {"NAME": "shop_session"},
    {"AGE": 3600, "PATH": "/shop/", "SAMESITE": "Strict"},
    {"DOMAIN": "shop.example.com", "SECURE": True, "SAMESITE": "None"},
    {"HTTPONLY": False, "SAMESITE": False},
    {"EXPIRE_AT_BROWSER_CLOSE": True},
]


def options(settings):
    """The options of `djaffar serve` for these settings of Django."""
    for name, value in settings.items():
        name = name.lower().replace("_", "-")
        option = "session-" + name if name.startswith("expire") else "session-cookie-" + name
        if name == "samesite" and value is False:
            value = "off"
        yield "--%s=%s" % (option, str(value).lower() if isinstance(value, bool) else value)


def attributes(header):
    """Name and attributes in their order, without the key; and the time of expiry."""
    pair, *rest = header.split("; ")
    expires = [part[8:] for part in rest if part.startswith("expires=")]
    rest = ["expires" if part.startswith("expires=") else part for part in rest]
    return [pair.split("=")[0], *rest], [parsedate_to_datetime(text) for text in expires]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(settings) or "usual")
def test_the_attributes_are_those_of_django(make_site, settings):
    prefixes = {"EXPIRE_AT_BROWSER_CLOSE": "SESSION_"}
    site = make_site({prefixes.get(n, "SESSION_COOKIE_") + n: v for n, v in settings.items()})
    site.serve()
    site.serve_djaffar(*options(settings))
    theirs = site.browser().post("/session/", data={"a": "b"}).headers["Set-Cookie"]
    ours = site.browser().log().headers["Set-Cookie"]
    (our_attributes, our_expiry), (their_attributes, their_expiry) = (
        attributes(ours),
        attributes(theirs),
    )
    assert our_attributes == their_attributes
    for one, other in zip(our_expiry, their_expiry, strict=True):
        assert abs((one - other).total_seconds()) < 5


def test_the_cookie_is_read_under_its_name(make_site):
    site = make_site({"SESSION_COOKIE_NAME": "shop_session"})
    site.serve()
    site.serve_djaffar("--session-cookie-name=shop_session")
    alice = site.browser("alice")
    row = alice.logged("/named")
    assert (row["user_id"], row["session_id"]) == (site.user("alice"), alice.key)
