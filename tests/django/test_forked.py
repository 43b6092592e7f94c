"""A process that is forked from a prepared one finds what one finds that is started."""

import json
import subprocess
import time

import forked
import pytest

pytestmark = pytest.mark.every_django
PROBE = """
import json, os, sys
from django.conf import settings
sys.stderr.write(u"said apart")
print(json.dumps({
    "arguments": sys.argv, "environment": dict(os.environ), "folder": os.getcwd(),
    "input": sys.stdin.read(), "name": __name__, "file": __file__,
    "path": sorted(filter(os.path.isdir, set(sys.path)), key=sys.path.index),
    "settings": settings.configured, "streams": str(sys.stdout.encoding).lower(),
}))
sys.exit(3)
"""


@pytest.fixture
def command(django, make_site):
    """What runs a script with an argument, and the environment and folder for that."""
    site = make_site(empty=True)

    def command(text):
        (site.folder / "probe.py").write_text(text)
        environment = {"PYTHONPATH": django.packages, "PYTHONIOENCODING": "utf-8"}
        environment |= {"LANG": "C.UTF-8", "SHOP": "gr\u00fcn"}
        command = [django.python, str(site.folder / "probe.py"), "na\u00efve"]
        return command, environment, site.folder

    return command


def test_it_finds_what_a_started_one_finds(command):
    arguments, environment, folder = command(PROBE)
    options = {"env": environment, "cwd": folder, "stdin": subprocess.DEVNULL}
    started = subprocess.run(arguments, capture_output=True, **options)
    done = forked.run(arguments, environment, folder)
    assert done.returncode == started.returncode == 3
    assert done.stderr == started.stderr == b"said apart"
    ours, theirs = json.loads(done.stdout), json.loads(started.stdout)
    for name in ("LC_CTYPE", "__CF_USER_TEXT_ENCODING"):  # what Python itself may add
        ours["environment"].pop(name, None)
        theirs["environment"].pop(name, None)
    # Of the machine's own packages there is nothing.
    theirs["path"] = [part for part in theirs["path"] if "site-packages" not in part]
    assert ours == theirs
    assert ours["settings"] is False


def test_its_end_is_told_and_it_can_be_killed(command):
    for text, code in [("raise ValueError", 1), ("", 0), ("import os; os._exit(7)", 7)]:
        assert forked.run(*command(text)).returncode == code
    arguments, environment, folder = command(
        "import sys, time; print('up'); sys.stdout.flush(); time.sleep(60)"
    )
    child = forked.Forked(arguments, environment, folder, subprocess.PIPE, subprocess.STDOUT)
    assert child.stdout.readline() == "up\n"
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=0.1)
    started = time.monotonic()
    child.kill()
    assert child.wait(timeout=20) == -9
    assert time.monotonic() - started < 10
