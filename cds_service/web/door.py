"""The server's side of HTTP: a request becomes a call of the WSGI application in a thread, its body read in time.

The server (granian) hands over a request as soon as its header is there. The body is read only when the application
asks for it, on the event loop, where waiting for a slow sender can be given up: the connection is then closed. The
plain WSGI of the server has no such limit.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any

import msgspec
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from cds_service import bounds
from cds_service.hooks.errors import HeaderTooLarge, Malformed, TooSlow, operation_outcome
from cds_service.web import metrics
from cds_service.web.connections import Callers

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application."""


@dataclass(frozen=True)
class Bounds:
    """What a worker's door allows."""

    threads: int = 128
    """Requests in progress; more wait for a thread."""
    body_seconds: float = 5.0
    """For a body to arrive as a whole."""
    idle_seconds: float = 10.0
    """After which the server closes a connection on which nothing is asked."""
    workers: int = 1
    """That take connections of the same port, this one among them."""


class Body:
    """`wsgi.input`: the body of a request, which may never come."""

    def __init__(self, protocol: Any, loop: asyncio.AbstractEventLoop, seconds: float, has_length: bool) -> None:
        self.grow: Callable[[int], None] = lambda count: None
        """Told of the bytes of each piece of a body without a length; it may raise to stop the reading."""
        self.comes_on = True
        """Whether more of it may come that is worth waiting for."""
        self._protocol = protocol
        self._pieces = _arriving(protocol)
        self._loop = loop
        self._seconds = seconds
        self._has_length = has_length

    def read(self, size: int = -1) -> bytes:
        """The body, or as much of it as shows that it is longer than `size`. Once, and not on the loop's thread.

        Raises TooSlow where it has not arrived in time, Malformed where the sender broke off.
        """
        # In a context of its own: the loop keeps a timer that was called off until it would have run out, and with it
        # the context in which it was set; in the thread's, that is all that is known of the request, and its body.
        arrived: Future[bytes] = Future()
        self._loop.call_soon_threadsafe(self._begin, size, arrived, context=Context())
        try:
            return arrived.result()
        except TimeoutError as error:
            self.comes_on = False
            raise TooSlow(f"the body did not arrive within {self._seconds:g} s") from error
        except ProtocolClosed as error:
            raise Malformed("the body broke off") from error
        finally:
            del arrived  # an error in it holds this frame

    async def pass_over(self, seconds: float) -> None:
        """Let go by what is still sent: a sender that is cut off in the middle never reads why it was refused."""
        with suppress(TimeoutError, ProtocolClosed):
            async with asyncio.timeout(seconds):
                async for _ in self._pieces:
                    pass

    def _begin(self, size: int, arrived: Future[bytes]) -> None:
        self._reading = self._loop.create_task(self._read_in_time(size, arrived))  # the loop itself keeps no task

    async def _read_in_time(self, size: int, arrived: Future[bytes]) -> None:
        try:
            async with asyncio.timeout(self._seconds):  # `wait_for` would make a task more of it
                whole = await self._read(size)
            arrived.set_result(whole)
        except BaseException as error:  # a thread waits for it, whatever it is
            arrived.set_exception(error)
        finally:
            del arrived

    async def _read(self, size: int) -> bytes:
        if self._has_length:  # the server holds the sender to it
            whole: bytes = await self._protocol()
            self.comes_on = False
            return whole[: size if size >= 0 else None]
        pieces: list[bytes] = []
        length = 0
        async for piece in self._pieces:
            pieces.append(piece)
            length += len(piece)
            self.grow(len(piece))
            if 0 <= size <= length:
                break
        else:
            self.comes_on = False
        return b"".join(pieces)[: size if size >= 0 else None]


async def _arriving(protocol: Any) -> AsyncIterator[bytes]:
    async for piece in protocol:
        yield piece


class Door:
    """A WSGI application as the server calls it (RSGI).

    `started` is given the event loop before any request; `ended` is called after the last answer.
    """

    def __init__(
        self,
        application: Application,
        bounds: Bounds,
        started: Callable[[asyncio.AbstractEventLoop], None] = lambda loop: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._application = application
        self._bounds = bounds
        self._started = started
        self._ended = ended
        self._threads = ThreadPoolExecutor(bounds.threads, thread_name_prefix="call")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._callers = Callers()
        self.closes = False
        """Whether each answer is the last of its connection, and says so."""
        self._in_hand = 0
        """Requests; only the loop's thread counts them."""
        self._none_moves_before = 0.0

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._started(loop)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ended()

    def knows(self, address: str) -> bool:
        """Whether the connection from there has asked something, as far as the latest connections tell."""
        return self._callers.knows(address)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        assert self._loop is not None
        if self._callers.is_new(scope.client):
            metrics.connection_used()
        has_length = scope.headers.get("content-length") is not None
        body = Body(protocol, self._loop, self._bounds.body_seconds, has_length)
        self._in_hand += 1
        try:
            await self._loop.run_in_executor(self._threads, self._answer, scope, protocol, body)
        finally:
            self._in_hand -= 1
        if scope.method not in _NO_BODY and body.comes_on:
            await body.pass_over(_LINGER)

    def _answer(self, scope: Any, protocol: Any, read: Body) -> None:
        """In a thread. Whatever the application does, the caller is told something."""
        status, headers = HTTPStatus.INTERNAL_SERVER_ERROR.value, [("content-length", "0")]
        body = b""

        def start(line: str, given: list[tuple[str, str]], error: Any = None) -> None:
            nonlocal status, headers
            status, headers = int(line[:3]), given

        try:
            answered = self._application(_environ(scope, read), start)
            try:
                body = b"".join(answered)
            finally:
                if hasattr(answered, "close"):
                    answered.close()
        except HeaderTooLarge as error:  # of no request yet that the application could know
            metrics.shed("header")
            status, body = error.status, msgspec.json.encode(operation_outcome(error.code, str(error)))
            headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        finally:
            last = [("connection", "close")] if self.closes or self._moves(scope.scheme) else []
            protocol.response_bytes(status, [*headers, *last], body)

    def _moves(self, scheme: str) -> bool:
        """Whether the caller shall connect anew, perhaps with another worker, since two calls met in this one.

        The kernel gives a connection to any worker, however busy, and it stays there. Over TLS, which is then the
        caller's own and not a proxy's beside, to open it anew costs more than to wait for the other call.
        """
        now = time.monotonic()
        if scheme == "https" or self._in_hand < 2 or self._bounds.workers < 2 or now < self._none_moves_before:
            return False
        self._none_moves_before = now + _BETWEEN_MOVES
        metrics.connection_moved()
        return True


_BETWEEN_MOVES = 0.1
"""Seconds: where all workers have two calls each, it helps none to move."""
_LINGER = 1.0
"""Seconds for which the rest of a body is taken that was refused unread."""
_NO_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


def _environ(scope: Any, body: Body) -> dict[str, Any]:
    """PEP 3333. The service believes no header about who calls or by which name it is called.

    Raises HeaderTooLarge: what reads a header (a library, mostly) may take far longer for one that is twice as long.
    """
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO() if scope.method in _NO_BODY else body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    size = len(scope.path) + len(scope.query_string)
    for name, value in scope.headers.items():
        size += len(name) + len(value)
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH") or "_" in name:
            key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    if size > bounds.HEADER:
        raise HeaderTooLarge(f"address and header have more than {bounds.HEADER} characters")
    if "HTTP_HOST" not in environ:
        environ["HTTP_HOST"] = scope.authority or ""
    return environ
