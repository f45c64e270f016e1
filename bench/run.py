"""The service beside a no-op, in one run: `make bench`, or python -m bench.run [--short] [--json] [--peers].

Both stand behind the same server with as many workers. Each round measures every request on every target, one after
the other, so that a machine that changes its pace changes it for all. Only the ratios mean anything elsewhere.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench import bodies, client, noop, report, servers
from bench.bodies import Measured
from bench.report import OURS, Case, Lap
from bench.servers import Server

PATH = f"/cds-services/{OURS}"
PEER = "HealthChain"
_PATH_OF_PEER = "/cds/cds-services/one-card"
CONCURRENCY = (1, 2)
WORKERS = 2


@dataclass(frozen=True)
class Target:
    """Where one request is sent, and what must come back."""

    name: str
    server: Server
    path: str
    answer: bytes


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds over all requests and targets (7)")
    parser.add_argument("--requests", type=int, default=300, help="requests on each connection in a round (300)")
    parser.add_argument("--short", action="store_true", help="a smoke run: 2 rounds of 20 requests")
    parser.add_argument("--peers", action="store_true", help="another project's service beside them: make peers")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--keep", action="store_true", help="write it for docs/performance.md")
    given = parser.parse_args(arguments)
    rounds, requests = (2, 20) if given.short else (given.rounds, given.requests)
    found = _measure(rounds, requests, given.peers)
    if given.keep:
        report.KEPT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=2) if given.json else report.table(found))
    return 0


def _measure(rounds: int, requests: int, peers: bool) -> dict[str, Any]:
    measured, origins = bodies.measured(datetime.now().astimezone())
    # Clients are processes of their own: in one process they would wait for each other, not for the server.
    spawn = multiprocessing.get_context("spawn")
    with (
        servers.service(WORKERS) as ours,
        servers.noop(WORKERS) as floor,
        servers.healthchain(WORKERS) if peers else nullcontext() as other,
        ProcessPoolExecutor(max(CONCURRENCY), mp_context=spawn, initializer=client.prepare) as clients,
    ):
        pairs = [(concurrency, each) for concurrency in CONCURRENCY for each in measured]
        targets = {each: _targets(each, ours, floor, other) for each in measured}
        cases = [Case(each, targets[each][0].answer, concurrency) for concurrency, each in pairs]
        for case in cases:  # each worker once, before anything counts
            for target in targets[case.request]:
                _lap(case, target, clients, max(requests // 10, client.RECONNECT_AFTER))
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for case in cases:
                first = number % len(targets[case.request])
                for target in (*targets[case.request][first:], *targets[case.request][:first]):
                    case.laps.setdefault(target.name, []).append(_lap(case, target, clients, requests))
        memory = {OURS: ours.memory(), "no-op": floor.memory()} | ({PEER: other.memory()} if other else {})
    return report.made(cases, origins, memory, WORKERS, rounds, requests)


def _targets(each: Measured, ours: Server, floor: Server, other: Server | None) -> list[Target]:
    """The service, the no-ops with answers of the same size, and the peer with its card."""
    answer = client.once(ours.port, PATH, each.body)
    size = len(answer)
    found = [Target(OURS, ours, PATH, answer)]
    found += [Target(n, floor, path.format(size=size), noop.answer(size)) for n, path in noop.PATHS.items()]
    if other is not None:
        found.append(Target(PEER, other, _PATH_OF_PEER, client.once(other.port, _PATH_OF_PEER, each.body)))
    return found


def _lap(case: Case, target: Target, clients: ProcessPoolExecutor, requests: int) -> Lap:
    before = target.server.cpu_seconds()
    loops = [
        clients.submit(client.loop, target.server.port, target.path, case.request.body, target.answer, requests)
        for _ in range(case.concurrency)
    ]
    done = [loop.result() for loop in loops]
    return Lap.of(done, target.server.cpu_seconds() - before)


if __name__ == "__main__":
    sys.exit(main())
