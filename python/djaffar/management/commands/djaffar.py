"""``manage.py djaffar serve|check|config|migrate``: the server, with all of the settings."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils.encoding import force_str

from djaffar import checks, server


class Command(BaseCommand):
    help = (
        "The server of Djaffar, with everything taken from Django's settings: `serve` runs it in "
        "place of this process, `check` says what would not work and how to mend it, `config` "
        "prints the options for a djaffar.toml, `migrate` makes the tables in activity_database (a "
        "ClickHouse). What follows goes to djaffar as it is."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", choices=["serve", "check", "config", "migrate"])
        parser.add_argument(
            "options",
            nargs=argparse.REMAINDER,
            help="options of djaffar, such as --listen 127.0.0.1:8001 (`djaffar serve --help`)",
        )

    def handle(self, *_: Any, what: str, options: list[str], **__: Any) -> None:
        derived = server.derived()
        if what == "config":
            self._config(derived)
            return
        if what == "check":
            self._check(derived, options)
            return
        wrong = [*derived.wrong, *filter(None, [server.pending()])]
        if wrong:
            raise CommandError(" ".join(wrong), returncode=78)
        connections.close_all()
        sys.stdout.flush()
        files = _files(derived, os.environ)
        os.execve(sys.executable, _command([what], files, options), dict(os.environ))

    def _config(self, derived: server.Derived) -> None:
        if derived.jwt_key is not None and "jwt_key_file" not in derived.options:
            name = "VERIFYING_KEY, or SIGNING_KEY for HS256,"
            self.stdout.write(f"# jwt_key_file: a file with SIMPLE_JWT's {name} is wanted.")
        if server.database_password() and "database_password_file" not in derived.options:
            self.stdout.write("# database_password_file: a file with PASSWORD is wanted.")
        options = dict(derived.options)
        for name in ("database", "session_cache", "activity_database"):
            address = str(options.get(name, ""))
            hidden = re.sub(r"(?<=://)([^:/]*):.*@", r"\1:***@", address)
            hidden = re.sub(r"([?&]pass\w*=)[^&]*", r"\1***", hidden)
            if hidden != address:
                self.stdout.write(f"# {name}: its password is not shown; write it in for ***.")
                options[name] = hidden
        self.stdout.write(server.as_toml(options), ending="")

    def _check(self, derived: server.Derived, options: list[str]) -> None:
        wrong = [f"{issue.msg} {issue.hint}" for issue in self._issues()] + derived.wrong
        if advice := server.pending():
            wrong.append(advice)
        connections.close_all()
        files = _files(derived, os.environ)
        # A process of its own: it opens the file that this one may have opened.
        done = subprocess.run(
            _command(["config", "check"], files, options),
            pass_fds=list(files.values()), capture_output=True, text=True, check=False,
        )  # fmt: skip
        for file in files.values():
            os.close(file)
        self.stdout.write(done.stdout, ending="")
        if done.returncode:
            wrong.append(done.stderr.strip().removeprefix("djaffar: "))
        for sentence in derived.notes:
            self.stdout.write(sentence)
        for sentence in wrong:
            self.stderr.write(sentence)
        if wrong:
            raise CommandError(f"{len(wrong)} to mend.", returncode=78)
        self.stdout.write("Ready: manage.py djaffar serve")

    def _issues(self) -> list[Any]:
        found = run_checks(include_deployment_checks=True)
        # E001 says what the server's own `config check` is about to say.
        ours = [issue for issue in found if str(issue.id).startswith("djaffar.W")]
        return [issue for issue in ours + checks.wal() if not issue.is_silenced()]


def _files(derived: server.Derived, environment: Mapping[str, str]) -> dict[str, int]:
    """Files that only this process and the one that takes its place can read: options and keys.

    Neither a list of processes nor a folder shows them. What the site or the environment names
    itself is not said again.
    """
    given = {*derived.options, *(name.removeprefix("DJAFFAR_").lower() for name in environment)}
    secrets = {
        "secret_key_file": force_str(settings.SECRET_KEY),
        "secret_key_fallback_file": "\n".join(map(force_str, settings.SECRET_KEY_FALLBACKS)),
        "jwt_key_file": derived.jwt_key,
        "database_password_file": server.database_password(),
    }
    for name in ("secret_key", "database_password"):
        if name in given:
            del secrets[f"{name}_file"]
    files = {
        name: _file(name, text)
        for name, text in secrets.items()
        if text is not None and name not in given
    }
    said = {name: f"/dev/fd/{file}" for name, file in files.items()}
    if "secret_key_fallback_file" in said:
        said["secret_key_fallback_file"] = [said["secret_key_fallback_file"]]  # type: ignore[assignment]
    return {**files, "config": _file("config", server.as_toml({**derived.options, **said}))}


def _file(name: str, text: str) -> int:
    """A file in memory. Linux only, as the wheels are."""
    file = os.memfd_create(f"djaffar-{name}", 0)
    os.write(file, text.encode())
    return file


def _command(what: list[str], files: dict[str, int], options: list[str]) -> list[str]:
    config = ["--config", f"/dev/fd/{files['config']}"]
    return [sys.executable, "-m", "djaffar", *what, *config, *options]
