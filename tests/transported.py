"""A server that is asked within a deadline."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from cds_service import transport
from cds_service.deadline import Deadline
from cds_service.transport import Budget, Failure, Prepared

SECONDS = 0.3
MARGIN = 5.0
"""For a busy machine. Without a deadline each of these servers would hold its caller for as long as it likes."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
GOOD = HEAD + b"\r\n{}"
HEADERS = {"Accept": "application/fhir+json", "Authorization": "Bearer a.b-c"}

Talk = Callable[[socket.socket, threading.Event], None]
"""What a server does with a connection until the event is set."""


class Talking:
    """A TCP server, and what it knows of its connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.begun = 0
        self.open = 0


@contextmanager
def talking(talk: Talk) -> Iterator[Talking]:
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    server = Talking(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        server.begun += 1
        server.open += 1
        with connection, suppress(OSError):
            talk(connection, over)
        server.open -= 1

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join(5)


def drip(start: bytes, byte: bytes, pause: float = 0.02) -> Talk:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(start)
        while not over.wait(pause):
            connection.sendall(byte)

    return talk


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Reads and says nothing; ends when the other side closes."""
    connection.settimeout(0.05)
    while not over.is_set():
        with suppress(TimeoutError):
            if connection.recv(65536) == b"":
                return


def polite(connection: socket.socket, over: threading.Event) -> None:
    """HTTP with keep-alive."""
    connection.settimeout(0.05)
    while not over.is_set():
        with suppress(TimeoutError):
            if connection.recv(65536) == b"":
                return
            connection.sendall(GOOD)


@contextmanager
def kept(
    talk: Talk, wrapped: Callable[[Talk], Talk] = lambda talk: talk, ca_bundle: str | None = None
) -> Iterator[tuple[Prepared, str, Talking]]:
    """One that has asked once, its base, and the server, which goes on with `talk` on the same connection.

    `wrapped` puts the server's talk into TLS, with a certificate of the `ca_bundle`.
    """

    def talked(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(GOOD)
        talk(connection, over)

    with talking(wrapped(talked)) as server, transport.session(ca_bundle=ca_bundle) as session:
        base = f"{'https' if ca_bundle else 'http'}://127.0.0.1:{server.port}/fhir/"
        prepared = Prepared(session, base, HEADERS)
        assert prepared.get(base + "Patient/1", Deadline.after(10), Budget(2)) == b"{}"
        yield prepared, base, server


def get(url: str, seconds: float = SECONDS, size: int = 1000, ca_bundle: str | None = None) -> bytes:
    with transport.session(ca_bundle=ca_bundle) as session:
        return transport.get(session, url, {}, Deadline.after(seconds), Budget(size))


def failed(url: str, seconds: float = SECONDS, ca_bundle: str | None = None) -> tuple[type[Failure], float]:
    """(how it failed, seconds)"""
    began = time.monotonic()
    with pytest.raises(Failure) as failure:
        get(url, seconds, ca_bundle=ca_bundle)
    return failure.type, time.monotonic() - began


DRIPS = {
    "says nothing": silent,
    "drips its first line": drip(b"", b"H"),
    "drips a header": drip(HEAD + b"X: ", b"a"),
    "drips headers": drip(HEAD, b"X: y\r\n"),
    "says again and again that it goes on": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips a body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "drips a body without end": drip(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" "),
    "drips chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "drips the size of a chunk": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "drips trailers": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "drips a compressed body": drip(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n", gzip.compress(b"")[:1]
    ),
    "drips what is read over": drip(b"HTTP/1.1 302 Found\r\nContent-Length: 100000\r\nX: ", b"a"),
}
