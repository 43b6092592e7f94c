"""Starts manage.py (or another script) without the second that Python takes to import Django.

    python forkserver.py SOCKET PID

imports once, when first asked, what does not depend on a site's settings, and forks for each process that
is asked for at SOCKET: there it finds arguments, environment and folder as if it had just been
started. What is asked, and answered, stands in `forked.py`. It ends when SOCKET is gone, or PID.

For every Python from 2.7 on. It must not know a site: no settings, no models.
"""

import errno
import gc
import json
import os
import random
import select
import signal
import socket
import sys

# What takes long to import; what belongs to it comes along. Absent in some Djangos, and not to be
# had without settings in others: there each process imports it.
MODULES = """
    django.core.management django.core.management.commands.migrate django.core.wsgi
    django.core.handlers.asgi django.db.models django.db.backends.sqlite3.base
    django.db.migrations.executor django.core.serializers.json django.forms.models
    django.contrib.admin.options django.contrib.admin.sites django.contrib.admin.templatetags.admin_list
    django.contrib.auth.hashers django.contrib.auth.context_processors
    django.contrib.sessions.backends.db django.contrib.sessions.middleware
    django.contrib.messages.middleware django.contrib.messages.storage.fallback
    django.middleware.common django.middleware.csrf django.template.loader
    django.template.loaders.cached django.template.loaders.app_directories
    django.templatetags.i18n django.views.debug django.views.generic django.views.i18n
    django.conf.locale.en.formats django.conf.global_settings django.test
    wsgiref.simple_server rest_framework.authentication rest_framework.fields
    jwt cryptography.hazmat.primitives.serialization oauthlib.oauth2
    django.db.backends.postgresql.base pymysql
""".split()


def preload():
    for name in MODULES:
        try:
            __import__(name)
        except Exception:
            pass
    from django.conf import settings

    assert not settings.configured, "a module wants the settings of some site"
    if hasattr(gc, "freeze"):
        gc.freeze()


def descriptor(connection):
    """One that was sent."""
    try:
        import array

        size = array.array("i").itemsize
        _, [(_, _, data)], _, _ = connection.recvmsg(1, socket.CMSG_SPACE(size))
        return array.array("i", data[:size])[0]
    except AttributeError:  # Python 2
        from _multiprocessing import recvfd

        return recvfd(connection.fileno())


def become(connection):
    """Makes of this fork the process that is asked for; the path of its script."""
    for target in (0, 1, 2):
        received = descriptor(connection)
        os.dup2(received, target)
        os.close(received)
    text = b""
    while not text.endswith(b"\n"):
        text += connection.recv(65536)
    connection.close()
    asked = json.loads(text.decode("ascii"))
    if sys.version_info < (3,):
        asked["environment"] = dict(
            (name.encode("utf-8"), value.encode("utf-8"))
            for name, value in asked["environment"].items()
        )
        asked["command"] = [part.encode("utf-8") for part in asked["command"]]
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv[:] = asked["command"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    random.seed()
    return sys.argv[0]


class Server(object):
    def __init__(self, path, owner):
        self.path, self.owner = path, owner
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        # Who asked for a child, and is to be told how it ended.
        self.children = {}
        self.ready = False

    def run(self):
        """Returns in each fork, with the connection to who has asked for it."""
        woken, waker = os.pipe()
        if hasattr(os, "set_blocking"):
            os.set_blocking(waker, False)
        else:
            import fcntl

            fcntl.fcntl(waker, fcntl.F_SETFL, os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker)
        while self.wanted():
            try:
                found = select.select([self.listener, woken], [], [], 1)[0]
            except select.error as error:  # Python 2
                if error.args[0] != errno.EINTR:
                    raise
                found = [woken]
            if woken in found:
                self.reap(woken)
            if self.listener in found:
                connection = self.listener.accept()[0]
                if self.fork(connection):
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(woken)
                    os.close(waker)
                    return connection
        return None

    def wanted(self):
        try:
            os.kill(self.owner, 0)
        except OSError:
            return False
        return os.path.exists(self.path)

    def fork(self, connection):
        """Whether this is the fork."""
        if not self.ready:
            preload()
            self.ready = True
        pid = os.fork()
        if pid:
            connection.sendall(("%d\n" % pid).encode("ascii"))
            self.children[pid] = connection
            return False
        self.listener.close()
        for other in self.children.values():
            other.close()
        return True

    def reap(self, woken):
        if select.select([woken], [], [], 0)[0]:
            os.read(woken, 4096)
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            connection = self.children.pop(pid)
            try:
                connection.sendall(("%d\n" % code).encode("ascii"))
            except (OSError, socket.error):
                pass  # nobody wants to know
            connection.close()


def main():
    path, owner = sys.argv[1:]
    connection = Server(path, int(owner)).run()
    return connection and become(connection)


if __name__ == "__main__":
    script = main()
    if script:
        with open(script) as file:
            text = file.read()
        exec(compile(text, script, "exec"), {"__name__": "__main__", "__file__": script})
