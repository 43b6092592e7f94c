"""The web servers of docs/deployment.md, with its own lines, in folders and on ports of the tests' own."""

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

from conftest import ROOT

# The address that the lines of the documentation have.
SERVER = "127.0.0.1:8001"
# What any nginx of the tests has around its `server`.
NGINX_AROUND = """
daemon off; pid FOLDER/pid; error_log FOLDER/error.log; worker_processes 1; USER
events { worker_connections 64; }
http {
    access_log off; client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b;
    fastcgi_temp_path FOLDER/c; uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
    SERVERS
}
"""
NGINX = NGINX_AROUND.replace(
    "SERVERS",
    """
    server {
        listen LISTEN;
        LINES
        location / {
            proxy_pass http://DJANGO;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }
    }
""",
)
CADDY = """
{
    admin off
    auto_https off
    storage file_system FOLDER
}
http://LISTEN {
    LINES
    handle {
        reverse_proxy DJANGO
    }
}
"""
APACHE = """
ServerRoot FOLDER
ServerName localhost
PidFile FOLDER/pid
ErrorLog FOLDER/error.log
Listen LISTEN
USER
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LINES
ProxyPreserveHost On
ProxyPass / http://DJANGO/
"""
# Language of the lines in the documentation, program, configuration, command.
KINDS = {
    "nginx": ("nginx", "nginx", NGINX, ["-c", "CONFIG"]),
    "caddy": ("caddyfile", "caddy", CADDY, ["run", "--adapter", "caddyfile", "--config", "CONFIG"]),
    "apache": ("apache", "apache2", APACHE, ["-X", "-f", "CONFIG"]),
}


def program(kind):
    """Where it is, or nothing."""
    return shutil.which(KINDS[kind][1], path=os.environ["PATH"] + ":/usr/sbin")


def lines(kind, document):
    """What a document says about this web server."""
    language = KINDS[kind][0]
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def web_server(kind, folder, django, server=None, listen=None):
    """Runs it: everything to Django, and with a server /djaffar/ to that. Gives its address."""
    said = ""
    if server:
        [said] = lines(kind, ROOT / "docs/deployment.md")
        assert SERVER in said
        said = said.replace(SERVER, server)
    listen = listen or f"127.0.0.1:{free_port()}"
    config = KINDS[kind][2].replace("LINES", said).replace("DJANGO", django)
    with running(kind, folder, config, listen) as url:
        yield url


@contextmanager
def running(kind, folder, config, listen):
    """Runs it with this configuration."""
    folder.mkdir(exist_ok=True)
    users = {"nginx": "user root;", "apache": "User www-data\nGroup www-data"}
    as_root = users.get(kind, "") if os.getuid() == 0 else ""
    for name, value in {"FOLDER": str(folder), "LISTEN": listen, "USER": as_root}.items():
        config = config.replace(name, value)
    (folder / "config").write_text(config)
    command = [
        program(kind),
        *(each.replace("CONFIG", str(folder / "config")) for each in KINDS[kind][3]),
    ]
    log = open(folder / "log", "wb")
    home = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    child = subprocess.Popen(command, stdout=log, stderr=log, env=home)
    try:
        _wait(listen, child, folder)
        yield f"http://{listen}"
    finally:
        child.terminate()
        child.wait(timeout=20)


def _wait(listen, child, folder):
    host, port = listen.split(":")
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            said = "".join(path.read_text() for path in folder.glob("*log"))
            assert child.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.05)
