"""A closed loop over one connection: the next request leaves when the last answer is whole."""

from __future__ import annotations

import gc
import time
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection

RECONNECT_AFTER = 20
"""Requests on one connection: two connections may meet at one worker, and should not do so for a whole lap."""
_PATIENCE = 30.0
_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Loop:
    """What one loop saw."""

    seconds: list[float]
    """From the first byte sent to the last byte received, for each request."""
    began: float
    ended: float


class WrongAnswer(Exception):
    """An answer that is not the expected one: what it took does not count."""


def prepare() -> None:
    """A measuring process has nothing to collect, and must not pause for it."""
    gc.collect()
    gc.freeze()
    gc.disable()


def loop(port: int, path: str, body: bytes, expected: bytes, count: int, pace: float = 0.0) -> Loop:
    """Post `body` to `path` `count` times, or one each `pace` seconds where the answers come sooner.

    Raises WrongAnswer unless each answer is 200 and `expected`.
    """
    seconds = []
    began = time.perf_counter()
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        for number in range(count):
            if number % RECONNECT_AFTER == 0:
                connection.close()
                connection.connect()
            start = time.perf_counter()
            status, answer = _post(connection, path, body)
            seconds.append(time.perf_counter() - start)
            if (status, answer) != (200, expected):
                raise WrongAnswer(f"{path} answered {status}: {answer[:300]!r}")
            time.sleep(max(0.0, start + pace - time.perf_counter()))
    return Loop(seconds, began, time.perf_counter())


def once(port: int, path: str, body: bytes) -> bytes:
    """The answer to one request. Raises WrongAnswer where it is not 200."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        status, answer = _post(connection, path, body)
    if status != 200:
        raise WrongAnswer(f"{path} answered {status}: {answer[:300]!r}")
    return answer


def _post(connection: HTTPConnection, path: str, body: bytes) -> tuple[int, bytes]:
    connection.request("POST", path, body, _HEADERS)
    response = connection.getresponse()
    return response.status, response.read()
