"""A site with a database of its own for the history: the view writes where the router says."""

import json

import pytest
from serving import Site

RUN = """
import json
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connections
from django.test import Client
from djaffar.models import Activity, SessionInfo
from members.models import Member
client = Client(headers={"Host": "127.0.0.1"})
def log(path):
    data = {"date": "2026-01-01T00:00:00Z", "path": path}
    assert client.post("/djaffar/log/", data).status_code == 204
log("/anonymous")
User.objects.create_user("jeff", password="pw")
assert client.get("/login/?name=jeff&password=pw").status_code == 200
log("/jeff")
assert client.get("/page/").status_code == 200
def tables(alias):
    with connections[alias].cursor() as cursor:
        return connections[alias].introspection.table_names(cursor)
[before, after, view] = Activity.objects.order_by("id")
name, session = after.user.username, after.session is not None
anna = User.objects.create_user("anna")
Activity.objects.create(date=view.date, path="/zoe", user_id=anna.pk)
anna.delete()
Member.objects.get().delete()
Session.objects.all().delete()
print(json.dumps({
    "users": [before.user_id, name, view.user_id],
    "session": session,
    "visitors": len({row.info.visitor for row in (before, after, view)}),
    "infos": SessionInfo.objects.using("history").count(),
    "tables": [sorted(t for t in tables(a) if t.startswith("djaffar")) for a in ("default", "history")],
    "left": list(Activity.objects.order_by("id").values_list("path", "user")),
    "paths": Activity.objects.paths()[0], "visits": len(list(Activity.objects.visits())),
}))
"""


def test_the_history_may_live_in_a_database_of_its_own(tmp_path):

    middleware = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "djaffar.middleware.PageViewMiddleware",
    ]
    apart = {"DATABASE_ROUTERS": ["people.routers.Apart"], "MIDDLEWARE": middleware}
    site = Site(tmp_path, EXTRA_APPS=["members"], **apart)
    # Each request in a transaction of the site's own database, which ours is none of.
    site.database["ATOMIC_REQUESTS"] = True
    site.manage("migrate", "-v0", "--run-syncdb")
    site.manage("migrate", "-v0", "--database=history")
    said = json.loads(site.script(RUN))
    ours = ["djaffar_activity", "djaffar_sessioninfo", "djaffar_spool_cursor"]
    assert said["tables"] == [[], ours]
    assert said["users"] == [None, "jeff", 1]
    assert said["session"] is True
    assert (said["visitors"], said["infos"]) == (1, 2)
    left = ["/anonymous", "/jeff", "/page/", "/zoe"]
    assert said["left"] == [[path, None] for path in left], "also by another name of the table"
    assert said["paths"] == ["/anonymous", 1]
    assert said["visits"] == 3


ARCHIVE = """
import json
from datetime import datetime, timezone
from django.contrib.auth.models import User
from djaffar.models import Activity
left = {}
for alias in ("default", "history"):
    user = User.objects.using(alias).create(pk=1, username="jeff")
    date = datetime(2026, 1, 1, tzinfo=timezone.utc)
    Activity.objects.using(alias).create(date=date, path="/", user_id=1)
    assert Activity.objects.using(alias).get().user._state.db == alias
User.objects.using("history").get().delete()
for alias in ("default", "history"):
    left[alias] = list(Activity.objects.using(alias).values_list("user", flat=True))
print(json.dumps(left))
"""


def test_each_database_with_users_has_a_history_of_its_own(tmp_path):
    site = Site(tmp_path, DATABASE_ROUTERS=[])
    site.manage("migrate", "-v0", "--run-syncdb")
    site.manage("migrate", "-v0", "--run-syncdb", "--database=history")
    assert json.loads(site.script(ARCHIVE)) == {"default": [1], "history": [None]}


ADMIN = """
import json
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from djaffar.models import Activity
client = Client(headers={"Host": "127.0.0.1"}, raise_request_exception=False)
user = User.objects.create_superuser("jeff", password="pw")
client.force_login(user)
data = {"date": timezone.now().isoformat(), "path": "/"}
assert client.post("/djaffar/log/", data).status_code == 204
[one] = Activity.objects.all()
[beside] = Activity.objects.prefetch_related("user", "session")
found = [str(each) for each in (one.user, one.session_id == one.session.pk, beside.user)]
pages = ["/", "/?user=jeff", f"/{one.pk}/change/", f"/{one.pk}/history/"]
pages = ["/admin/djaffar/activity" + page for page in pages]
answers = [client.get(page) for page in [*pages, f"/admin/auth/user/{user.pk}/change/"]]
print(json.dumps([found, [answer.status_code for answer in answers],
    "jeff" in answers[0].content.decode().split("result_list")[1], str(one).split(",")[0]]))
"""


@pytest.mark.parametrize("router", ["Apart", "OnlyOurs"])
def test_the_admin_of_a_history_in_a_database_of_its_own(tmp_path, router):
    site = Site(tmp_path, DATABASE_ROUTERS=[f"people.routers.{router}"])
    site.manage("migrate", "-v0", "--run-syncdb")
    site.manage("migrate", "-v0", "--database=history")
    assert json.loads(site.script(ADMIN)) == [["jeff", "True", "jeff"], [200] * 5, True, "jeff"]
