#!/usr/bin/env python3
"""Requests a second of the view inside Django, of 0.1.10 (ported to the same Django) and of the
server beside the same site: same load, same cores, one run.

    pip install django djangorestframework gunicorn dist/django_djaffar-*.whl
    benches/django/run.py [--seconds 8] [--rounds 3] [-c 64]

Needs wrk. SQLite in WAL mode, gunicorn with two workers, 2,000 known sessions, half of them of
logged-in users (`benches/http/post.lua`). Prints medians (lowest to highest) and how many of the
activities that were answered 204 are in the database.
"""

import argparse
import os
import pathlib
import re
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SITE = HERE / "site"
PORT = 8102
FILL = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
Store = import_module(settings.SESSION_ENGINE).SessionStore
users = [User.objects.create(username=f"user{n}", password=f"!{n}") for n in range(500)]
lines = []
for n in range(2000):
    store = Store()
    if n % 2:
        user = users[n % 500]
        store[SESSION_KEY] = str(user.pk)
        store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.create()
    lines.append(f"{store.session_key} {'u' if n % 2 else 'a'}")
open("sessions.txt", "w").write("\\n".join(lines))
"""


def measure(door, options):
    with tempfile.TemporaryDirectory(prefix="djaffar-bench-") as name:
        folder = pathlib.Path(name)
        database = folder / "db.sqlite3"
        environment = {
            **os.environ,
            "DOOR": door,
            "SITE_DATABASE": str(database),
            "PYTHONPATH": f"{SITE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "DJANGO_SETTINGS_MODULE": "settings",
        }
        common = {"env": environment, "cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
        manage = [sys.executable, str(SITE / "manage.py")]
        subprocess.run([*manage, "migrate", "-v0", "--run-syncdb"], **common)
        sqlite3.connect(database).execute("PRAGMA journal_mode = WAL")
        subprocess.run([*manage, "shell", "-v0", "-c", FILL], **common)
        command = [*manage, "djaffar", "serve"]
        if door != "server":
            bind = ["-b", f"127.0.0.1:{PORT}", "-w", "2", "wsgi", "--log-level", "error"]
            command = [sys.executable, "-m", "gunicorn", *bind]
        log = open(folder / "log", "wb")
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            wait(server, folder / "log")
            warm_up = load(folder, 2, options.connections)
            runs = [
                load(folder, options.seconds, options.connections) for _ in range(options.rounds)
            ]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=120)
        answered = sum(run[0] for run in [warm_up, *runs])
        rates = [run[0] / run[1] for run in runs]
        return rates, answered, count(database), sum(run[2] for run in runs)


def wait(server, log):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", PORT), 1).close()
            return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit("the server did not start: " + log.read_text()[-2000:])


def count(database):
    connection = sqlite3.connect(database, timeout=20)
    tables = [f"{app}_activity" for app in ("djaffar", "original")]
    sql = "SELECT name FROM sqlite_schema WHERE name IN (?, ?)"
    [(table,)] = connection.execute(sql, tables).fetchall()
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def load(folder, seconds, connections):
    """Requests that were answered 2xx, the time it took, and the errors."""
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s"]
    lua = HERE.parent / "http" / "post.lua"
    environment = {**os.environ, "MIX": "known", "SESSIONS": str(folder / "sessions.txt")}
    command = [*wrk, "-s", str(lua), f"http://127.0.0.1:{PORT}/djaffar/log/"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    total, took = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout).groups()
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    refused = int(refused[1]) if refused else 0
    return int(total) - refused, float(took), refused


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-c", "--connections", type=int, default=64)
    options = parser.parse_args()
    for door in ["original", "view", "server"]:
        rates, answered, stored, errors = measure(door, options)
        print(
            f"{door:9} {statistics.median(rates):9.0f}/s ({min(rates):.0f} to {max(rates):.0f}), "
            f"{answered} answered 204, {stored} stored (some after wrk had gone), {errors} errors",
            flush=True,
        )


if __name__ == "__main__":
    main()
