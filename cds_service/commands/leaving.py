"""How a worker goes: it takes no more connections, answers on those that it has, and only then stops.

The server (granian), when it is told to stop, closes at once each connection on which no byte of a request has come.
A request that is on its way is then lost: the sender reads no answer and cannot know whether it was judged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cds_service.web.door import Door

log = logging.getLogger("ketamine_cds")

_LOOK = 0.05
"""Seconds between two looks at the connections."""
_BEFORE_A_STOP = 0.5
"""Seconds for a first request where the whole service stops: nobody answers a second one in any case."""


async def for_another(door: Door, idle_seconds: float) -> None:
    """Go because another worker has taken this one's place.

    Whoever keeps a connection learns from its last answer that it is closed, or has been idle for as long as any
    connection may be.
    """
    await _leave(door, idle_seconds, waits_for_idle=True)


async def for_good(door: Door) -> None:
    """Go because the service stops: connections on which nothing was asked yet have a moment, idle ones have none."""
    await _leave(door, _BEFORE_A_STOP, waits_for_idle=False)


async def _leave(door: Door, seconds: float, waits_for_idle: bool) -> None:
    door.closes = True
    end = time.monotonic() + seconds
    try:
        port = _take_no_more()
        looks_without = 0
        while looks_without < 2 and time.monotonic() < end:  # one look may miss what is being accepted
            await asyncio.sleep(_LOOK)
            open_ones = [each.caller for each in _sockets() if each.port == port and each.caller is not None]
            awaited = open_ones if waits_for_idle else [each for each in open_ones if not door.knows(each)]
            looks_without = 0 if awaited else looks_without + 1
    except OSError as error:
        log.warning("a worker stops without waiting for requests that may be on their way: %s", error.strerror)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # the server finishes the answers in hand


def _take_no_more() -> int | None:
    """Put a socket that nobody connects to in the place of the listening one; the port of that, if there is one.

    The parent and the other workers share it, so it must stay open with what waits in its queue. The server cannot be
    told to accept no more without closing what it has accepted.
    """
    for each in _sockets():
        if each.is_listening:
            with socket.socket(socket.AF_UNIX) as deaf:
                deaf.bind("")  # to a name that the kernel chooses
                deaf.listen(1)
                deaf.setblocking(False)
                os.dup2(deaf.fileno(), each.number, inheritable=False)
            return each.port
    return None


@dataclass(frozen=True)
class _Socket:
    number: int
    port: int
    is_listening: bool
    caller: str | None
    """The other end, as the server writes addresses."""


def _sockets() -> Iterator[_Socket]:
    """Those of this process that have a port, the server's among them."""
    for name in Path("/dev/fd").iterdir():
        try:
            found = socket.socket(fileno=int(name.name))
        except OSError:  # no socket, or closed meanwhile
            continue
        try:
            seen = _seen(found)
        finally:
            found.detach()  # it stays open, and whose it was
        if seen is not None:
            yield seen


def _seen(found: socket.socket) -> _Socket | None:
    try:
        if found.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        port: int = found.getsockname()[1]
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return _Socket(found.fileno(), port, True, None)
        host, theirs = found.getpeername()[:2]
    except OSError:  # not connected, or closed meanwhile
        return None
    return _Socket(found.fileno(), port, False, f"[{host}]:{theirs}" if ":" in host else f"{host}:{theirs}")
