"""What the tests of failing databases share."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from cds_service.hooks.replay import SqlReplayGuard
from tests.servers.postgres import Postgres
from tests.store.build import NOW

BACK_SECONDS = 5.0
"""So soon after a fault all is as before; what shows it is a test of time, the others only show that it comes."""
SLACK = 10.0
"""For a machine that is busy with something else: what is shown is that nothing waits for the fault to end."""


def token() -> str:
    return str(uuid4())


def used_once(guard: SqlReplayGuard) -> float:
    """Use a token, and again; the seconds that the first took."""
    jti, began = token(), time.monotonic()
    assert guard.first_use("i", jti, NOW)
    taken = time.monotonic() - began
    assert not guard.first_use("i", jti, NOW), "this worker remembers its own"
    return taken


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@contextmanager
def stopped(server: Postgres) -> Iterator[None]:
    """A server whose connections stay open while it does nothing: every process of it is stopped."""
    main = server._process
    assert main is not None
    folder = Path(f"/proc/{main.pid}/task/{main.pid}/children")
    children = [int(pid) for pid in folder.read_text().split()]
    for pid in (main.pid, *children):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in (main.pid, *children):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def away(server: Postgres) -> Iterator[None]:
    """A server that is not there."""
    server.stop()
    try:
        yield
    finally:
        server.start()
