"""A Redis of the tests' own: a folder and a port for each worker, nothing kept."""

import os
import shutil
import socket
import subprocess
import time

import pytest


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Redis:
    """A real redis-server that can be stopped and started again."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.child = None
        self.start()

    @property
    def url(self):
        return "redis://127.0.0.1:%d" % self.port

    def start(self):
        command = [shutil.which("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "no"]
        self.child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < until, "redis-server did not start"
                time.sleep(0.05)

    def stop(self):
        self.child.terminate()
        self.child.wait(timeout=10)


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    if not shutil.which("redis-server"):
        pytest.skip("there is no redis-server")
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis_of_its_own(tmp_path):
    """One that a test may stop."""
    if not shutil.which("redis-server"):
        pytest.skip("there is no redis-server")
    os.makedirs(tmp_path / "redis")
    server = Redis(tmp_path / "redis")
    yield server
    server.stop()
