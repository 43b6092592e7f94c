#!/usr/bin/env python3
"""How long `djaffar serve` takes from its start until `health/` answers 200, in milliseconds.

    cargo build --release && benches/http/start.py [STARTS]

In the current folder, as its disk counts: a folder of its own for each, in which it makes database,
key and spool, and then once more in the same one, whose spool is empty.
"""

import http.client
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DJAFFAR = os.environ.get("DJAFFAR", str(ROOT / "target/release/djaffar"))


def answers(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/djaffar/health/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.perf_counter()
    server = subprocess.Popen(
        [DJAFFAR, "serve", f"--listen=127.0.0.1:{port}"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not answers(port):
        if server.poll() is not None or time.perf_counter() - began > 30:
            raise SystemExit("it does not start: try `djaffar serve`")
        time.sleep(0.0005)
    took = (time.perf_counter() - began) * 1e3
    server.send_signal(signal.SIGTERM)
    server.wait()
    return took


def main():
    first, again = [], []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 12):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            first.append(start(folder))
            again.append(start(folder))
    for name, times in (("first", first), ("again", again)):
        print(f"{name}  median {statistics.median(times):.1f}  at most {max(times):.1f}")


main()
