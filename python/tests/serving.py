"""A site of its own in a folder of its own, and the server that its settings start."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import forked

HERE = Path(__file__).parent
# What says which tables a site gets, beside its model of users.
MIGRATED_BY = ["INSTALLED_APPS", "EXTRA_APPS", "DATABASE_ROUTERS"]
DATE = "2016-12-29T07:35:22.571Z"
# A user of each kind: the site makes one, logs in, and prints the cookie and the key.
LOGIN = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest
user = get_user_model().objects.create_user("jeff@example.com", password="pw")
request = HttpRequest()
request.session = import_module(settings.SESSION_ENGINE).SessionStore()
login(request, user, settings.AUTHENTICATION_BACKENDS[0])
request.session.save()
print(request.session.session_key, user.pk)
"""
READ = """
import json
from djaffar.models import Activity
rows = Activity.objects.order_by("id").values_list("path", "user", "session_id", "info__visitor")
print(json.dumps(list(rows), default=str))
"""


def classes(*names):
    """REST_FRAMEWORK with these authentication classes."""
    return {"DEFAULT_AUTHENTICATION_CLASSES": list(names)}


class Site:
    # Where the tests of all workers find what they share.
    shared = None

    def __init__(self, folder, **changes):
        self.folder = folder
        self.database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db")}
        self.page = changes.pop("page", "")
        self.user_model = changes.pop("AUTH_USER_MODEL", "auth.User")
        spool = {
            "spool": str(folder / "spool"),
            "listen": "127.0.0.1:0",
            **changes.pop("DJAFFAR", {}),
        }
        self.settings = {"ALLOWED_HOSTS": ["127.0.0.1"], "DJAFFAR": spool, **changes}

    def bare(self):
        """Without the admin, which wants users of Django's kind."""
        self.settings["INSTALLED_APPS"] = [
            "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
            "people", "djaffar",
        ]  # fmt: skip
        self.settings["ROOT_URLCONF"] = "djaffar_only"
        return self

    def options(self):
        environment = {
            **os.environ,
            "PYTHONPATH": f"{HERE / 'site'}:{os.environ.get('PYTHONPATH', '')}",
            "SITE_DATABASE": json.dumps(self.database),
            "SITE_PAGE": self.page,
            "SITE_USER_MODEL": self.user_model,
            "SITE_SETTINGS": json.dumps(self.settings),
        }
        if "DATABASE_ROUTERS" in self.settings:
            history = {**self.database, "NAME": str(self.folder / "history")}
            environment["SITE_HISTORY"] = json.dumps(history)
        return {"env": environment, "cwd": self.folder, "text": True}

    def command(self, *arguments):
        """What forks a command of manage.py."""
        options = self.options()
        command = [sys.executable, str(HERE / "site" / "manage.py"), *arguments]
        return command, options["env"], options["cwd"]

    def manage(self, *arguments, code=0):
        done = forked.run(*self.command(*arguments))
        output, errors = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, output + errors
        return output if code == 0 else output + errors

    def migrate(self):
        """All tables. Sites with the same apps get copies of what the first of them has made."""
        apps = [self.settings.get(name) for name in MIGRATED_BY]
        name = hashlib.sha256(json.dumps([self.user_model, apps]).encode()).hexdigest()[:16]
        template = self.shared / f"migrated-{name}"
        with open(f"{template}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if template.exists():
                shutil.copy(template, self.database["NAME"])
            else:
                self.manage("migrate", "-v0", "--run-syncdb")
                shutil.copy(self.database["NAME"], template)

    def script(self, text):
        return self.manage("shell", "-v0", "-c", text).splitlines()[-1]

    @contextmanager
    def wsgi(self):
        """The site under gunicorn."""
        command = ["gunicorn", "--bind=127.0.0.1:0", "--workers=1", "--threads=4"]
        with self.running([*command, "django.core.wsgi:get_wsgi_application()"]) as url:
            yield url

    @contextmanager
    def asgi(self):
        """The site under uvicorn."""
        command = ["uvicorn", "--port=0", "--no-proxy-headers", "--factory", "--lifespan=off"]
        with self.running([*command, "django.core.asgi:get_asgi_application"]) as url:
            yield url

    @contextmanager
    def running(self, command):
        options = self.options()
        options["env"] |= {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONUNBUFFERED": "1"}
        child = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )  # fmt: skip
        log = ""
        try:
            for line in child.stdout:
                log += line
                if found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", line):
                    break
            else:
                raise AssertionError(log)
            threading.Thread(target=child.stdout.read, daemon=True).start()
            yield found[0]
        finally:
            child.terminate()
            child.wait(timeout=20)

    @contextmanager
    def serving(self, *arguments):
        """The address of the server, which is stopped afterwards and must end well."""
        child, url = self.serve(*arguments)
        try:
            yield url
        finally:
            child.send_signal(signal.SIGTERM)
            assert child.wait(timeout=20) == 0, child.stdout.read()

    def serve(self, *arguments):
        command = self.command("djaffar", "serve", *arguments)
        child = forked.Forked(*command, subprocess.PIPE, subprocess.STDOUT)
        url = None
        for line in child.stdout:
            url = url or re.search(r"http://127\.0\.0\.1:\d+", line)
            # Until then a signal would just end it.
            if url and "Stop" in line:
                return child, url[0]
        raise AssertionError("it did not start")

    def wait(self, count):
        """Until there are so many activities. SQLite is asked: Django takes a second to start."""
        until = time.monotonic() + 20
        sql = "SELECT count(*) FROM djaffar_activity"
        while (found := self._ask(sql)) < count:
            assert time.monotonic() < until, found
            time.sleep(0.05)

    def _ask(self, sql):
        connection = sqlite3.connect(self.database["NAME"], timeout=20)
        try:
            return connection.execute(sql).fetchone()[0]
        finally:
            connection.close()

    def rows(self, count):
        """The activities, once there are so many."""
        self.wait(count)
        return json.loads(self.script(READ))


def post(url, key, path="/", **headers):
    """The status, as a browser with this cookie gets it."""
    return answer(url, key, path, **headers).status


def answer(url, key, path="/", **headers):
    body = f"date={DATE}&path={path}".encode()
    if key:
        headers["Cookie"] = f"sessionid={key}"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20)
    except urllib.error.HTTPError as error:
        return error
