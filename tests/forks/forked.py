"""Processes that are forked from one that has Django imported already: see `forkserver.py`.

Asked is over a socket of the folder of forks: three descriptors (input, output, errors), and a line
of JSON with command, environment and folder. Answered is the number of the process in one line, and in
another, when it has ended, its code, as subprocess has it.
"""

import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

SERVER = Path(__file__).parent / "forkserver.py"
# What Python looks at before it comes to the script.
EARLY = ("PYTHON", "LANG", "LC_")
FOLDER, OWNER = "FORKS_FOLDER", "FORKS_OWNER"


def begin():
    """To be called before there are any workers: what they share belongs to this process."""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="forks-")
    os.environ[OWNER] = str(os.getpid())


def end():
    """With their folder all servers end."""
    if os.environ.get(OWNER) == str(os.getpid()):
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


def _connect(python, environment):
    """A connection to the server of this Python, started if it is not there."""
    early = {name: value for name, value in environment.items() if name.startswith(EARLY)}
    name = hashlib.sha256(json.dumps([python, sorted(early.items())]).encode()).hexdigest()[:12]
    path = Path(os.environ[FOLDER]) / name
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with open(f"{path}.log", "w") as log:
                server = subprocess.Popen(
                    [python, "-S", str(SERVER), str(path), os.environ[OWNER]],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    env={"PATH": os.environ["PATH"], **early},
                )  # fmt: skip
            until = time.monotonic() + 60
            while not path.exists():
                alive = server.poll() is None and time.monotonic() < until
                assert alive, Path(f"{path}.log").read_text()
                time.sleep(0.005)
    connection = socket.socket(socket.AF_UNIX)
    until = time.monotonic() + 60
    while True:
        try:
            connection.connect(str(path))
            return connection
        except ConnectionRefusedError:
            # Bound, but not listening yet.
            assert time.monotonic() < until, Path(f"{path}.log").read_text()
            time.sleep(0.005)


class Forked:
    """A process of `[python, script, *arguments]`: what the tests want of subprocess.Popen."""

    def __init__(self, command, env, cwd, stdout, stderr):
        python, *command = command
        self.returncode = self.stdout = None
        self._connection = _connect(python, env)
        ends = []
        if stdout == subprocess.PIPE:
            source, stdout = os.pipe()
            ends.append(stdout)
            self.stdout = open(source, encoding="utf-8")
        if stderr == subprocess.STDOUT:
            stderr = stdout
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            for sent in (null, stdout, stderr):
                sent = sent if isinstance(sent, int) else sent.fileno()
                socket.send_fds(self._connection, [b"."], [sent])
            asked = {"command": command, "environment": env, "folder": str(cwd)}
            self._connection.sendall(json.dumps(asked).encode() + b"\n")
        finally:
            for end in (null, *ends):
                os.close(end)
        self._answers = b""
        self.pid = self._answer(60)

    def _answer(self, seconds):
        """The next line of the server, as a number; nothing, if it does not come in time."""
        until = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._answers:
            left = None if until is None else max(0, until - time.monotonic())
            if not select.select([self._connection], [], [], left)[0]:
                return None
            found = self._connection.recv(64)
            assert found, "the server of forks has ended"
            self._answers += found
        line, _, self._answers = self._answers.partition(b"\n")
        return int(line)

    def poll(self):
        if self.returncode is None:
            self.returncode = self._answer(0)
            if self.returncode is not None:
                self._connection.close()
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            self.returncode = self._answer(timeout)
            if self.returncode is None:
                raise subprocess.TimeoutExpired(["fork", self.pid], timeout)
            self._connection.close()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def run(command, env, cwd, timeout=120):
    """Runs it to its end: subprocess.run that captures, in bytes."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = Forked(command, env, cwd, output, errors)
        try:
            code = child.wait(timeout)
        except BaseException:
            child.kill()
            raise
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, code, output.read(), errors.read())
