"""Database servers of the tests' own, in folders and on sockets of their own."""

import os
import shutil
import subprocess
import time
from pathlib import Path


class Missing(Exception):
    """What is needed is not on this machine."""


def program(*names, folders=()):
    for name in names:
        for folder in [None, *folders]:
            if found := shutil.which(name, path=folder and str(folder)):
                return found
    raise Missing(f"there is no {names[0]} here")


def as_user(name, folder):
    """PostgreSQL does not run as root."""
    if os.getuid() != 0:
        return []
    shutil.chown(folder, name)
    return ["runuser", "-u", name, "--"]


class Postgres:
    def __init__(self, folder, options=("-F",)):
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        initdb = program("initdb", folders=folders)
        server = program("postgres", folders=folders)
        data = folder / "data"
        data.mkdir()
        data.chmod(0o700)
        run = as_user("postgres", data)
        as_user("postgres", folder)
        command = [*run, initdb, "-D", str(data), "-U", "site", "-A", "trust", "-E", "UTF8"]
        subprocess.run(command, check=True, capture_output=True, cwd="/")
        log = open(folder / "log", "wb")
        options = ["-c", "listen_addresses=", "-k", str(folder), *options]
        self.child = subprocess.Popen(
            [*run, server, "-D", str(data), *options], stdout=log, stderr=log, cwd="/"
        )
        self.folder = folder
        _wait(folder / ".s.PGSQL.5432", self.child, folder / "log")

    def settings(self, name):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": "site",
            "HOST": str(self.folder),
        }

    def create(self, name):
        psql = program("psql")
        command = [psql, "-h", str(self.folder), "-U", "site", "postgres", "-c"]
        for _ in range(50):
            done = subprocess.run([*command, f"CREATE DATABASE {name}"], capture_output=True)
            if done.returncode == 0:
                return self.settings(name)
            time.sleep(0.1)
        raise RuntimeError(done.stderr.decode())

    def stop(self):
        self.child.terminate()
        self.child.wait(timeout=20)


class MariaDB:
    def programs(self):
        """What makes a new one, and what serves it."""
        install = program("mariadb-install-db")
        server = program("mariadbd", folders=["/usr/sbin"])
        alike = ["--no-defaults"]
        return [install, *alike, "--auth-root-authentication-method=normal"], [server, *alike]

    def __init__(self, folder):
        make, server = self.programs()
        user = ["--user=root"] if os.getuid() == 0 else []
        # One that starts deletes the temporary tables of all others that share its tmpdir.
        common = [f"--datadir={folder / 'data'}", f"--tmpdir={folder}", *user]
        subprocess.run([*make, *common], check=True, capture_output=True)
        log = open(folder / "log", "wb")
        self.folder, self.socket = folder, folder / "socket"
        options = ["--skip-networking", f"--socket={self.socket}", f"--pid-file={folder / 'pid'}"]
        unicode = ["--character-set-server=utf8mb4", "--collation-server=utf8mb4_unicode_ci"]
        command = [*server, *common, *options, *unicode]
        self.child = subprocess.Popen(command, stdout=log, stderr=log)
        _wait(self.socket, self.child, folder / "log")

    def settings(self, name):
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": name,
            "USER": "root",
            "OPTIONS": {"unix_socket": str(self.socket), "charset": "utf8mb4"},
        }

    def create(self, name):
        client = program("mariadb", "mysql")
        command = [client, "--no-defaults", "-u", "root", f"--socket={self.socket}", "-e"]
        subprocess.run([*command, f"CREATE DATABASE {name}"], check=True, capture_output=True)
        return self.settings(name)

    def stop(self):
        self.child.terminate()
        self.child.wait(timeout=30)


class MySQL(MariaDB):
    """The one that tests/databases.sh unpacks, with the loader and the libraries that it came with."""

    def programs(self):
        usr = Path(__file__).parents[2] / ".venvs/mysql/root/usr"
        if not (usr / "sbin/mysqld").exists():
            raise Missing("there is no MySQL here (tests/databases.sh brings it)")
        libraries = usr / "lib/x86_64-linux-gnu"
        server = [
            str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries),
            str(usr / "sbin/mysqld"), "--no-defaults", f"--basedir={usr}", "--secure-file-priv=",
            f"--lc-messages-dir={usr}/share/mysql", f"--plugin-dir={usr}/lib/mysql/plugin",
            f"--character-sets-dir={usr}/share/mysql/charsets",
        ]  # fmt: skip
        return [*server, "--initialize-insecure"], [*server, "--mysqlx=OFF"]


class SQLite:
    def __init__(self, folder):
        self.folder = folder

    def create(self, name):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.folder / name)}

    def stop(self):
        pass


KINDS = {"sqlite": SQLite, "postgresql": Postgres, "mariadb": MariaDB, "mysql": MySQL}


def _wait(path, child, log):
    until = time.monotonic() + 60
    while not path.exists():
        if child.poll() is not None or time.monotonic() > until:
            raise RuntimeError(log.read_text())
        time.sleep(0.05)
