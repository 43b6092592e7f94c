"""Makes the tables and fills them through the endpoint of 0.1.10; prints its own dumps."""

import os
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django

django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

if connection.vendor == "sqlite":
    # As SQLite did in 2017: since 3.26 a rename changes what refers to the table, and breaks the
    # tables that Django 1.10 makes.
    connection.cursor().execute("PRAGMA legacy_alter_table = ON")
call_command("migrate", verbosity=0)
user = User.objects.create_user("jeff", password="pw")
for number in range(5):
    client = Client(HTTP_USER_AGENT="Agent %d" % number)
    if number % 2:
        client.force_login(user)
    for page in range(20):
        data = {
            "date": "2016-12-29T07:35:%02d.571Z" % page,
            "path": "/page/%d/" % page,
            "referer": "https://example.com/%d" % number,
        }
        answer = client.post("/djaffar/log/", data)
        assert answer.status_code == 204, answer.content
call_command("dumpdata", "djaffar.Activity", "djaffar.SessionInfo", stdout=sys.stdout)
