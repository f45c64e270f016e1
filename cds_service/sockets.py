"""Sockets that end at a deadline, and connect only to addresses that were checked."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from cds_service.deadline import Deadline

Allows = Callable[[str], bool]
"""Whether an IP address may be connected to."""

_PATIENCE_WITH_NAMES = 1.0
"""Seconds after which a look-up that hangs is no longer waited for by new callers: they start another."""
_NEGLIGIBLE = 0.001
"""Seconds by which an operation may end late because the time that is left was not set anew for it."""


class Timed(socket.socket):
    """A socket whose timeout is not for each operation but for all together, from the moment when it was set."""

    _until = _set = 0.0

    def settimeout(self, value: float | None) -> None:
        assert value is not None, "everything here ends"
        self._set = time.monotonic()
        self._until = self._set + value
        super().settimeout(value)

    def gettimeout(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._shorten()
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._shorten()
        return super().send(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._shorten()
        super().sendall(*args, **kwargs)

    def _shorten(self) -> None:
        now = time.monotonic()
        left = self._until - now
        if left <= 0:
            raise TimeoutError("the deadline is over")
        if now - self._set > _NEGLIGIBLE:  # the kernel is asked, and another thread goes on meanwhile
            self._set = now
            super().settimeout(left)


class Encrypted(Timed, ssl.SSLSocket):
    pass


def connected(connection: HTTPConnection, allows: Allows) -> socket.socket:
    """Connect to the addresses that were checked, not to a name that could be resolved anew to another."""
    assert isinstance(connection.timeout, float)
    deadline = Deadline.after(connection.timeout)
    try:
        found = _resolved(connection.host.strip("[]"), connection.port or 0, deadline.left)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "the host's name was not resolved in time") from error
    except (OSError, UnicodeError) as error:
        raise NewConnectionError(connection, "the host's name is not known") from error
    if not all(allows(str(address[0])) for _, address in found):
        raise NewConnectionError(connection, "the host lies where it may not")
    for others, (family, address) in zip(reversed(range(len(found))), found, strict=True):
        try:
            made = Timed(family, socket.SOCK_STREAM)
        except OSError:  # a family that this machine does not have
            continue
        try:
            for option in connection.socket_options or ():
                made.setsockopt(*option)
            made.settimeout(deadline.left / (1 + others))  # one that is silent leaves time for the others
            made.connect(address)
            made.settimeout(deadline.left)
        except OSError:
            made.close()
        else:
            return made
    if deadline.is_over:
        raise ConnectTimeoutError(connection, "the host did not answer in time")
    raise NewConnectionError(connection, "the host could not be reached")


# Names --------------------------------------------------------------------------------------------------------------

_Found = list[tuple[int, Any]]
"""(address family, socket address) of each address, once."""

_lookups: dict[tuple[str, int], tuple[Future[_Found], float]] = {}
"""Those that are under way, and when each was begun."""
_looking = threading.Lock()


def _resolved(host: str, port: int, seconds: float) -> _Found:
    """The addresses of a host. A name server cannot be hurried, so it is waited for in a thread of its own.

    All who ask for one host at once share a look-up; its answer is kept for nobody else. Raises OSError, TimeoutError
    among them.
    """
    try:
        return _ask(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    with _looking:
        asked, begun = _lookups.get((host, port), (None, 0.0))
        if asked is None or time.monotonic() - begun > _PATIENCE_WITH_NAMES:
            asked = Future()
            _lookups[host, port] = (asked, time.monotonic())
            threading.Thread(target=_look_up, args=(host, port, asked), name="names", daemon=True).start()
    return asked.result(seconds)


def _look_up(host: str, port: int, asked: Future[_Found]) -> None:
    """Answers those who share the look-up. It is no longer under way by then: who asks after an answer asks anew."""
    found: _Found | Exception
    try:
        found = _ask(host, port, 0)
    except (OSError, UnicodeError) as error:
        found = error
    with _looking:
        if _lookups.get((host, port), (None,))[0] is asked:
            del _lookups[host, port]
    if isinstance(found, Exception):
        asked.set_exception(found)
    else:
        asked.set_result(found)


def _ask(host: str, port: int, flags: int) -> _Found:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))
