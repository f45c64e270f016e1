"""The service with its sandbox, and the console beside it, on free ports of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from cds_service.console.app import create_console
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests.servers.ports import unused_port


@dataclass(frozen=True)
class Served:
    service: str
    console: str
    app: Flask
    """The console, for tests that need no browser."""


@contextmanager
def served(knowledge: Knowledge, **others: str) -> Iterator[Served]:
    """Both applications with their real clock: the sandbox's charts are those of this hour."""
    given = {"store": "off", **others}
    settings = Settings(
        port=unused_port(), console_port=unused_port(), sandbox="loopback", answer_deadline_ms=0, **given
    )
    console = create_console(settings, knowledge)
    with ExitStack() as stack:
        stack.enter_context(listening(create_app(settings, knowledge), settings.port))
        stack.enter_context(listening(console, settings.console_port))
        yield Served(settings.base_url, settings.console_url, console)


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: addresses name the sandbox's patients."""


@contextmanager
def listening(app: Flask, port: int) -> Iterator[None]:
    """The application on a port of this process, while the context lasts."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
