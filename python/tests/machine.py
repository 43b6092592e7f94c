"""A machine with systemd as its first process and nothing else: a container on this machine's /usr and network,
with the limits that a unit sets. Wants root and systemd-nspawn.
"""

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

# Mounts of the container's own; on a machine whose /run is not in memory nspawn wants one that is.
BOOT = """
mount -t tmpfs tmpfs /run
mount -t overlay overlay -o lowerdir="$1/added:/usr" "$1/root/usr"
exec systemd-nspawn --quiet --directory="$1/root" --register=no --keep-unit --console=read-only \
  $2 --boot -- --unit=djaffar.service --show-status=1 --log-target=console
"""
FILES = {
    "etc/machine-id": "",
    "etc/os-release": "ID=test\n",
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nsite:x:1000:1000::/srv/site:/bin/sh\n",
    "etc/group": "root:x:0:\nsite:x:1000:\n",
    "etc/nsswitch.conf": "passwd: files systemd\ngroup: files systemd\n",
}


def why_not():
    """Why there can be none here."""
    if os.getuid() != 0:
        return "booting a systemd needs root"
    if not shutil.which("systemd-nspawn") or not Path("/usr/lib/systemd/systemd").exists():
        return "there is no systemd-nspawn here"
    trial = "mount -t tmpfs tmpfs /run && mount -t overlay overlay -o lowerdir=/run:/usr /mnt"
    if subprocess.run(["unshare", "-m", "sh", "-c", trial], capture_output=True).returncode != 0:
        return "no mounts may be made here"
    return None


class Machine:
    """The files of one; `program` becomes its /usr/local/bin/djaffar."""

    def __init__(self, folder, program):
        self.folder, self.root, self.child = folder, folder / "root", None
        for name in ["usr", "proc", "sys", "dev", "run", "tmp", "root", "srv/site", "var/log"]:
            (self.root / name).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)
        for name in ["bin", "sbin", "lib", "lib64"]:
            (self.root / name).symlink_to(f"usr/{name}")
        for name, text in FILES.items():
            self.write(name, text)
        place = folder / "added/local/bin"
        place.mkdir(parents=True)
        shutil.copy(program, place / "djaffar")

    def write(self, name, text, mode=0o644, owner=0):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        os.chown(path, owner, owner)
        return path

    @contextmanager
    def running(self, binds=()):
        """Boots, and shuts down in order."""
        self.console = self.folder / "console"
        bind = " ".join(f"--bind={source}:{target}" for source, target in binds)
        command = ["unshare", "--mount", "sh", "-ec", BOOT, "boot", str(self.folder), bind]
        with open(self.console, "wb") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.wait_for(lambda: self.show("SubState") in ("running", "failed", "auto-restart"))
            yield self
        finally:
            # For nspawn this means: power off.
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(timeout=30)
            finally:
                self.child.kill()

    def _inside(self, *command):
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text()
        first = children.split()[0]
        command = ["nsenter", "--target", first, "--mount", "--pid", "--uts", "--ipc", *command]
        return subprocess.run(command, capture_output=True, text=True)

    def systemctl(self, *arguments):
        done = self._inside("systemctl", *arguments)
        assert done.returncode == 0, done.stderr + self.said()
        return done.stdout.strip()

    def show(self, name):
        """A property of the service; nothing before the machine is there."""
        try:
            return self._inside(
                "systemctl", "show", "--value", f"--property={name}", "djaffar"
            ).stdout.strip()
        except (IndexError, FileNotFoundError):
            return ""

    def wait_for(self, condition):
        until = time.monotonic() + 30
        while not condition():
            alive = self.child.poll() is None
            assert alive, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.05)

    def said(self):
        """What the machine and the service have said."""
        logs = [self.console, self.root / "var/log/djaffar.log"]
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())
