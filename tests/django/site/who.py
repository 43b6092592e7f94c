"""Who Django REST framework and its plug-ins say it is: settings.WHO names the classes to ask."""

from django.conf import settings
from django.utils.module_loading import import_string
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response


@api_view(["POST"])
@authentication_classes([import_string(name) for name in settings.WHO])
@permission_classes([IsAuthenticated])
def who(request):
    return Response({"user": request.user.pk})
