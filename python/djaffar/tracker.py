"""``GET /djaffar/djaffar.js`` inside Django: the very bytes that ``djaffar serve`` sends."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from djaffar._djaffar import Tracker

FILES = Tracker()


@login_not_required
@require_safe
def tracker(request: HttpRequest, more: bool = False) -> HttpResponseBase:
    """The script, or the file that it loads where it must (``more``)."""
    body, etag, gzip = FILES.file(more, request.headers.get("Accept-Encoding"))
    response = HttpResponse(body, content_type=Tracker.MEDIA_TYPE)
    if gzip:
        response.headers["Content-Encoding"] = "gzip"
    # Pages of other sites may load it, also as a module and where they isolate themselves.
    for name, value in {
        "ETag": etag,
        "Cache-Control": Tracker.CACHE,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }.items():
        response.headers[name] = value
    return get_conditional_response(request, etag=etag, response=response) or response
