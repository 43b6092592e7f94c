"""Our tables as Django's ORM sees them, for `dumpdata`. The tables are made by `djaffar migrate`."""

from django.conf import settings
from django.db import models


class Activity(models.Model):
    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, db_constraint=False
    )
    session = models.ForeignKey(
        "sessions.Session", models.DO_NOTHING, null=True, db_constraint=False
    )
    ip_address = models.CharField(max_length=45)
    date = models.DateTimeField()
    path = models.CharField(max_length=2000)
    referer = models.CharField(max_length=2000)
    received_at = models.DateTimeField(null=True)
    event_id = models.UUIDField(null=True, unique=True)
    name = models.CharField(max_length=100)
    properties = models.JSONField(null=True)

    class Meta:
        managed = False
        db_table = "djaffar_activity"


class SessionInfo(models.Model):
    session = models.OneToOneField(
        "sessions.Session", models.DO_NOTHING, primary_key=True, db_constraint=False
    )
    user_agent = models.CharField(max_length=1000)
    visitor = models.CharField(max_length=40)
    browser = models.CharField(max_length=50, null=True)
    os = models.CharField(max_length=50, null=True)
    device = models.CharField(max_length=50, null=True)
    bot = models.BooleanField(null=True)
    country = models.CharField(max_length=2, null=True)
    created_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "djaffar_sessioninfo"
