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

    def ask(self, target: str, head: bytes, deadline: Deadline) -> Answer | None:
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
        answer.lent = self, connection
        if answer.is_usual and "content-encoding" not in answer.headers:
            return answer
        return HTTPResponse(
            answer,
            HTTPHeaderDict(answer.headers.items()),
            answer.status,
            preload_content=False,
            original_response=answer,
            pool=self,
            connection=connection,
            request_method="GET",
        )

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
    def ask(self, target: str, head: bytes, seconds: float) -> Plain:
        assert self.sock is not None
        self.sock.settimeout(seconds)
        with suppress(BrokenPipeError, ConnectionResetError):  # what was answered before can still be read
            self.sock.sendall(b"GET " + target.encode("ascii") + head)
        answer = Plain(self.sock, method="GET")
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        if answer.will_close:
            self.close()  # the answer keeps the socket until it has been read
        return answer


class Plain(client.HTTPResponse):
    """An answer whose head, if it has come whole and is as nearly all are, is read without a parser for e-mails."""

    is_usual = False
    """Its head was so. One of which that is not true is for urllib3, which looks at more."""
    lent: tuple[Pool, _Connection] | None = None
    """What goes back when it has been read."""
    _is_settled = False
    """It was read to its end, or its connection has been closed."""

    @property
    def length_remaining(self) -> int | None:
        return self.length

    def read1(self, n: int = -1, decode_content: bool = False) -> bytes:
        chunk = super().read1(n)
        if self.length == 0 or (not chunk and self.length is None):
            self._is_settled = True
        elif not chunk:
            raise client.IncompleteRead(b"", self.length)
        return chunk

    def close(self) -> None:
        if self.lent is not None and not self._is_settled:
            self._is_settled = True
            self.lent[1].close()
        super().close()

    def release_conn(self) -> None:
        if self.lent is not None:
            (pool, connection), self.lent = self.lent, None
            pool._put_conn(connection)

    def begin(self) -> None:
        reader: Any = self.fp
        found = _HEAD.match(reader.peek(1))
        if found is None or not self._is_framed(_headers(found[2])):
            super().begin()
            return
        reader.read(found.end())
        self.is_usual = True
        self.version, self.code, self.status = 11, client.OK, client.OK
        self.reason = (found[1] or b"").decode("ascii").strip()

    def _is_framed(self, headers: dict[str, str]) -> bool:
        """Whether these say in one of the usual ways where the body ends. They are taken over then."""
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if coding is None and length is not None and _LENGTH.fullmatch(length):
            self.chunked, self.length = False, int(length)
        elif coding == "chunked" and length is None:
            self.chunked, self.length = True, None
        else:
            return False
        made: Any = headers
        self.headers = self.msg = made
        self.chunk_left = None
        self.will_close = "close" in headers.get("connection", "").lower()
        return True


Answer = Plain | HTTPResponse


def _headers(lines: bytes) -> dict[str, str]:
    """By their names in small letters; none where a name stands twice."""
    pairs = [line.partition(":")[::2] for line in lines.decode("ascii").splitlines()]
    found = {name.lower(): value.strip() for name, value in pairs}
    return found if len(found) == len(pairs) else {}
