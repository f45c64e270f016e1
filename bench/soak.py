"""Mixed load at half of the measured maximum: `make soak`, or python -m bench.soak [--minutes 10] [--out FILE].

Requests leave on a fixed schedule, whether or not the last answer has come, and are timed from when they were due:
what waits behind a slow one counts as slow. For each minute: errors, p50 and p99, and the memory of the workers.
The no-op then bears the same schedule at the same share of its own maximum, because a queue makes any server's p99
unsteady: two connections that meet at one worker fill it for a moment, whatever it does. --no-floor leaves that out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import client, servers
from bench.servers import Server
from cds_service.commands.examples import AS_OF, moved, read
from cds_service.fhir import lenient

ROOT = Path(__file__).parents[1]
WORKERS = 2
CLIENTS = 2
CALIBRATION = 6.0
"""Seconds in which the clients send as much as they can: that is the maximum."""
SHARE = 0.5
NO_OPS = 2
"""Orders of other drugs for each example: most of what an EHR sends is not ketamine."""
FEEDBACK = 0.2
"""Of the answers with cards those that get feedback."""
PROBES = 20
"""Calls a second to a no-op beside: too few to be a load."""
NO_OP = "/get-json/6000"
"""Where the no-op answers with as many bytes as a card has."""
_PATIENCE = 30.0
_HEADERS = {"Content-Type": "application/json"}


@dataclass
class Seen:
    """What was seen in one interval. `seconds` are those of calls, from when they were due."""

    seconds: list[float] = field(default_factory=list)
    feedback: int = 0
    errors: list[str] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        self.seconds += other.seconds
        self.feedback += other.feedback
        self.errors += other.errors


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--interval", type=float, default=60, help="seconds for each row of the table (60)")
    parser.add_argument("--no-floor", action="store_true", help="without the no-op under load, in half the time")
    parser.add_argument("--out", type=Path, help="a file for the table as well")
    given = parser.parse_args(arguments)
    spawn = multiprocessing.get_context("spawn")
    with (
        TemporaryDirectory() as folder,
        servers.service(WORKERS, state_dir=folder, log_level="WARNING") as server,
        servers.noop(WORKERS) as nothing,
        ProcessPoolExecutor(1, mp_context=spawn, initializer=client.prepare) as beside,
        ProcessPoolExecutor(CLIENTS, mp_context=spawn, initializer=client.prepare) as clients,
    ):
        seconds = given.minutes * 60
        maximum = _maximum(server, clients)
        floor = beside.submit(probe, nothing.port, time.time() + 1, seconds, given.interval)
        rows = _load(server, clients, maximum * SHARE, seconds, given.interval)
        floors = floor.result()
        text = "\n".join(_table(rows, floors, maximum, given.interval))
        if not given.no_floor:
            most = _maximum(nothing, clients, NO_OP)
            loaded = _load(nothing, clients, most * SHARE, seconds, given.interval, NO_OP)
            text += f"\n\n{_loaded(most, loaded)}"
    print(text)
    if given.out:
        given.out.write_text(f"{text}\n", "utf-8")
    return 1 if any(seen.errors for seen, _ in rows) else 0


def _maximum(server: Server, clients: ProcessPoolExecutor, path: str | None = None) -> float:
    """Requests a second, feedback among them."""
    _load(server, clients, None, CALIBRATION / 3, CALIBRATION, path)  # each worker once, before anything counts
    ((fastest, _),) = _load(server, clients, None, CALIBRATION, CALIBRATION, path)
    return (len(fastest.seconds) + fastest.feedback) / CALIBRATION


def _load(
    server: Server,
    clients: ProcessPoolExecutor,
    rate: float | None,
    seconds: float,
    interval: float,
    path: str | None = None,
) -> list[tuple[Seen, list[float]]]:
    """For each interval what all clients saw, and each worker's RSS in MB at its end. No rate: all they can."""
    share = rate / CLIENTS if rate else None
    begin = time.time() + 1  # when all of them are ready
    given = (share, begin, seconds, interval, path)
    jobs = [clients.submit(send, server.port, number, *given) for number in range(CLIENTS)]
    memory = []
    for number in range(_intervals(seconds, interval)):
        time.sleep(max(0.0, begin + min(seconds, (number + 1) * interval) - time.time()))
        memory.append([worker["Rss"] for worker in server.memory()])
    rows = [Seen() for _ in memory]
    for job in jobs:
        for row, seen in zip(rows, job.result(), strict=True):
            row.add(seen)
    return list(zip(rows, memory, strict=True))


