"""The databases that the bench of the endpoint stores to, each in a folder of its own: how djaffar
is told of it, what is stored, and how it is kept from storing. Knows no load and no endpoint."""

import contextlib
import os
import pathlib
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "python/tests"))
import databases  # noqa: E402

COUNT = "SELECT count(*) FROM djaffar_activity"


def free_ports(count):
    """The first of so many side by side, below those that the system gives to connections."""
    while True:
        first = random.randrange(20_000, 32_000)
        try:
            for port in range(first, first + count):
                with socket.socket() as free:
                    free.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue


class SQLite:
    """The embedded default, which takes its time from the server's own processors."""

    def __init__(self, folder, site):
        self.path = site / "djaffar.sqlite3"
        self.options = []

    def connect(self):
        return contextlib.closing(sqlite3.connect(self.path, timeout=60, isolation_level=None))

    def run(self, statements):
        with self.connect() as database:
            database.executescript("BEGIN;" + statements + "COMMIT;")

    def count(self):
        with self.connect() as database:
            return database.execute(COUNT).fetchone()[0]

    @contextlib.contextmanager
    def held(self):
        """Somebody else holds the database's write lock."""
        with self.connect() as database:
            database.execute("BEGIN IMMEDIATE")
            # It ends with the connection.
            yield

    def close(self):
        pass


class Server:
    """A database server, over its socket."""

    def __init__(self, folder, site):
        self.server = self.start(folder)
        self.server.create("site")
        host = urllib.parse.quote(str(self.socket(folder)), safe="")
        self.options = [f"--database={self.scheme}://{self.user}@{host}/site"]

    def run(self, statements):
        subprocess.run(self.client, input=statements, text=True, check=True)

    def count(self):
        done = subprocess.run(
            self.client, input=COUNT + ";", text=True, check=True, stdout=subprocess.PIPE
        )
        return int(done.stdout)

    @contextlib.contextmanager
    def held(self):
        """Somebody else has locked the table of the activities."""
        client = subprocess.Popen(
            self.client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        client.stdin.write(self.lock + " SELECT 'locked';\n")
        client.stdin.flush()
        assert client.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            client.stdin.close()
            client.wait()

    def close(self):
        self.server.stop()


class Postgres(Server):
    scheme, user = "postgres", "site"
    lock = "BEGIN; LOCK TABLE djaffar_activity IN ACCESS EXCLUSIVE MODE;"

    def start(self, folder):
        self.client = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", folder, "-U", "site", "site"]
        return databases.Postgres(folder, options=[])

    def socket(self, folder):
        return folder


class MariaDB(Server):
    scheme, user = "mysql", "root"
    lock = "LOCK TABLES djaffar_activity WRITE;"

    def start(self, folder):
        socket = f"--socket={self.socket(folder)}"
        self.client = ["mariadb", "--no-defaults", "-nNu", "root", socket, "site"]
        return databases.MariaDB(folder)

    def socket(self, folder):
        return folder / "socket"


class ClickHouse(SQLite):
    """For the activities, beside SQLite."""

    def __init__(self, folder, site):
        super().__init__(folder, site)
        self.port = free_ports(3)
        serve = [str(ROOT / "tests/clickhouse/serve"), "old", str(folder), str(self.port)]
        self.child = subprocess.Popen(serve)
        url = f"clickhouse://djaffar:se%2Fcret@127.0.0.1:{self.port}/default"
        self.options = [f"--activity-database={url}"]
        until = time.monotonic() + 30
        while True:
            try:
                self.ask("SELECT 1")
                return
            except OSError:
                if self.child.poll() is not None or time.monotonic() > until:
                    raise SystemExit("no ClickHouse: run tests/clickhouse/run once") from None
                time.sleep(0.1)

    def ask(self, sql):
        headers = {"X-ClickHouse-User": "djaffar", "X-ClickHouse-Key": "se/cret"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/", data=sql.encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode().strip()

    def count(self):
        return int(self.ask(COUNT))

    @contextlib.contextmanager
    def held(self):
        """It does not answer."""
        os.kill(self.child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.child.pid, signal.SIGCONT)

    def close(self):
        self.child.kill()
        self.child.wait()


KINDS = {
    "sqlite": SQLite,
    "postgresql": Postgres,
    "mariadb": MariaDB,
    "clickhouse": ClickHouse,
}
