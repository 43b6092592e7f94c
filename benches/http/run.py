#!/usr/bin/env python3
"""204 after fsync against nginx answering an empty 204: same load, same cores, one run.

    cargo build --release && benches/http/run.py [--seconds 10] [--rounds 5] [-c 256]

Needs wrk and nginx (Debian packages of these names). Prints, per round and as medians: requests a
second of both, their ratio, the server's CPU per request (all threads, the drain's included, until
everything is stored), its memory, and how many of the acknowledged activities are in the database.
The activities are those of known sessions, half of them of logged-in users, as `post.lua` says.
Each round has a database of its own, in SQLite or what `--store` says; `--without-drain` says what
storing there leaves of the rate. Unless `--dates now` is said, the dates of this load are spread
over a month, which costs the index on them more the more rows there are.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request

import stores

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DJAFFAR = os.environ.get("DJAFFAR", str(ROOT / "target/release/djaffar"))
KEY = "bench-site-key-0123456789-abcdefghijklmnopqrstuvwxyz"
HZ = os.sysconf("SC_CLK_TCK")
PORT = 8101


def salted_hmac(salt, value, algorithm):
    """django/utils/crypto.py:salted_hmac"""
    key = hashlib.new(algorithm, salt.encode() + KEY.encode()).digest()
    return hmac.new(key, value.encode(), algorithm)


def b62(number):
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, rest = divmod(number, 62)
        text = alphabet[rest] + text
    return text or "0"


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def session_data(data):
    """django/core/signing.py:dumps, as the db sessions of Django 3.1 and later use it"""
    value = b64(json.dumps(data, separators=(",", ":")).encode()) + ":" + b62(int(time.time()))
    signer = "django.contrib.sessions.SessionStoresigner"
    return value + ":" + b64(salted_hmac(signer, value, "sha256").digest())


def fill(folder, store, sessions):
    """Users and sessions, half of them logged in; their keys for post.lua into sessions.txt."""
    rng = random.Random(42)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    users = 1_000
    hashed = "pbkdf2_sha256$1000000$salt{}$hash=".format
    rows = ", ".join(
        f"({i}, '{hashed(i)}', false, 'user{i}', '', '', false, true, '{now}', '')"
        for i in range(1, users + 1)
    )
    store.run(
        "INSERT INTO auth_user (id, password, is_superuser, username, last_name, email, is_staff, "
        f"is_active, date_joined, first_name) VALUES {rows};"
    )
    salt = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"
    rows, lines = [], []
    for number in range(sessions):
        key = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=32))
        data = {}
        if number % 2 == 0:
            user = rng.randrange(1, users + 1)
            data = {
                "_auth_user_id": str(user),
                "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
                "_auth_user_hash": salted_hmac(salt, hashed(user), "sha256").hexdigest(),
            }
        rows.append(f"('{key}', '{session_data(data)}', '2999-01-01 00:00:00')")
        lines.append(f"{key} {'a' if number % 2 else 'u'}\n")
    columns = "session_key, session_data, expire_date"
    store.run(f"INSERT INTO django_session ({columns}) VALUES {', '.join(rows)};")
    (folder / "sessions.txt").write_text("".join(lines))


def wait_for(url):
    for _ in range(200):
        try:
            return urllib.request.urlopen(url).read()
        except urllib.error.HTTPError:
            return None
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers at {url}")


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def children(pid):
    return [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def memory(pid):
    status = open(f"/proc/{pid}/status").read()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def wrk(port, options, seconds, folder):
    env = dict(os.environ, MIX="known", SESSIONS=str(folder / "sessions.txt"))
    env["NREQ"] = str(options.requests)
    env["DATES"] = options.dates
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(HERE / "post.lua"), f"http://127.0.0.1:{port}/djaffar/log/"]
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    result = json.loads(next(line for line in out.splitlines() if line.startswith("JSON "))[5:])
    bad = sum(result[kind] for kind in ("non2xx", "connect", "read", "write", "timeout"))
    return result["req"] / (result["dur_us"] / 1e6), result, bad


class Site:
    """A database with users and sessions, and the server beside it."""

    def __init__(self, options):
        self.folder, place = (pathlib.Path(tempfile.mkdtemp(dir=options.dir)) for _ in range(2))
        self.folders = [self.folder, place]
        self.store = stores.KINDS[options.store](place, self.folder)
        (self.folder / "djaffar.secret-key").write_text(KEY)
        migrate = [DJAFFAR, "migrate", *self.store.options]
        subprocess.run(migrate, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
        fill(self.folder, self.store, options.sessions)
        command = [
            DJAFFAR,
            "serve",
            *self.store.options,
            f"--listen=127.0.0.1:{PORT}",
            "--rate-limit=0",
        ]
        command += ["--session-rate-limit=0", "--connections-per-address=10000"]
        self.server = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL)
        wait_for(f"http://127.0.0.1:{PORT}/djaffar/health/")

    def close(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(60)
        self.store.close()
        for folder in self.folders:
            shutil.rmtree(folder)

    def settled(self):
        """How many rows there are once what came before is stored."""
        while True:
            before = self.store.count()
            # The drain may rest for two seconds.
            time.sleep(3)
            if self.store.count() == before:
                return before


def measure_both(nginx, site, options):
    """Ours between two halves of nginx: shared processors change from minute to minute."""
    before = measure_nginx(nginx, options, site.folder)
    ours = measure(site, options)
    after = measure_nginx(nginx, options, site.folder)
    theirs = {name: (before[name] + after[name]) / 2 for name in before}
    return {"ratio": ours["djaffar"] / theirs["nginx"]} | theirs | ours


def measure_nginx(nginx, options, folder):
    started = sum(map(cpu, children(nginx.pid)))
    rate, asked, bad = wrk(8100, options, max(options.seconds // 2, 1), folder)
    busy = sum(map(cpu, children(nginx.pid))) - started
    return {"nginx": rate, "nginx_cpu_us": busy / asked["req"] * 1e6, "nginx_errors": bad}


def measure(site, options):
    folder, count, server = site.folder, site.store.count, site.server.pid
    wrk(PORT, options, 3, folder)
    before = site.settled()
    started = cpu(server)
    rate, result, bad = wrk(PORT, options, options.seconds, folder)
    busy = cpu(server) - started
    stored_while_busy = count() - before
    until = time.time() + 120
    # wrk ends with requests under way: a few more than it counted may be stored.
    while count() - before < result["req"] and time.time() < until:
        time.sleep(0.2)
    time.sleep(0.5)
    total = cpu(server) - started
    return {
        "djaffar": rate,
        "cpu_us": busy / result["req"] * 1e6,
        "cpu_us_all_stored": total / result["req"] * 1e6,
        "acknowledged": result["req"],
        "stored": count() - before,
        "stored_while_busy": stored_while_busy,
        "p50": result["p50"],
        "p99": result["p99"],
        "errors": bad,
        "peak_mib": memory(server),
    }


def measure_alone(options):
    """The rate while nothing can be stored."""
    site = Site(options)
    try:
        wrk(PORT, options, 3, site.folder)
        site.settled()
        with site.store.held():
            rate, _, bad = wrk(PORT, options, options.seconds, site.folder)
        return {"without_drain": rate, "without_drain_errors": bad}
    finally:
        site.close()


def text(row):
    return "  ".join(
        f"{k} {v:,.2f}" if isinstance(v, float) else f"{k} {v:,}" for k, v in row.items()
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-c", "--connections", type=int, default=256)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=8192)
    parser.add_argument(
        "--requests",
        type=int,
        default=8192,
        help="different requests; twice the sessions, to have all of them live",
    )
    parser.add_argument(
        "--dates",
        choices=("month", "now"),
        default="month",
        help="of the activities: all over a month, or of the last seconds, as browsers send them",
    )
    parser.add_argument("--store", choices=stores.KINDS, default="sqlite")
    parser.add_argument(
        "--without-drain",
        action="store_true",
        help="also while nothing can be stored; `share`: what the drain leaves of that rate",
    )
    parser.add_argument(
        "--dir", help="where to keep database and spool (default: a temporary folder)"
    )
    options = parser.parse_args()
    nginx = subprocess.Popen(["nginx", "-p", tempfile.mkdtemp(), "-c", str(HERE / "nginx.conf")])
    rounds = []
    try:
        wait_for("http://127.0.0.1:8100/")
        for number in range(1, options.rounds + 1):
            site = Site(options)
            try:
                row = measure_both(nginx, site, options)
            finally:
                site.close()
            if options.without_drain:
                row |= measure_alone(options)
                row["share"] = row["djaffar"] / row["without_drain"]
            rounds.append(row)
            print(f"round {number}: {text(row)}", flush=True)
    finally:
        nginx.terminate()
    print(
        "medians: "
        + text({key: statistics.median(row[key] for row in rounds) for key in rounds[0]})
    )


main()
