"""`python -m cds_service.console`: serve the console until standard input ends. `serve` starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from io import BytesIO
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from cds_service.console.app import MOST_BYTES, create_console
from cds_service.console.process import CANNOT_LISTEN
from cds_service.errors import CdsError
from cds_service.hooks.errors import HookError
from cds_service.knowledge import load
from cds_service.settings import Settings
from cds_service.settings import load as load_settings
from cds_service.web import certificates, logs
from cds_service.web.door import Application, Bounds, Door

_THREADS = 8
_CONNECTIONS = 128


def main() -> int:
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGHUP):  # of the terminal; the service acts on them for all its processes
        signal.signal(number, signal.SIG_IGN)
    settings = load_settings()
    logs.to_stderr(settings.log_level, settings.log_format)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.console_port), family=family).close()
    except OSError:
        return CANNOT_LISTEN
    try:
        application = _application(settings)
    except CdsError as error:
        print(f"ketamine-cds: the console cannot start: {error}", file=sys.stderr)
        return 1
    asyncio.run(_server(settings, application).serve())
    return 0


def _application(settings: Settings) -> Application:
    knowledge = load(settings.base_url, settings.overlay, settings.valuesets, settings.protocols)
    return buffered(create_console(settings, knowledge))


def _server(settings: Settings, application: Application) -> Server:
    tls = certificates.check(settings)
    return Server(
        Door(application, Bounds(_THREADS, settings.body_seconds)),
        address=settings.host,
        port=settings.console_port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=settings.header_seconds * 1000),
        websockets=False,
        backpressure=_CONNECTIONS,
        log_enabled=False,
        ssl_cert=tls[0] if tls else None,
        ssl_key=tls[1] if tls else None,
        ssl_protocol_min=SSLProtocols.tls12,
    )


def buffered(application: Application) -> Application:
    """The application with its body read as a whole: the door gives it once, and Flask's forms read it in pieces."""

    def call(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        try:
            environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(MOST_BYTES + 1))
        except HookError as error:
            start(f"{error.status} {HTTPStatus(error.status).phrase}", [("Content-Length", "0")])
            return ()
        return application(environ, start)

    return call


def _end_with_the_service() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # the server's threads need no interpreter that is taken apart
