"""Today's ClickHouse for tests: the engine of chdb-core behind a little of its HTTP interface.

    shim.py DATA-FOLDER PORT

Takes what Djaffar sends: a query and settings in the URL, a block as the body or as the file of a
form. Everything else is the engine's. Like a server it refuses settings that it does not know.
"""

import re
import sys
import tempfile
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

NOT_SETTINGS = {"query", "database", "query_id", "wait_end_of_query"}
engine = Session(sys.argv[1])
lock = threading.Lock()
USERS = {"default": "", "djaffar": "se/cret"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            # A server reads on and finds too little; nobody is there to be answered.
            self.close_connection = True
        parameters = dict(parse_qsl(urlsplit(self.path).query))
        user = self.headers.get("X-ClickHouse-User", "default")
        if USERS.get(user) != self.headers.get("X-ClickHouse-Key", ""):
            self.answer(403, b"Code: 516. DB::Exception: Authentication failed", 516)
            return
        try:
            with lock:
                self.answer(200, self.run(parameters, body))
        except Exception as error:
            text = str(error)
            code = re.search(r"Code: (\d+)", text)
            self.answer(500, text.encode(), code.group(1) if code else 1000)

    def run(self, parameters, body):
        query = parameters.get("query") or ""
        if not query:
            query, body = body.decode(), b""
        settings = {k: v for k, v in parameters.items() if k not in NOT_SETTINGS}
        with tempfile.NamedTemporaryFile() as file:
            if self.headers.get_content_type() == "multipart/form-data":
                query, settings = self.table(query, settings, body, file)
            elif body:
                file.write(body)
                file.flush()
                query = re.sub(
                    r"FORMAT (\w+)$", rf"FROM INFILE '{file.name}' SETTINGS {{}} FORMAT \1", query
                )
            said = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
            if " SETTINGS {} " in query:
                query = query.replace("SETTINGS {} ", f"SETTINGS {said} " if said else "")
            elif said and query.startswith("INSERT"):
                query = query.replace(" SELECT ", f" SETTINGS {said} SELECT ", 1)
            engine.query(f"USE {parameters.get('database') or 'default'}")
            form = re.search(r"\s+FORMAT (\w+)\s*$", query)
            if form and not query.startswith("INSERT"):
                asked = query[: form.start()] + (f" SETTINGS {said}" if said else "")
                return engine.query(asked, form.group(1)).bytes()
            return engine.query(query, "TabSeparated").bytes()

    def table(self, query, settings, body, file):
        """The file of a form, as the table that it is named for."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + body).get_payload()
        name = parts[0].get_param("name", header="Content-Disposition")
        file.write(split(body, self.headers.get_param("boundary")))
        file.flush()
        form, structure = settings.pop(f"{name}_format"), settings.pop(f"{name}_structure")
        source = f"FROM file('{file.name}', '{form}', '{structure}')"
        return re.sub(rf"FROM {name}\b", lambda _: source, query), settings

    def answer(self, status, body, code=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def split(body, boundary):
    """The bytes of the first part; the parser of mail would mend line ends."""
    mark = b"--" + boundary.encode()
    start = body.index(b"\r\n\r\n") + 4
    return body[start : body.index(b"\r\n" + mark, start)]


ThreadingHTTPServer.request_queue_size = 64
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
