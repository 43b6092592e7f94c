"""``POST /djaffar/log/`` inside Django: the endpoint of ``djaffar serve``, for small sites.

What was posted is read and judged by the server's own code (``djaffar._djaffar``); only who sends
it is asked of Django, and only Django writes.
"""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.db import Error as DatabaseError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.http.request import RawPostDataException, UnreadablePostError
from django.utils.cache import patch_vary_headers
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from djaffar import _djaffar, authentication, options, store
from djaffar.head import head_of

#: What Django REST framework tells of 0.1.10's endpoint.
DESCRIPTION = {
    "name": "Activity Detail",
    "description": "",
    "renders": ["application/json", "text/html"],
    "parses": ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"],
}


class Refused(Exception):
    """The answer that is due instead."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.response = JsonResponse(body, status=status)


def refused(status: int, detail: str) -> Refused:
    return Refused(status, {"detail": detail})


# Forgery across sites is told by what the browser says of the page, not by a token (`_post`); the
# transaction is our own, so that a database which is away gets its answer; and visitors who are
# not logged in are visitors.
@method_decorator(
    [csrf_exempt, login_not_required, transaction.non_atomic_requests], name="dispatch"
)
class ActivityDetail(View):
    """Takes down activities."""

    http_method_names = ["post", "options"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Allow"] = "POST, OPTIONS"
        patch_vary_headers(response, ["Accept", "Cookie"])
        origin = request.headers.get("Origin")
        if origin in options.origins():
            _let_read(response, origin, preflight=request.method == "OPTIONS")
        return response

    def http_method_not_allowed(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        return refused(405, f'Method "{request.method}" not allowed.').response

    def options(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        if "Origin" in request.headers:
            return HttpResponse(status=204)
        return JsonResponse(DESCRIPTION)

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            return _post(request)
        except Refused as refusal:
            return refusal.response
        except authentication.Failed as failure:
            response = JsonResponse(failure.body, status=failure.status)
            if failure.challenge:
                response.headers["WWW-Authenticate"] = failure.challenge
            return response
        except DatabaseError:
            store.log.exception("an activity could not be stored")
            response = refused(503, "The activity could not be written at the moment.").response
            response.headers["Retry-After"] = "5"
            return response


activity_detail = ActivityDetail.as_view()


def _post(request: HttpRequest) -> HttpResponse:
    sent = head_of(request)
    content_type, body = _body(request)
    foreign = sent.origin(request.get_host(), options.origins()) == "foreign"
    if foreign and settings.SESSION_COOKIE_NAME in request.COOKIES:
        raise refused(403, authentication.FOREIGN)
    user = authentication.user_of(request, foreign)
    if "Content-Encoding" in request.headers:
        raise refused(415, "A compressed body is not taken: leave Content-Encoding away.")
    posted = _read(sent, content_type, body)
    # A new cookie for a page of a foreign site would replace the one that the browser withheld;
    # a page that sends no cookies would get a new session each time.
    may_begin = not foreign and request.META.get("QUERY_STRING") != "anonymous"
    sender = store.Sender(request, sent.address, user, may_begin)
    if not isinstance(posted, list):
        if isinstance(posted, _djaffar.Invalid):
            raise Refused(400, {"errors": posted.errors})
        store.store(sender, [posted])
        return HttpResponse(status=204)
    activities = [item for item in posted if isinstance(item, _djaffar.Activity)]
    accepted = store.store(sender, activities)
    rejected = [
        {"index": index, "errors": item.errors}
        for index, item in enumerate(posted)
        if isinstance(item, _djaffar.Invalid)
    ]
    duplicates = len(activities) - accepted
    return JsonResponse({"accepted": accepted, "duplicates": duplicates, "rejected": rejected})


def _body(request: HttpRequest) -> tuple[str | None, bytes]:
    """What was posted, and of which type it is."""
    content_type = request.META.get("CONTENT_TYPE")
    too_large = refused(413, f"The body may have at most {_djaffar.BODY_BYTES} bytes.")
    try:
        # Before it is read: Django would read it to the end.
        if int(request.META.get("CONTENT_LENGTH") or 0) > _djaffar.BODY_BYTES:
            raise too_large
        body = request.body
    except RawPostDataException:
        # A middleware of the site has asked Django for the fields of a multipart form.
        content_type = "application/x-www-form-urlencoded"
        body = urlencode(list(request.POST.lists()), doseq=True).encode()
    except RequestDataTooBig:
        raise too_large from None
    except (UnreadablePostError, ValueError):
        raise refused(400, "The body is not framed as its header says.") from None
    if len(body) > _djaffar.BODY_BYTES:
        raise too_large
    return content_type, body


def _read(sent: _djaffar.Request, content_type: str | None, body: bytes) -> Any:
    # Where dates are kept without a zone, the digits of a date are kept as they came.
    zone = settings.TIME_ZONE if settings.USE_TZ else "UTC"
    try:
        return sent.read(content_type, body, zone)
    except _djaffar.UnsupportedMediaType as error:
        raise refused(415, str(error)) from None
    except _djaffar.Malformed as error:
        raise refused(400, str(error)) from None


def _let_read(response: HttpResponseBase, origin: str, *, preflight: bool) -> None:
    """Lets a page of an allowed site read the answer."""
    patch_vary_headers(response, ["Origin"])
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Credentials"] = "true"
    response.headers["Access-Control-Expose-Headers"] = "Retry-After"
    if preflight:
        response.headers["Access-Control-Allow-Methods"] = "POST"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        response.headers["Access-Control-Max-Age"] = "3600"
