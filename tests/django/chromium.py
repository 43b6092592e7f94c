"""A real browser, driven through Chromium's DevTools protocol."""

import json
import os
import shutil
import subprocess
import time

import websocket

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]


class Chromium:
    """A browser with an empty profile and one page."""

    def __init__(self, profile):
        self.profile = profile
        command = [os.environ["CHROMIUM"], *FLAGS, "--user-data-dir=%s" % profile, "about:blank"]
        null = subprocess.DEVNULL
        self.child = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
        port, path = self._wait(self._devtools, "it did not start")
        address = "ws://127.0.0.1:%s%s" % (port, path)
        self.socket = websocket.create_connection(address, timeout=30, suppress_origin=True)
        self.number = 0
        self.page = None
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(target for target in targets if target["type"] == "page")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.page = attached["sessionId"]

    def _devtools(self):
        try:
            lines = (self.profile / "DevToolsActivePort").read_text().split("\n")
        except FileNotFoundError:
            return None
        return lines if len(lines) == 2 else None

    @staticmethod
    def _wait(look, complaint, seconds=30):
        until = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < until, complaint
            time.sleep(0.05)
        return found

    def send(self, method, **params):
        """A command of the protocol, and its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.page:
            message["sessionId"] = self.page
        self.socket.send(json.dumps(message))
        while (answer := json.loads(self.socket.recv())).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def run(self, script):
        """The value of an expression (of what it promises) in the page."""
        result = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, url):
        """Opens a page, until it is loaded."""
        self.send("Page.navigate", url=url)
        self.wait("location.href === %s && document.readyState === 'complete'" % json.dumps(url))

    def wait(self, script):
        """Waits until an expression is true; a page that is just changing is none."""

        def look():
            try:
                return self.run(script)
            except AssertionError:
                return None

        return self._wait(look, "never: %s" % script)

    def close(self):
        self.socket.close()
        self.child.terminate()
        self.child.wait(timeout=20)
        shutil.rmtree(self.profile, ignore_errors=True)
