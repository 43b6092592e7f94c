"""The table of the users under another name."""

from django.contrib.auth.models import User


class Member(User):
    class Meta:
        proxy = True
        # Not this app's, which would need migrations for it.
        app_label = "auth"
