"""A client for ClickHouse's HTTP interface: asks, and reads rows as they come.

Knows addresses, literals and rows; not what is asked.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

from djaffar.options import option

#: Seconds for a connection, and between two pieces of an answer.
TIMEOUT = 60
#: What a sort may keep in the server's memory before it goes to its disk, in bytes.
SORT_MEMORY = 1_000_000_000


class ClickHouseError(Exception):
    """ClickHouse does not answer, or refuses."""


class Server:
    """The ClickHouse behind ``activity_database``; of a cluster, the first server that answers."""

    def __init__(self, url: str, password: str | None = None) -> None:
        scheme, _, rest = url.partition("://")
        if scheme not in ("clickhouse", "clickhouses"):
            raise ClickHouseError("activity_database must be clickhouse://user@host:8123/database")
        rest, _, query = rest.partition("?")
        options = parse_qs(query, keep_blank_values=True)
        secure = options.get("secure", ["0"])[-1] in ("", "1", "true", "True", "yes")
        self.tls: ssl.SSLContext | None = None
        if secure or scheme == "clickhouses":
            file = options["ca_certs"][-1] if "ca_certs" in options else None
            try:
                self.tls = ssl.create_default_context(cafile=file)
            except (OSError, ssl.SSLError) as error:
                raise ClickHouseError(f"activity_database: ca_certs: {file}: {error}") from error
            # As the server, and Python before 3.13: a root of one's own is as openssl makes it.
            self.tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        login, _, place = rest.rpartition("@")
        hosts, _, self.database = place.partition("/")
        self.user, _, inside = login.partition(":")
        self.password = unquote(inside) if password is None else password
        self.cluster = options.get("cluster", [""])[-1]
        port = 8443 if self.tls else 8123
        self.hosts = [
            host if ":" in host.rpartition("]")[2] else f"{host}:{port}"
            for shard in hosts.split("~")
            for host in shard.split("+")
        ]

    @classmethod
    def of_settings(cls) -> Server:
        """The one that ``settings.DJAFFAR`` names."""
        password = os.environ.get("DJAFFAR_ACTIVITY_PASSWORD")
        if file := option("activity_password_file"):
            with open(file) as lines:
                password = lines.read().rstrip("\r\n")
        return cls(option("activity_database", ""), password)

    def rows(self, sql: str) -> Iterator[list[str | None]]:
        """Asks, and gives each row as text, without keeping those before."""
        connection, answer = self._ask(sql + " FORMAT TabSeparated")
        width = None
        try:
            for line in answer:
                values = [
                    _unescaped(text) for text in line.decode("utf-8", "replace")[:-1].split("\t")
                ]
                # An error in the middle of an answer comes as a line of text.
                if not line.endswith(b"\n") or (width or len(values)) != len(values):
                    raise ClickHouseError(f"the answer broke off: {line[:500]!r}")
                width = len(values)
                yield values
        except (OSError, HTTPException) as error:
            raise ClickHouseError(f"the answer broke off: {error}") from error
        finally:
            connection.close()

    def _ask(self, sql: str) -> tuple[HTTPConnection, Any]:
        parameters = {
            "database": self.database or "default",
            "load_balancing": "in_order",
            "max_bytes_before_external_sort": SORT_MEMORY,
        }
        headers = {
            "X-ClickHouse-User": unquote(self.user) or "default",
            "X-ClickHouse-Key": self.password,
        }
        failed: Exception | None = None
        for host in self.hosts:
            connection = (
                HTTPSConnection(host, timeout=TIMEOUT, context=self.tls)
                if self.tls
                else HTTPConnection(host, timeout=TIMEOUT)
            )
            try:
                path = "/?" + urlencode(parameters)
                connection.request("POST", path, sql.encode(), headers)
                answer = connection.getresponse()
            except (OSError, HTTPException) as error:
                failed = error
                connection.close()
                continue
            if answer.status != 200:
                text = answer.read(2000).decode("utf-8", "replace")
                connection.close()
                raise ClickHouseError(f"ClickHouse at {host}: {text}")
            return connection, answer
        raise ClickHouseError(f"no ClickHouse answers: {failed}") from failed


_ESCAPES = {"b": "\b", "f": "\f", "r": "\r", "n": "\n", "t": "\t", "0": "\0", "N": None}


def _unescaped(text: str) -> str | None:
    """A value of TabSeparated; ``None`` for NULL."""
    if "\\" not in text:
        return text
    if text == "\\N":
        return None
    first, *rest = text.split("\\")
    parts = [first]
    index = 0
    while index < len(rest):
        part = rest[index]
        if part:
            parts.append((_ESCAPES.get(part[0]) or part[0]) + part[1:])
        else:
            # Two backslashes: what follows is not escaped.
            index += 1
            parts.append("\\" + (rest[index] if index < len(rest) else ""))
        index += 1
    return "".join(parts)


def literal(value: Any) -> str:
    """A value in ClickHouse's SQL."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