def _intervals(seconds: float, interval: float) -> int:
    return max(1, -int(-seconds // interval))


def send(
    port: int, seed: int, rate: float | None, begin: float, seconds: float, interval: float, path: str | None = None
) -> list[Seen]:
    """One client: calls on schedule from `begin` (seconds of the system's clock) on; what it saw in each interval.

    `path`: where all bodies go, in place of their services.
    """
    rng, loads = random.Random(seed), list(_mixed())
    found = [Seen() for _ in range(_intervals(seconds, interval))]
    time.sleep(max(0.0, begin - time.time()))
    start, number = time.perf_counter(), 0
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        while True:
            now = time.perf_counter() - start
            due = number / rate if rate else now
            if due >= seconds:
                return found
            if due > now:
                time.sleep(due - now)
            if number % client.RECONNECT_AFTER == 0:
                connection.close()
            seen = found[min(len(found) - 1, int(due // interval))]
            service, body = rng.choice(loads)
            answer = _post(connection, path or f"/cds-services/{service}", body, seen)
            seen.seconds.append(time.perf_counter() - start - due)
            cards = answer.get("cards", ()) if answer else ()
            if cards and rng.random() < FEEDBACK:
                _post(connection, f"/cds-services/{service}/feedback", _feedback(cards[0]), seen)
                seen.feedback += 1
            number += 1


def probe(port: int, begin: float, seconds: float, interval: float) -> list[list[float]]:
    """Seconds of calls to a no-op, PROBES a second, for each interval: what the machine itself does to an answer."""
    found: list[list[float]] = [[] for _ in range(_intervals(seconds, interval))]
    time.sleep(max(0.0, begin - time.time()))
    start, seen = time.perf_counter(), Seen()
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        for number in range(int(seconds * PROBES)):
            due = number / PROBES
            time.sleep(max(0.0, due - (time.perf_counter() - start)))
            if number % client.RECONNECT_AFTER == 0:
                connection.close()
            _post(connection, NO_OP, b"{}", seen)
            found[min(len(found) - 1, int(due // interval))].append(time.perf_counter() - start - due)
    return found


def _post(connection: HTTPConnection, path: str, body: bytes, seen: Seen) -> dict[str, Any] | None:
    """The answer; None where it is an error, which is then noted."""
    try:
        connection.request("POST", path, body, _HEADERS)
        response = connection.getresponse()
        content = response.read()
    except (OSError, HTTPException) as error:
        connection.close()
        seen.errors.append(type(error).__name__)
        return None
    if response.status != 200:
        seen.errors.append(f"{path.rpartition('/')[2]} answered {response.status}")
        return None
    answer: dict[str, Any] = json.loads(content)
    return answer


def _mixed() -> Iterator[tuple[str, bytes]]:
    """(service, body) of every example as of now, and for each some orders of another drug at the same services."""
    for path in sorted((ROOT / "examples").glob("*.json")):
        body = moved(read(str(path)), datetime.now(UTC) - AS_OF)
        service = f"ketamine-{body['hook']}"
        yield service, lenient.encode(body)
        if "draftOrders" not in body["context"]:
            continue
        for entry in body["context"]["draftOrders"]["entry"]:
            for name in [each for each in entry["resource"] if each.startswith("medication")]:
                del entry["resource"][name]
            entry["resource"]["medicationCodeableConcept"] = {"text": "amoxicillin"}
        yield from [(service, lenient.encode(body))] * NO_OPS


def _feedback(card: dict[str, Any]) -> bytes:
    """A clinician who goes on without the card."""
    entry = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": datetime.now(UTC).isoformat()}
    return json.dumps({"feedback": [entry]}).encode()


def _table(
    rows: Sequence[tuple[Seen, list[float]]], floors: Sequence[list[float]], maximum: float, interval: float
) -> Iterator[str]:
    total = Seen()
    yield f"Maximum {maximum:.0f} requests/s with {CLIENTS} connections; load {maximum * SHARE:.0f}/s.\n"
    yield (
        "| from s | calls | feedback | errors | p50 ms | p99 ms | max ms | no-op beside: p50 ms | p99 ms "
        f"| RSS of {WORKERS} workers MB |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|"
    for number, ((seen, memory), floor) in enumerate(zip(rows, floors, strict=True)):
        total.add(seen)
        yield _row(f"{number * interval:.0f}", seen, floor, memory)
    yield _row("all", total, [each for floor in floors for each in floor], [])
    ours = [_p99(seen.seconds) for seen, _ in rows]
    theirs = [_p99(floor) for floor in floors]
    worst = f"{_unrest(ours):.2f}; of the no-op beside {_unrest(theirs):.2f}"
    yield f"\nWorst p99 of an interval by the median one: {worst}."
    kinds = sorted(set(total.errors))
    yield f"\n{'Errors: ' + '; '.join(kinds) if kinds else 'No error.'}"


def _loaded(maximum: float, rows: Sequence[tuple[Seen, list[float]]]) -> str:
    """The no-op under the same schedule, in a sentence."""
    each = [seen.seconds for seen, _ in rows]
    taken = [seconds for interval in each for seconds in interval]
    errors = sum(len(seen.errors) for seen, _ in rows)
    return (
        f"The no-op at the same share of its own maximum ({maximum * SHARE:.0f} of {maximum:.0f} requests/s, "
        f"{len(taken)} calls, {errors} errors): p50 {1000 * statistics.median(taken):.2f} ms, p99 "
        f"{1000 * _p99(taken):.2f}, worst p99 of an interval by the median one "
        f"{_unrest([_p99(interval) for interval in each]):.2f}."
    )


def _p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else sum(seconds)


def _unrest(intervals: Sequence[float]) -> float:
    return max(intervals) / (statistics.median(intervals) or 1)


def _row(name: str, seen: Seen, floor: Sequence[float], memory: list[float]) -> str:
    taken, below = seen.seconds or [0.0, 0.0], floor or [0.0, 0.0]
    figures = f"{1000 * statistics.median(taken):.2f} | {1000 * _p99(taken):.2f} | {1000 * max(taken):.1f}"
    noop = f"{1000 * statistics.median(below):.2f} | {1000 * _p99(below):.2f}"
    rss = ", ".join(f"{each:.0f}" for each in memory)
    return f"| {name} | {len(seen.seconds)} | {seen.feedback} | {len(seen.errors)} | {figures} | {noop} | {rss} |"


if __name__ == "__main__":
    sys.exit(main())
