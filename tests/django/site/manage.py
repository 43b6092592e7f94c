"""manage.py, with two commands more.

serve: the site on a free port, which it prints. script: runs what stands in SITE_SCRIPT.
"""

import os
import sys


def serve():
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    from django.core.wsgi import get_wsgi_application

    try:
        from socketserver import ThreadingMixIn
    except ImportError:  # Python 2
        from SocketServer import ThreadingMixIn

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def address_string(self):
            return self.client_address[0]

    application = get_wsgi_application()
    server = make_server("127.0.0.1", 0, application, Server, Handler)
    print("http://127.0.0.1:%d" % server.server_port)
    sys.stdout.flush()
    server.serve_forever()


def script():
    import django

    django.setup()
    exec(os.environ["SITE_SCRIPT"], {})


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    if sys.argv[1:] == ["serve"]:
        serve()
    elif sys.argv[1:] == ["script"]:
        script()
    else:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
