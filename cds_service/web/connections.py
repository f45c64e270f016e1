"""How many connections the port has, as the kernel says; None where it does not say (elsewhere than on Linux).

The server accepts connections and counts none that it shows; the application sees only those that ask something.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_COUNTERS = Path("/proc/self/net/netstat")
_ESTABLISHED, _LISTENING = "01", "0A"
_REMEMBERED = 4_096


@dataclass(frozen=True)
class Connections:
    open: int
    """Those that wait to be accepted among them."""
    waiting: int
    """For a worker to accept them."""
    overflows: int | None
    """That found no place to wait, of all ports of this machine or container since it began."""


def now(port: int) -> Connections | None:
    """Of the port that this service listens on, all workers together."""
    try:
        rows = [line.split() for table in _TABLES if table.exists() for line in table.read_text("ascii").splitlines()]
        counters = [line.split() for line in _COUNTERS.read_text("ascii").splitlines()]
    except OSError:
        return None
    ours = [row for row in rows if row[1].rpartition(":")[2] == f"{port:04X}"]
    waiting = [int(row[4].partition(":")[2], 16) for row in ours if row[3] == _LISTENING]
    return Connections(
        open=sum(row[3] == _ESTABLISHED for row in ours), waiting=sum(waiting), overflows=_counter(counters)
    )


def _counter(lines: list[list[str]]) -> int | None:
    """ListenOverflows: each line of names is followed by one of values."""
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if "ListenOverflows" in names:
            return int(values[names.index("ListenOverflows")])
    return None


class Callers:
    """Tells a connection that asks something for the first time; it remembers the latest only."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, None] = OrderedDict()

    def knows(self, address: str) -> bool:
        return address in self._latest

    def is_new(self, address: str) -> bool:
        """`address` is that of the caller's end, with its port."""
        if address in self._latest:
            return False
        self._latest[address] = None
        if len(self._latest) > _REMEMBERED:
            self._latest.popitem(last=False)
        return True
