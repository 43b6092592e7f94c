"""A real Django site and a real `djaffar serve` on the same database, in a folder of their own."""

import json
import os
import re
import sqlite3
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import forked
import requests

HERE = Path(__file__).parent
BINARY = os.environ["DJAFFAR"]
KEY = "site-key-of-the-tests-0123456789-abcdefghijklmnop"
PASSWORD = "correct horse"
DATE = "2016-12-29T07:35:22.571Z"
# Longer than Djaffar believes what it has looked up.
CACHE_SECONDS = 31


@dataclass(frozen=True)
class Django:
    """A Django and the Python that it runs on."""

    version: str
    python: str
    packages: str

    @property
    def number(self):
        return tuple(int(part) for part in self.version.split("."))


class Process:
    """A server that says on its standard output where it is."""

    def __init__(self, command, start=subprocess.Popen, **options):
        self.log = ""
        if start is subprocess.Popen:
            options["text"] = True
        self.child = start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        self.url = None
        for line in self.child.stdout:
            self.log += line
            found = re.search(r"(http://127\.0\.0\.1:\d+)(?:/|$)", line)
            self.url = self.url or (found and found.group(1))
            if self.url and (line.startswith("http") or "Stop" in line):
                break
        else:
            raise RuntimeError("%s did not start: %s" % (command, self.log))
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self):
        for line in self.child.stdout:
            self.log += line

    def stop(self):
        self.child.terminate()
        self.child.wait(timeout=20)


class Site:
    """A folder with a Django site; `settings` are Django's, where they differ from the usual."""

    def __init__(self, django, folder, settings=None):
        self.django = django
        self.folder = folder
        self.database = folder / "db.sqlite3"
        self.settings = dict(settings or {})
        self.processes = []
        self.url = self.endpoint = None
        # What stands at /page/.
        self.page = ""
        self.write_key(KEY)

    def write_key(self, key, name="secret-key"):
        (self.folder / name).write_text(key)
        return "--secret-key%s-file=%s" % ("" if name == "secret-key" else "-fallback", name)

    def close(self):
        for process in self.processes:
            process.stop()

    # --- Django

    def _manage(self, *arguments):
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": self.django.packages,
            "PYTHONIOENCODING": "utf-8",
            "PYTHONWARNINGS": "ignore",
            "SITE_DATABASE": str(self.database),
            "SITE_SECRET_KEY": (self.folder / "secret-key").read_text(),
            "SITE_PAGE": self.page,
            "SITE_SETTINGS": json.dumps(self.settings),
        }
        command = [self.django.python, str(HERE / "site" / "manage.py"), *arguments]
        return {"args": command, "env": environment, "cwd": self.folder}

    def manage(self, *arguments, **environment):
        """Runs a command of manage.py; the bytes that it printed."""
        options = self._manage(*arguments)
        options["env"].update(environment)
        return output(forked.run(options.pop("args"), **options))

    def serve(self):
        options = self._manage("serve")
        process = Process(options.pop("args"), forked.Forked, **options)
        self.processes.append(process)
        self.url = process.url
        return process

    # --- Djaffar

    def djaffar(self, *arguments, **environment):
        """Runs a command of djaffar; the bytes that it printed."""
        options = {"cwd": self.folder, "env": clean(environment), "timeout": 120}
        return output(subprocess.run([BINARY, *arguments], capture_output=True, **options))

    def serve_djaffar(self, *options, alone=False):
        command = [BINARY, "serve", "--listen=127.0.0.1:0", "--rate-limit=0", *options]
        if not alone:
            command += ["--database=" + self.database_url, "--secret-key-file=secret-key"]
        process = Process(command, cwd=self.folder, env=clean({}))
        self.processes.append(process)
        self.endpoint = process.url + "/djaffar/log/"
        return process

    @property
    def database_url(self):
        return "sqlite:///%s" % self.database

    # --- What came of it

    def rows(self, sql="SELECT * FROM djaffar_activity ORDER BY id", *values):
        connection = sqlite3.connect(self.database, timeout=20)
        connection.row_factory = sqlite3.Row
        try:
            with connection:
                return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def activities(self, count):
        """The activities, once there are so many."""
        rows = self._wait("SELECT * FROM djaffar_activity ORDER BY id", count)
        assert len(rows) == count
        return rows

    def activity(self, path):
        """The activity with this path, once it is stored."""
        [row] = self._wait("SELECT * FROM djaffar_activity WHERE path = ?", 1, path)
        return row

    def _wait(self, sql, count, *values):
        until = time.monotonic() + 20
        while len(rows := self.rows(sql, *values)) < count:
            assert time.monotonic() < until, "%d rows: %s %s" % (len(rows), sql, values)
            time.sleep(0.02)
        return rows

    def user(self, name):
        [row] = self.rows("SELECT id FROM auth_user WHERE username = ?", name)
        return row["id"]

    def browser(self, name=None):
        """A new browser, in which this user has logged in."""
        browser = Browser(self)
        if name:
            browser.login(name)
        return browser


class Browser(requests.Session):
    """A browser without a screen: a cookie jar for both servers, as behind one proxy."""

    def __init__(self, site):
        super().__init__()
        self.site = site

    def request(self, method, url, **options):
        return super().request(method, urljoin(self.site.url or "", url), timeout=30, **options)

    @property
    def key(self):
        """The session key."""
        return self.cookies.get(self.site.settings.get("SESSION_COOKIE_NAME", "sessionid"))

    def form(self, url, action=None, **fields):
        """Fills in a form of a page and sends it, with the token that stands in it."""
        text = self.get(url).text
        token = re.search(r"name=['\"]csrfmiddlewaretoken['\"] value=['\"](\w+)", text).group(1)
        fields = {"csrfmiddlewaretoken": token, **fields}
        return self.post(action or url, data=fields, allow_redirects=False)

    def login(self, name, password=PASSWORD):
        answer = self.form("/admin/login/", username=name, password=password)
        assert answer.status_code == 302, "%s cannot log in" % name
        return answer

    def logout(self):
        if self.site.django.number < (5, 0):
            self.get("/admin/logout/")
        else:
            self.form("/admin/", action="/admin/logout/")
        assert self.key is None

    def session(self):
        """The session as Django sees it."""
        return self.get("/session/").json()

    def log(self, path="/", **options):
        """Posts an activity to Djaffar."""
        data = {"date": DATE, "path": path, **options.pop("data", {})}
        return self.post(self.site.endpoint, data=data, **options)

    def logged(self, path):
        """Posts an activity that must be taken, and returns its row."""
        answer = self.log(path)
        assert answer.status_code == 204, answer.text
        return self.site.activity(path)


def clean(extra):
    """The environment without options of djaffar's."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DJAFFAR_")}
    return {**ours, **extra}


def output(done):
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout
