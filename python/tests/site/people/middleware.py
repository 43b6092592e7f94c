"""A middleware by which the staff of a site looks at it as somebody else."""

from django.contrib.auth.models import User


def as_another(get_response):
    def answer(request):
        if name := request.headers.get("X-As"):
            request.user = User.objects.get(username=name)
        return get_response(request)

    return answer


def reader(get_response):
    """Looks at what was posted, as some do for their log."""

    def answer(request):
        _ = request.POST
        return get_response(request)

    return answer
