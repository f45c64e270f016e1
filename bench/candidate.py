"""What a candidate in shadow costs an answer: `make candidate`, or python -m bench.candidate [--short].

Two services, alike but for the candidate, with one worker each, take the same orders in turn: back to back, when the
candidate hardly comes to judge, and at a pace that leaves it time for every call. Processor time is that of the
worker, so what the candidate takes between the answers is in it. The chart of the large patient is larger than a
candidate judges: its calls show what a call costs that is dropped.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import bodies, client, servers
from bench.bodies import NOT_KETAMINE, Measured
from bench.client import Call
from bench.report import OURS
from bench.servers import Server

PATH = f"/cds-services/{OURS}"
_OVERLAY = """\
site: Benchmark
limits:
  - {limit: rate-warn, value: 0.4, owner: Benchmark, date: 2026-01-01, reason: a candidate to be measured}
"""
_COUNTED = "ketamine_cds_candidate_calls_total"
_PACE = 0.2
"""Seconds from one call to the next: both policies judge a call in less than half of it."""
_LAST = 1.0
"""Seconds that the candidate has for the last calls, before the processor time is read."""


@dataclass(frozen=True)
class Pace:
    """An order, and the seconds from one to the next."""

    request: Measured
    seconds: float

    @property
    def says(self) -> str:
        how = f"one each {self.seconds * 1000:.0f} ms" if self.seconds else "back to back"
        return f"{self.request.kind.size} | {self.request.kind.order} | {how}"


@dataclass(frozen=True)
class Lap:
    """Milliseconds: the median of what the calls waited, and what each took of the processors."""

    p50: float
    cpu: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.candidate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds over all orders and both services (7)")
    parser.add_argument("--requests", type=int, default=50, help="requests in a round (50)")
    parser.add_argument("--short", action="store_true", help="a smoke run: 2 rounds of 5 requests")
    given = parser.parse_args(arguments)
    rounds, requests = (2, 5) if given.short else (given.rounds, given.requests)
    measured = bodies.one_of_each(bodies.measured(datetime.now().astimezone()))
    kinds = [Pace(each, pace) for each in measured if each.kind.order != NOT_KETAMINE for pace in (0.0, _PACE)]
    client.prepare()
    with TemporaryDirectory() as folder:
        overlay = Path(folder) / "overlay.yaml"
        overlay.write_text(_OVERLAY, "utf-8")
        with (
            servers.service(1, store=f"sqlite:///{folder}/without.sqlite") as without,
            servers.service(1, store=f"sqlite:///{folder}/with.sqlite", candidate=str(overlay)) as beside,
        ):
            _print(kinds, _laps(kinds, (without, beside), rounds, requests), beside)
    return 0


def _laps(kinds: Sequence[Pace], both: Sequence[Server], rounds: int, requests: int) -> dict[Pace, list[list[Lap]]]:
    """For each kind the laps without, and those beside a candidate."""
    answers = {kind: [client.once(each.port, PATH, kind.request.body) for each in both] for kind in kinds}
    found: dict[Pace, list[list[Lap]]] = {kind: [[], []] for kind in kinds}
    for number in range(rounds + 1):  # the first does not count
        for kind in kinds:
            order = (0, 1) if number % 2 else (1, 0)
            laps = {which: _lap(both[which], kind, answers[kind][which], requests) for which in order}
            if number:
                for which, lap in laps.items():
                    found[kind][which].append(lap)
        print(f"round {number} of {rounds}", file=sys.stderr)
    return found


def _lap(server: Server, kind: Pace, answer: bytes, requests: int) -> Lap:
    before = server.cpu_seconds()
    done = client.loop(server.port, [Call(PATH, kind.request.body, answer)] * requests, pace=kind.seconds)
    time.sleep(_LAST)
    taken = server.cpu_seconds() - before
    return Lap(1000 * statistics.median(done.waited), 1000 * taken / requests)


def _print(kinds: Sequence[Pace], laps: dict[Pace, list[list[Lap]]], beside: Server) -> None:
    print("| chart | order | calls | p50 ms without | with | processor ms without | with |")
    print("|---|---|---|---:|---:|---:|---:|")
    for kind in kinds:
        figures = [
            f"{statistics.median(getattr(lap, name) for lap in of):.1f}"
            for name in ("p50", "cpu")
            for of in laps[kind]
        ]
        print(f"| {kind.says} | {' | '.join(figures)} |")
    print()
    print(f"Calls that the candidate was to judge: {_counted(beside)}.")


def _counted(server: Server) -> str:
    """How many calls the candidate judged, and how many it did not, as the service itself counts them."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    counts = [line.partition('result="')[2].partition('"')[::2] for line in lines if line.startswith(_COUNTED)]
    return ", ".join(f"{float(rest.rpartition(' ')[2]):.0f} {result}" for result, rest in counts) or "none"


if __name__ == "__main__":
    sys.exit(main())
