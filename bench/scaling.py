"""What a call costs where two instances share a PostgreSQL behind nginx: `make scaling`, or python -m bench.scaling.

Calls go through TLS, each with a token of its own, to the configuration of deploy/nginx. For each kind of call: the
time of a processor that the service, nginx and PostgreSQL took for it, so how many a core does in a second, and how
long a client waited. What the clients themselves take of the machine makes them wait longer, and costs nothing here.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import requests

from bench import bodies
from bench.bodies import Measured
from tests.servers import nginx, postgres, test_scaled_out
from tests.servers.test_scaled_out import Cluster

CLIENTS = 4
_INSTANCE = re.compile(rb'("hookInstance":\s*")[^"]+')
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Milliseconds of a processor for one call, by who took them, and seconds that each client waited."""

    of: Mapping[str, float]
    waited: Sequence[float]

    @property
    def per_core(self) -> float:
        """Calls in a second on one core, nginx included; the database has a machine of its own."""
        return 1000 / (self.of["service"] + self.of["nginx"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--calls", type=int, default=400, help="of each kind (400)")
    given = parser.parse_args(arguments)
    for why_not in (postgres.why_not(), nginx.why_not()):
        if why_not:
            print(why_not, file=sys.stderr)
            return 1
    measured = bodies.one_of_each(bodies.measured(datetime.now(UTC)))
    print(
        "| chart | order | kB | service ms | nginx ms | PostgreSQL ms | calls per core and second | p50 ms | p99 ms |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    with (
        postgres.started() as database,
        TemporaryDirectory() as folder,
        test_scaled_out.started(database.database(), Path(folder)) as cluster,
    ):
        pids = _pids(cluster, database.pid)
        for each in measured:
            _cost(each, cluster, pids, max(given.calls // 10, CLIENTS))  # each worker once, before anything counts
            print(_row(each, _cost(each, cluster, pids, given.calls)), flush=True)
    return 0


def _row(each: Measured, cost: Cost) -> str:
    cells = [f"{cost.of[who]:.1f}" for who in ("service", "nginx", "PostgreSQL")]
    waited = sorted(cost.waited)
    p50, p99 = statistics.median(waited), waited[int(len(waited) * 0.99)]
    cells += [f"{cost.per_core:.0f}", f"{p50 * 1000:.0f}", f"{p99 * 1000:.0f}"]
    return f"| {each.kind.size} | {each.kind.order} | {len(each.body) / 1000:.0f} | {' | '.join(cells)} |"


def _cost(each: Measured, cluster: Cluster, pids: Mapping[str, Sequence[int]], calls: int) -> Cost:
    share = calls // CLIENTS
    before = {who: _cpu_seconds(of) for who, of in pids.items()}
    with ThreadPoolExecutor(CLIENTS) as pool:
        loops = [pool.submit(_loop, each, cluster, share) for _ in range(CLIENTS)]
        waited = [seconds for loop in loops for seconds in loop.result()]
    taken = {who: _cpu_seconds(of) - before[who] for who, of in pids.items()}
    return Cost({who: 1000 * seconds / len(waited) for who, seconds in taken.items()}, waited)


def _loop(each: Measured, cluster: Cluster, calls: int) -> list[float]:
    """Seconds of each of so many calls, one after the other on one connection."""
    waited = []
    with requests.Session() as session:
        mine = replace(cluster, session=session)
        for _ in range(calls):
            body, token = _INSTANCE.sub(rb"\g<1>" + str(uuid4()).encode(), each.body, count=1), mine.token()
            begun = time.perf_counter()
            answer = mine.post(body, token)
            waited.append(time.perf_counter() - begun)
            assert answer.status_code == 200, answer.text
    return waited


def _pids(cluster: Cluster, database: int) -> dict[str, list[int]]:
    found = {"service": [process.pid for process, _ in cluster.instances]}
    return found | {"nginx": [cluster.proxy.pid], "PostgreSQL": [database]}


def _cpu_seconds(pids: Sequence[int]) -> float:
    """What these processes and all below them have had of the processors; of those that ended, their parents tell."""
    ticks = 0
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
            waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split())
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


if __name__ == "__main__":
    sys.exit(main())
