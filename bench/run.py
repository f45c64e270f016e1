"""The service beside a no-op, its fallback, and what it costs as charts grow: `make bench`, or python -m bench.run.

Service and no-op stand behind the same server with as many workers, and get the same bodies, of several patients and
orders, mixed in the same order. Each round goes through all of them on every target, one target after the other, so
that a machine that changes its pace changes it for all. Only the ratios mean anything elsewhere.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from itertools import cycle, islice
from typing import Any

from bench import bodies, client, fallback, growth, noop, report, servers
from bench.bodies import Kind, Measured
from bench.client import Call
from bench.report import OURS, Lap
from bench.servers import Server

PATH = f"/cds-services/{OURS}"
PEER = "HealthChain"
_PATH_OF_PEER = "/cds/cds-services/one-card"
CONNECTIONS = (1, 2)
WORKERS = 2
CALLS, LAPS = 200, 20
"""Of the fallback and of the grown charts."""


@dataclass
class Target:
    """Where the requests are sent: one call for each of them, and what came of them."""

    name: str
    server: Server
    calls: list[Call]
    laps: dict[tuple[Kind | None, int], list[Lap]] = field(default_factory=dict)
    """By kind (None: all of them) and connections, one for each round."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds over all requests and targets (15)")
    parser.add_argument("--requests", type=int, default=36, help="of each kind, on each connection in a round (36)")
    parser.add_argument("--short", action="store_true", help="a smoke run: 2 rounds of 6 requests, few of the rest")
    parser.add_argument("--peers", action="store_true", help="another project's service beside them: make peers")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--keep", action="store_true", help="write it for docs/performance.md")
    given = parser.parse_args(arguments)
    rounds, requests = (2, 6) if given.short else (given.rounds, given.requests)
    calls, laps = (6, 2) if given.short else (CALLS, LAPS)
    # Clients are processes of their own: in one process they would wait for each other, not for the server.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(CONNECTIONS), mp_context=spawn, initializer=client.prepare) as clients:
        found = _measure(rounds, requests, given.peers, clients)
        found |= {"fallback": fallback.measure(PATH, calls, clients), "growth": growth.measure(laps)}
    if given.keep:
        report.KEPT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    tables = [report.table(found), "", *fallback.lines(found["fallback"]), "", *growth.lines(found["growth"])]
    print(json.dumps(found, indent=2) if given.json else "\n".join(tables))
    return 0


def _measure(rounds: int, requests: int, peers: bool, clients: ProcessPoolExecutor) -> dict[str, Any]:
    measured = bodies.measured(datetime.now().astimezone())
    with (
        servers.service(WORKERS) as ours,
        servers.noop(WORKERS) as floor,
        servers.healthchain(WORKERS) if peers else nullcontext() as other,
    ):
        targets = list(_targets(measured, ours, floor, other))
        for target in targets:  # each worker once, before anything counts
            _lap(target, [_mixed(measured, 6, seed) for seed in range(max(CONNECTIONS))], measured, clients)
            target.laps.clear()
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for connections in CONNECTIONS:
                orders = [_mixed(measured, requests, number * len(CONNECTIONS) + each) for each in range(connections)]
                first = number % len(targets)
                for target in (*targets[first:], *targets[:first]):
                    _lap(target, orders, measured, clients)
        memory = {OURS: ours.memory(), "no-op": floor.memory()} | ({PEER: other.memory()} if other else {})
    return report.machine() | {
        "workers": WORKERS,
        "rounds": rounds,
        "requests": requests,
        "bodies": len(measured),
        "cases": list(_cases(measured, targets)),
        "mix": [
            {"connections": n} | report.compared({each.name: each.laps[None, n] for each in targets})
            for n in CONNECTIONS
        ],
        "memory_mb_per_worker": memory,
    }


def _targets(measured: Sequence[Measured], ours: Server, floor: Server, other: Server | None) -> Iterator[Target]:
    """The service, the no-ops with answers of the same size, and the peer with its card."""
    sent = [each.body for each in measured]
    answers = [client.once(ours.port, PATH, body) for body in sent]
    yield Target(OURS, ours, [Call(PATH, body, answer) for body, answer in zip(sent, answers, strict=True)])
    for name, path in noop.PATHS.items():
        sizes = map(len, answers)
        calls = [
            Call(path.format(size=size), body, noop.answer(size)) for body, size in zip(sent, sizes, strict=True)
        ]
        yield Target(name, floor, calls)
    if other is not None:
        calls = [Call(_PATH_OF_PEER, body, client.once(other.port, _PATH_OF_PEER, body)) for body in sent]
        yield Target(PEER, other, calls)


def _mixed(measured: Sequence[Measured], requests: int, seed: int) -> list[int]:
    """Which are sent one after the other: so many of each kind, its patients in turn, all shuffled."""
    kinds: dict[Kind, list[int]] = {}
    for number, each in enumerate(measured):
        kinds.setdefault(each.kind, []).append(number)
    found = [number for of_kind in kinds.values() for number in islice(cycle(of_kind), requests)]
    random.Random(seed).shuffle(found)
    return found


def _lap(
    target: Target, orders: Sequence[Sequence[int]], measured: Sequence[Measured], clients: ProcessPoolExecutor
) -> None:
    """Go through all of `orders` at once, one connection for each, and note what each kind of request took."""
    pids = target.server.workers() if len(orders) == 1 else []
    jobs = [
        clients.submit(client.loop, target.server.port, [target.calls[number] for number in order], pids)
        for order in orders
    ]
    waited: dict[Kind | None, list[float]] = {}
    cpu: dict[Kind | None, list[float]] = {}
    for job, order in zip(jobs, orders, strict=True):
        loop = job.result()
        for number, seconds, taken in zip(order, loop.waited, loop.cpu, strict=True):
            for kind in (measured[number].kind, None):
                waited.setdefault(kind, []).append(seconds)
                if pids:
                    cpu.setdefault(kind, []).append(taken)
    for kind, seconds_of in waited.items():
        lap = Lap(seconds_of, cpu.get(kind, ()), len(orders))
        target.laps.setdefault((kind, len(orders)), []).append(lap)


def _cases(measured: Sequence[Measured], targets: Sequence[Target]) -> Iterator[dict[str, Any]]:
    ours = targets[0].calls
    for connections in CONNECTIONS:
        for kind in bodies.by_kind(measured):
            calls = [call for call, each in zip(ours, measured, strict=True) if each.kind == kind]
            yield report.case(
                kind,
                connections,
                [len(call.body) for call in calls],
                [call.expected for call in calls],
                {target.name: target.laps[kind, connections] for target in targets},
            )


if __name__ == "__main__":
    sys.exit(main())
