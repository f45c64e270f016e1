"""urllib3's pools and connections for this service: they look where they go, know when to stop, and do little.

A connection that is open is asked in a shorter way than that of requests and urllib3, which open it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from http import client
from queue import Empty
from typing import Any

from urllib3 import HTTPHeaderDict, HTTPResponse, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

from cds_service.deadline import Deadline
from cds_service.sockets import Allows, Encrypted, connected

_HEAD = re.compile(rb"HTTP/1\.1 200(?: ([ -~]*))?\r\n((?:[\w!#$%&'*+.^`|~-]+:[\t -~]*\r\n){1,90})\r\n", re.ASCII)
"""The head of an answer as nearly all are. What differs is read by http.client."""
_LENGTH = re.compile("[0-9]{1,15}")


def by_scheme(allows: Allows) -> dict[str, type[HTTPConnectionPool]]:
    """Pools of connections to addresses that `allows` lets pass."""

    class PlainConnection(_Connection):
        def _new_conn(self) -> socket.socket:
            return connected(self, allows)

    class EncryptedConnection(_Connection, HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connected(self, allows)

        def connect(self) -> None:
            self.ssl_context = create_urllib3_context()
            self.ssl_context.sslsocket_class = Encrypted
            super().connect()

    class PlainPool(Pool):
        ConnectionCls = PlainConnection

    class EncryptedPool(Pool, HTTPSConnectionPool):
        ConnectionCls = EncryptedConnection

    return {"http": PlainPool, "https": EncryptedPool}


class Until(Timeout):
    """A timeout that is always what is left."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(total=None)
        self._deadline = deadline

    def clone(self) -> Timeout:
        return self

    def start_connect(self) -> float:
        return 0.0

    @property
    def connect_timeout(self) -> float:
        return self._deadline.left

    @property
    def read_timeout(self) -> float:
        return self._deadline.left


class Pool(HTTPConnectionPool):
    def written(self, headers: Mapping[str, str]) -> bytes:
        """How a request with these headers is sent, from behind its target on. Raises ValueError."""
        parts: list[bytes] = []
        connection: Any = self.ConnectionCls(host=self.host, port=self.port)
        connection.send = parts.append
        connection.request("GET", "/", headers=headers)
        return b"".join(parts).removeprefix(b"GET /")

    def ask(self, target: str, head: bytes, deadline: Deadline) -> HTTPResponse | None:
        """The answer, whose body is still to be read, over a connection that is open; None where there is none.

        Raises OSError, HTTPException.
        """
        connection = self._kept()
        if connection is None:
            return None
        try:
            answer = connection.ask(target, head, deadline.left)
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise
        answer._pool, answer._connection = self, connection
        return answer

    def _kept(self) -> _Connection | None:
        """One that is open, and on which nothing came that nobody asked for."""
        try:
            found: _Connection | None = self.pool.get(block=False) if self.pool is not None else None
        except Empty:
            return None
        if found is None or not found.is_connected:
            self._put_conn(found)
            return None
        return found


class _Connection(HTTPConnection):
    def ask(self, target: str, head: bytes, seconds: float) -> HTTPResponse:
        assert self.sock is not None
        self.sock.settimeout(seconds)
        with suppress(BrokenPipeError, ConnectionResetError):  # what was answered before can still be read
            self.sock.sendall(b"GET " + target.encode("ascii") + head)
        answer = _Answer(self.sock, method="GET")
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        if answer.will_close:
            self.close()  # the answer keeps the socket until it has been read
        headers: Any = answer.headers
        return HTTPResponse(
            body=answer,
            headers=headers if isinstance(headers, HTTPHeaderDict) else HTTPHeaderDict(headers.items()),
            status=answer.status,
            version=answer.version,
            reason=answer.reason,
            preload_content=False,
            decode_content=False,
            original_response=answer,
            request_method="GET",
        )


class _Answer(client.HTTPResponse):
    """One whose head, if it has come whole and is as nearly all are, is read without a parser for e-mails."""

    def begin(self) -> None:
        reader: Any = self.fp
        found = _HEAD.match(reader.peek(1))
        if found is None or not self._is_framed(_headers(found[2])):
            super().begin()
            return
        reader.read(found.end())
        self.version, self.code, self.status = 11, client.OK, client.OK
        self.reason = (found[1] or b"").decode("ascii").strip()

    def _is_framed(self, headers: Any) -> bool:
        """Whether these say in one of the usual ways where the body ends. They are taken over then."""
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if coding is None and length is not None and _LENGTH.fullmatch(length):
            self.chunked, self.length = False, int(length)
        elif coding == "chunked" and length is None:
            self.chunked, self.length = True, None
        else:
            return False
        self.headers = self.msg = headers
        self.chunk_left = None
        self.will_close = "close" in headers.get("connection", "").lower()
        return True


def _headers(lines: bytes) -> HTTPHeaderDict:
    found = HTTPHeaderDict()
    for line in lines.decode("ascii").splitlines():
        name, _, value = line.partition(":")
        found.add(name, value.strip())
    return found
