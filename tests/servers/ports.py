"""A port for a server that a test starts, or that must not be there."""

from __future__ import annotations

import socket
from contextlib import suppress
from random import SystemRandom

_PORTS = range(11_000, 32_000)
"""Below those that the system gives to connections and to whoever asks for any: one of them may be taken before the
server that is about to start listens on it. Browsers refuse some below these."""
_given: set[int] = set()


def unused_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, another one each time."""
    while True:
        port = SystemRandom().choice(_PORTS)
        if port in _given:
            continue
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port
