"""One origin for Django and Djaffar, as a site's web server makes it: /djaffar/ goes to Djaffar.

`python proxy.py DJANGO DJAFFAR` prints where it is.
"""

import http.client
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy(BaseHTTPRequestHandler):
    django = djaffar = None

    def pass_on(self):
        upstream = self.djaffar if self.path.startswith("/djaffar/") else self.django
        connection = http.client.HTTPConnection(upstream.removeprefix("http://"), timeout=30)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name != "Connection"}
        headers["X-Forwarded-For"] = self.client_address[0]
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_OPTIONS = pass_on


if __name__ == "__main__":
    Proxy.django, Proxy.djaffar = sys.argv[1:]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    print("http://127.0.0.1:%d" % server.server_port, flush=True)
    server.serve_forever()
