"""``manage.py djaffar serve|check|config``: the server, with everything taken from the settings."""

import argparse
import os
import subprocess
import sys
from typing import Any

from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from djaffar import checks, server


class Command(BaseCommand):
    help = (
        "The server of Djaffar, with everything taken from Django's settings: `serve` runs it in "
        "place of this process, `check` says what would not work and how to mend it, `config` "
        "prints the options for a djaffar.toml. What follows goes to djaffar as it is."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", choices=["serve", "check", "config"])
        parser.add_argument(
            "options",
            nargs=argparse.REMAINDER,
            help="options of djaffar, such as --listen 127.0.0.1:8001 (`djaffar serve --help`)",
        )

    def handle(self, *_: Any, what: str, options: list[str], **__: Any) -> None:
        said = server.derived()
        if what == "config":
            self.stdout.write(server.as_toml(said), ending="")
            return
        if what == "check":
            self._check(said, options)
            return
        if advice := server.pending():
            raise CommandError(advice, returncode=78)
        connections.close_all()
        command, environment, keys = self._command(["serve", *options], said)
        for key in keys:
            os.set_inheritable(key, True)
        sys.stdout.flush()
        os.execve(command[0], command, environment)

    def _check(self, said: dict[str, Any], options: list[str]) -> None:
        wrong = [f"{issue.msg} {issue.hint}" for issue in self._issues()] + server.limits()
        if advice := server.pending():
            wrong.append(advice)
        connections.close_all()
        command, environment, keys = self._command(["config", "check", *options], said)
        # A process of its own: it opens the file that this one may have opened.
        done = subprocess.run(
            command, env=environment, pass_fds=keys, capture_output=True, text=True, check=False
        )
        for key in keys:
            os.close(key)
        self.stdout.write(done.stdout, ending="")
        if done.returncode:
            wrong.append(done.stderr.strip().removeprefix("djaffar: "))
        for sentence in wrong:
            self.stderr.write(sentence)
        if wrong:
            raise CommandError(f"{len(wrong)} to mend.", returncode=78)
        self.stdout.write("Ready: manage.py djaffar serve")

    def _issues(self) -> list[Any]:
        found = run_checks(include_deployment_checks=True)
        return [issue for issue in found if str(issue.id).startswith("djaffar.")] + checks.wal()

    def _command(
        self, arguments: list[str], said: dict[str, Any]
    ) -> tuple[list[str], dict[str, str], list[int]]:
        """The program, its environment, and the pipes with the secret keys.

        The keys go through pipes: neither a list of processes nor a file shows them.
        """
        pipes = [_pipe(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
        environment = {**os.environ, **server.as_environment(said)}
        if "DJAFFAR_SECRET_KEY" not in os.environ:
            environment["DJAFFAR_SECRET_KEY_FILE"] = f"/dev/fd/{pipes[0]}"
        if pipes[1:]:
            files = ",".join(f"/dev/fd/{pipe}" for pipe in pipes[1:])
            environment["DJAFFAR_SECRET_KEY_FALLBACK_FILE"] = files
        return [sys.executable, "-m", "djaffar", *arguments], environment, pipes


def _pipe(secret: str) -> int:
    """The end to read of a pipe that holds a secret."""
    read, write = os.pipe()
    with open(write, "w", encoding="utf-8") as file:
        file.write(secret)
    return read
