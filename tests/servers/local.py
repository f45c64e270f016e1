"""A scripted HTTP server on a free port of 127.0.0.1, which answers as a test says, also as badly as that."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FHIR_JSON = "application/fhir+json"
FOREVER = 3600.0


@dataclass(frozen=True)
class Reply:
    """One answer. Times are in seconds, and all waiting ends when the server is closed."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": FHIR_JSON})
    wait: float = 0
    """Before the first byte."""
    pause: float = 0
    """After each byte of the body."""
    head_pause: float = 0
    """After each byte of the head."""
    claims: int | None = None
    """The Content-Length, where it is not that of the body; the connection is then closed after the body."""
    hang_up: bool = False
    """Close the connection after the answer without saying so in it."""
    instead: bytes | None = None
    """Bytes in the place of an HTTP answer, after which the connection is closed."""


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes = b""
    method: str = "GET"


Script = Callable[[Received], Reply]


class LocalServer:
    """What a test sees of the running server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.base = f"http://127.0.0.1:{port}/fhir"
        self.received: list[Received] = []
        self.connections: list[socket.socket] = []


@contextmanager
def local_server(script: Script | Reply, port: int = 0) -> Iterator[LocalServer]:
    """Run the server while the context lasts. All connections and threads are gone when it is left.

    `port` is one where nothing listens; without it, any.
    """
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.do_GET()

        def do_DELETE(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            request = Received(self.path, headers, body, self.command)
            seen.received.append(request)
            reply = script(request) if callable(script) else script
            try:
                self._answer(reply)
            except OSError:  # the client, or the test, has had enough
                self.close_connection = True

        def _answer(self, reply: Reply) -> None:
            if reply.wait:
                self._rest(reply.wait)
            if reply.instead is not None:
                self.wfile.write(reply.instead)
                self.close_connection = True
                return
            length = len(reply.body) if reply.claims is None else reply.claims
            headers = {**reply.headers, "Content-Length": str(length)}
            lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
            self._send("\r\n".join([*lines, "", ""]).encode("latin-1"), reply.head_pause)
            self._send(reply.body, reply.pause)
            self.close_connection = reply.hang_up or reply.claims is not None

        def _send(self, data: bytes, pause: float) -> None:
            if not pause:
                self.wfile.write(data)
                return
            for i in range(len(data)):
                self.wfile.write(data[i : i + 1])
                self._rest(pause)

        def _rest(self, seconds: float) -> None:
            if closing.wait(seconds):
                raise ConnectionAbortedError("the test is over")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a test looks at what was received."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # so that closing waits for them
        request_queue_size = 128

        def get_request(self) -> tuple[socket.socket, object]:
            connection, address = super().get_request()
            seen.connections.append(connection)
            return connection, address

        def handle_error(self, request: object, client_address: object) -> None:
            """Nothing: clients hang up in the middle on purpose."""

    with Server(("127.0.0.1", port), Handler) as server:
        seen = LocalServer(server.server_address[1])
        accepting = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        accepting.start()
        try:
            yield seen
        finally:
            closing.set()
            server.shutdown()
            accepting.join()
            for connection in seen.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
