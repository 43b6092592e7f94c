"""What was recorded: the tables that the view and the server both write."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from djaffar.fields import (
    HistoricalForeignKey,
    HistoricalOneToOneField,
    HistoricalRelation,
    IndexByRows,
    UniqueWherePresent,
    set_null,
)
from djaffar.queries import ActivityQuerySet


class Activity(models.Model):
    """One thing that a user did. It outlives its session and its user."""

    id = models.BigAutoField(primary_key=True)
    #: ``None`` for a visitor who is not logged in, or was deleted.
    user = HistoricalForeignKey(settings.AUTH_USER_MODEL, set_null)
    #: ``None`` once Django has dropped the session; ``session_id`` stays.
    session = HistoricalForeignKey("sessions.Session", models.DO_NOTHING)
    ip_address = models.CharField(_("IP address"), max_length=45, default="")
    #: When the user did it, by the clock of the user's device.
    date = models.DateTimeField()
    path = models.CharField(max_length=2000)
    referer = models.CharField(max_length=2000, default="", blank=True)
    #: When it came in, by the server's clock.
    received_at = models.DateTimeField(null=True, blank=True)
    #: The page's own id for it: the same again is stored once.
    event_id = models.UUIDField(null=True, blank=True)
    #: What kind of activity it is; blank is a page view.
    name = models.CharField(max_length=100, default="", blank=True)
    #: Details of a named activity.
    properties = models.JSONField(null=True, blank=True)

    #: What is known of the browser session: a SessionInfo, or ``None``.
    info = HistoricalRelation(
        "djaffar.SessionInfo",
        models.DO_NOTHING,
        from_fields=["session"],
        to_fields=["session"],
        null=True,
        editable=False,
        serialize=False,
        related_name="activities",
    )

    objects = ActivityQuerySet.as_manager()

    class Meta:
        verbose_name_plural = _("activities")
        indexes = [
            models.Index(fields=["date"], name="djaffar_activity_date"),
            IndexByRows(
                fields=["user", "date"],
                condition=Q(user__isnull=False),
                name="djaffar_activity_user",
            ),
            IndexByRows(
                fields=["session"],
                condition=Q(session__isnull=False),
                name="djaffar_activity_session",
            ),
        ]
        constraints = [
            UniqueWherePresent(
                fields=["event_id"],
                condition=Q(event_id__isnull=False),
                name="djaffar_activity_event_id",
            ),
        ]

    def __str__(self) -> str:
        user = self.user
        return "{}, {}, {}, {}, {}, {}".format(
            user.get_username() if user else "ANONYMOUS",
            self.session_id or "NOSESSION",
            self.ip_address,
            self.date,
            self.path,
            self.referer,
        )


class SessionInfo(models.Model):
    """What is known of a browser session, for as long as there are activities of it."""

    #: ``None`` once Django has dropped it; ``session_id`` stays.
    session = HistoricalOneToOneField(
        "sessions.Session", models.DO_NOTHING, primary_key=True, db_constraint=False
    )
    user_agent = models.CharField(max_length=1000, default="", blank=True)
    #: The first session key of this visitor: a login changes the key, not the visitor.
    visitor = models.CharField(max_length=40, default="", blank=True)
    browser = models.CharField(max_length=50, null=True, blank=True)
    os = models.CharField(_("operating system"), max_length=50, null=True, blank=True)
    device = models.CharField(max_length=50, null=True, blank=True)
    bot = models.BooleanField(null=True, blank=True)
    country = models.CharField(max_length=2, null=True, blank=True)
    created_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("session info")

    def __str__(self) -> str:
        return f"{self.session_id}, {self.user_agent}"


class SpoolCursor(models.Model):
    """How far the server has stored each segment of its spool. The server's own."""

    pk = models.CompositePrimaryKey("spool", "segment")
    spool = models.UUIDField()
    segment = models.UUIDField()
    position = models.BigIntegerField()

    class Meta:
        db_table = "djaffar_spool_cursor"
