"""The head of a request, as the server's own code judges it. Who sends it is not asked here."""

import time

from django.http import HttpRequest

from djaffar import _djaffar, options

#: The headers that count.
HEADERS = ["User-Agent", "Referer", "X-Forwarded-For", "Forwarded", "Origin", "Sec-Fetch-Site"]


def head_of(request: HttpRequest) -> _djaffar.Request:
    """Where a request comes from, and when."""
    sent = [(name, request.headers[name]) for name in HEADERS if name in request.headers]
    headers = [(name, _as_it_came(text)) for name, text in sent]
    peer = request.META.get("REMOTE_ADDR", "")
    return _djaffar.Request(headers, peer, options.networks(), time.time_ns() // 1000)


def _as_it_came(text: str) -> bytes:
    """A web server hands a header to Django with a character for each byte."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        # Only the client of a test says more.
        return text.encode()
