"""What dying costs: `make losses`, or python -m bench.losses [--seconds 6] [--only WORD].

Four clients post a ketamine order, each call on a connection of its own, while a worker or the parent is killed,
stopped, reloaded or asked to end, the disk of the store is full, or its PostgreSQL is away. For each: orders without
an answer, the time until the next answer (and the next record, where the store failed), and records of answered
orders that are not in the store. Stopped workers count as hung after five seconds. A full disk needs the right to
mount one.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from bench import servers
from bench.servers import Server
from cds_service.commands.examples import AS_OF, moved, read
from cds_service.fhir import lenient
from tests.servers import postgres
from tests.servers.postgres import Postgres

CLIENTS = 4
_PATH = "/cds-services/ketamine-order-sign"
_HEADERS = {"Content-Type": "application/json"}
_PATIENCE = 10.0
_COUNT = "SELECT count(*) FROM invocation"
_AWAY = 5.0
"""Seconds for which a store is away."""
_SMALL_DISK = "16m"
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


@dataclass(frozen=True)
class Place:
    """Where the service of one fault keeps its records."""

    state_dir: str
    store: str | None = None
    """The URL, where it is not the file in the state folder."""
    postgres: Postgres | None = None

    @property
    def settings(self) -> dict[str, str]:
        return {"state_dir": self.state_dir} | ({"store": self.store} if self.store else {})

    def records(self) -> int:
        if self.store is None:
            with closing(sqlite3.connect(f"{self.state_dir}/store.sqlite")) as file:
                found: int = file.execute(_COUNT).fetchone()[0]
                return found
        with psycopg.connect(self.store) as connection:
            row = connection.execute(_COUNT).fetchone()
            return int(row[0]) if row else 0


class NotHere(Exception):
    """A fault that cannot be made on this machine; the message says why."""


@dataclass(frozen=True)
class Fault:
    what: str
    act: Callable[[Server, Place], None]
    workers: int = 2
    place: Callable[[], AbstractContextManager[Place]] = lambda: on_a_disk()
    is_of_the_store: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.losses", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=6, help="load before and after each fault (6)")
    parser.add_argument("--only", default="", help="faults whose name holds this word")
    given = parser.parse_args(arguments)
    print("| what | orders lost | answered again after | records lost |\n|---|---|---|---|")
    for fault in (each for each in FAULTS if given.only in each.what):
        try:
            with fault.place() as place:
                print(_row(fault, place, given.seconds), flush=True)
        except NotHere as error:
            print(f"| {fault.what} | not measured: {error} | | |", flush=True)
    return 0


def _row(fault: Fault, place: Place, seconds: float) -> str:
    again = None
    with servers.service(fault.workers, **place.settings, log_level="ERROR", spare_workers="1") as server:
        time.sleep(seconds)  # the spare worker is loaded
        stop, calls = threading.Event(), Calls()
        threads = [threading.Thread(target=_load, args=(server.port, stop, calls)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        at = time.monotonic()
        fault.act(server, place)
        free = _until_free(server.port) if fault.act is kill_the_parent else None
        if fault.is_of_the_store:
            again = _until_recorded(place)
        time.sleep(0 if fault.act in (kill_the_parent, end, interrupt) else seconds)
        stop.set()
        for thread in threads:
            thread.join()
    kept = place.records()
    if fault.act in (kill_the_parent, end, interrupt):  # nobody serves any more: only calls that were under way count
        lost = sum(not ok and begun < at for begun, _, ok in calls.made)
        after = f"the port is free after {free:.2f} s" if free is not None else "it ended"
    else:
        lost, answer = calls.lost, calls.next_answer(at)
        after = f"{answer:.2f} s" if answer is not None else "never"
    if again is not None:
        longest = max(done - begun for begun, done, ok in calls.made if ok)
        after += f" (the slowest {longest:.2f} s), recorded again {again:.2f} s after the fault"
    orders, records = f"{lost} of {calls.answered + lost}", f"{calls.answered - kept} of {calls.answered}"
    return f"| {fault.what} | {orders} | {after} | {records} |"


def _until_recorded(place: Place) -> float:
    begun = time.monotonic()
    before = place.records()
    while place.records() <= before:
        time.sleep(0.02)
    return time.monotonic() - begun


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


def _until_free(port: int) -> float:
    begun = time.monotonic()
    while True:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.01)
        else:
            return time.monotonic() - begun


# Places -------------------------------------------------------------------------------------------------------------


@contextmanager
def on_a_disk() -> Iterator[Place]:
    with TemporaryDirectory() as folder:
        yield Place(folder)


@contextmanager
def on_a_small_disk() -> Iterator[Place]:
    """A file system of its own, in memory, so that nobody else's is filled."""
    with TemporaryDirectory() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK}", "tmpfs", folder], capture_output=True, text=True
        )
        if mounted.returncode:
            raise NotHere("no file system can be mounted here")
        try:
            yield Place(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


@contextmanager
def on_postgres() -> Iterator[Place]:
    why_not = postgres.why_not()
    if why_not:
        raise NotHere(why_not)
    with postgres.started() as server, TemporaryDirectory() as folder:
        yield Place(folder, server.database(), server)


# Faults -------------------------------------------------------------------------------------------------------------


def kill_a_worker(server: Server, place: Place) -> None:
    os.kill(server.workers()[0], signal.SIGKILL)


def stop_a_worker(server: Server, place: Place) -> None:
    os.kill(server.workers()[0], signal.SIGSTOP)


def reload(server: Server, place: Place) -> None:
    os.kill(server.pid, signal.SIGHUP)
    time.sleep(12)


def kill_the_parent(server: Server, place: Place) -> None:
    os.kill(server.pid, signal.SIGKILL)


def end(server: Server, place: Place) -> None:
    os.kill(server.pid, signal.SIGTERM)
    time.sleep(3)


def interrupt(server: Server, place: Place) -> None:
    """As a terminal does: every process is sent it."""
    for pid in (*server.workers(), server.pid):
        os.kill(pid, signal.SIGINT)
    time.sleep(3)


def fill_the_disk(server: Server, place: Place) -> None:
    """To the last byte, all the time: what the service frees itself is taken as well."""
    stuffing, until = Path(place.state_dir) / "stuffing", time.monotonic() + _AWAY
    with stuffing.open("wb", buffering=0) as file:
        while time.monotonic() < until:
            try:
                file.write(bytes(4096))
            except OSError:
                time.sleep(0.01)
    stuffing.unlink()


def stop_postgres(server: Server, place: Place) -> None:
    assert place.postgres is not None
    place.postgres.stop()
    time.sleep(_AWAY)
    place.postgres.start()


FAULTS = (
    Fault("`kill -9` of one of two workers", kill_a_worker),
    Fault("`kill -9` of the only worker, a spare one waits", kill_a_worker, workers=1),
    Fault("`kill -STOP` of one of two workers", stop_a_worker),
    Fault("`kill -HUP` of the parent", reload),
    Fault("`kill -9` of the parent", kill_the_parent),
    Fault("`kill -TERM` of the parent", end),
    Fault("Ctrl-C", interrupt),
    Fault("the disk is full for 5 s", fill_the_disk, place=on_a_small_disk, is_of_the_store=True),
    Fault("PostgreSQL is stopped for 5 s and started", stop_postgres, place=on_postgres, is_of_the_store=True),
)

if __name__ == "__main__":
    sys.exit(main())
