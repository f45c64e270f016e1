"""What dying costs: `make losses`, or python -m bench.losses [--seconds 6].

Four clients post a ketamine order, each call on a connection of its own, while a worker or the parent is killed,
stopped, reloaded or asked to end. For each: orders without an answer, the time until the next answer, and records of
answered orders that are not in the store. Stopped workers count as hung after five seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import servers
from bench.servers import Server
from cds_service.commands.examples import AS_OF, moved, read
from cds_service.fhir import lenient

CLIENTS = 4
_PATH = "/cds-services/ketamine-order-sign"
_HEADERS = {"Content-Type": "application/json"}
_PATIENCE = 10.0
_EXAMPLE = Path(__file__).parents[1] / "examples" / "ward-infusion-over-the-limit.json"


@dataclass
class Calls:
    """When each call began and ended, and whether it was answered."""

    made: list[tuple[float, float, bool]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return sum(ok for _, _, ok in self.made)

    @property
    def lost(self) -> int:
        return len(self.made) - self.answered

    def next_answer(self, fault: float) -> float | None:
        """Seconds from the fault to the first answer of a call that began after it."""
        return min((end - fault for begun, end, ok in self.made if ok and begun >= fault), default=None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.losses", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=6, help="load before and after each fault (6)")
    given = parser.parse_args(arguments)
    print("| what | orders lost | answered again after | records lost |\n|---|---|---|---|")
    for what, workers, fault in FAULTS:
        print(_row(what, workers, fault, given.seconds), flush=True)
    return 0


def _row(what: str, workers: int, fault: Callable[[Server], None], seconds: float) -> str:
    with TemporaryDirectory() as folder:
        settings = {"state_dir": folder, "log_level": "ERROR", "spare_workers": "1"}
        with servers.service(workers, **settings) as server:
            time.sleep(seconds)  # the spare worker is loaded
            stop, calls = threading.Event(), Calls()
            threads = [threading.Thread(target=_load, args=(server.port, stop, calls)) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            time.sleep(seconds)
            at = time.monotonic()
            fault(server)
            free = _until_free(server.port) if fault is kill_the_parent else None
            time.sleep(0 if fault in (kill_the_parent, end) else seconds)
            stop.set()
            for thread in threads:
                thread.join()
        kept = _records(Path(folder) / "store.sqlite")
    if fault in (kill_the_parent, end):  # nobody serves any more: only calls that were under way count
        lost = sum(not ok and begun < at for begun, _, ok in calls.made)
        after = f"the port is free after {free:.2f} s" if free is not None else "it ended"
    else:
        lost, again = calls.lost, calls.next_answer(at)
        after = f"{again:.2f} s" if again is not None else "never"
    return f"| {what} | {lost} of {calls.answered + lost} | {after} | {calls.answered - kept} of {calls.answered} |"


def _load(port: int, stop: threading.Event, calls: Calls) -> None:
    order = lenient.encode(moved(read(str(_EXAMPLE)), datetime.now(UTC) - AS_OF))
    while not stop.is_set():
        begun, ok = time.monotonic(), False
        with suppress(OSError, HTTPException), closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as line:
            line.request("POST", _PATH, order, _HEADERS)
            answer = line.getresponse()
            answer.read()
            ok = answer.status == 200
        calls.made.append((begun, time.monotonic(), ok))
        if not ok:
            time.sleep(0.02)


def _records(store: Path) -> int:
    with closing(sqlite3.connect(store)) as connection:
        found: int = connection.execute("SELECT count(*) FROM invocation").fetchone()[0]
        return found


def _until_free(port: int) -> float:
    begun = time.monotonic()
    while True:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.01)
        else:
            return time.monotonic() - begun


# Faults -------------------------------------------------------------------------------------------------------------


def kill_a_worker(server: Server) -> None:
    os.kill(server.workers()[0], signal.SIGKILL)


def stop_a_worker(server: Server) -> None:
    os.kill(server.workers()[0], signal.SIGSTOP)


def reload(server: Server) -> None:
    os.kill(server.pid, signal.SIGHUP)
    time.sleep(12)


def kill_the_parent(server: Server) -> None:
    os.kill(server.pid, signal.SIGKILL)


def end(server: Server) -> None:
    os.kill(server.pid, signal.SIGTERM)
    time.sleep(3)


FAULTS = (
    ("`kill -9` of one of two workers", 2, kill_a_worker),
    ("`kill -9` of the only worker, a spare one waits", 1, kill_a_worker),
    ("`kill -STOP` of one of two workers", 2, stop_a_worker),
    ("`kill -HUP` of the parent", 2, reload),
    ("`kill -9` of the parent", 2, kill_the_parent),
    ("`kill -TERM` of the parent", 2, end),
)

if __name__ == "__main__":
    sys.exit(main())
