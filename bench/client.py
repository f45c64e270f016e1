"""A closed loop over one connection: the next request leaves when the last answer is whole."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import pairwise

RECONNECT_AFTER = 20
"""Requests on one connection: two connections may meet at one worker, and should not do so for a whole lap."""
_PATIENCE = 30.0
_HEADERS = {"Content-Type": "application/json"}
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Call:
    """What is posted where, and what must come back."""

    path: str
    body: bytes
    expected: bytes


@dataclass(frozen=True)
class Loop:
    """What one loop saw, in seconds."""

    waited: list[float]
    """From the first byte sent to the last byte received, for each call."""
    cpu: list[float]
    """What the server took of the processors from the beginning of each call to that of the next one."""
    began: float
    ended: float


class WrongAnswer(Exception):
    """An answer that is not the expected one: what it took does not count."""


def prepare() -> None:
    """A measuring process has nothing to collect, and must not pause for it."""
    gc.collect()
    gc.freeze()
    gc.disable()


def loop(port: int, calls: Sequence[Call], pids: Sequence[int] = (), pace: float = 0.0) -> Loop:
    """Make the calls one after the other, or one each `pace` seconds where the answers come sooner.

    `pids`: the processes of the server whose processor time is read. Raises WrongAnswer unless each answer is 200
    and the expected one.
    """
    waited, cpu = [], [processor_seconds(pids)]
    began = time.perf_counter()
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        for number, call in enumerate(calls):
            if number % RECONNECT_AFTER == 0:
                connection.close()
                connection.connect()
            start = time.perf_counter()
            status, answer = _post(connection, call.path, call.body)
            waited.append(time.perf_counter() - start)
            if (status, answer) != (200, call.expected):
                raise WrongAnswer(f"{call.path} answered {status}: {answer[:300]!r}")
            time.sleep(max(0.0, start + pace - time.perf_counter()))
            cpu.append(processor_seconds(pids))
    return Loop(waited, [after - before for before, after in pairwise(cpu)], began, time.perf_counter())


def processor_seconds(pids: Iterable[int]) -> float:
    """What processes have had of the processors so far, by clocks finer than /proc has; 0 where there are none."""
    seconds = 0.0
    for pid in pids:
        clock = ctypes.c_int()
        if _LIBC is not None and _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)) == 0:
            seconds += time.clock_gettime(clock.value)
    return seconds


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
