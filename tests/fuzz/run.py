"""`make fuzz`: 200,000 mutated requests and more, most in process, some over HTTP; figures, and 1 if any is bad."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from tempfile import TemporaryDirectory

from bench import servers
from tests.fuzz.attack import Found, in_process, over_http, run
from tests.fuzz.mutate import bases
from tests.fuzz.numbers import sweep

REQUESTS = 200_000
OVER_HTTP = 10_000
GROWTH = 30.0
"""MB by which a process may be larger at the end than after its first requests: what the allocator keeps."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"in process, over all processes ({REQUESTS})")
    parser.add_argument("--over-http", type=int, default=OVER_HTTP, help=f"more of them over HTTP ({OVER_HTTP})")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="processes (one for each core)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first seed (the time)")
    given = parser.parse_args(arguments)
    print(f"seed {given.seed}")
    share = -(-given.requests // given.processes)
    with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as processes:
        jobs = [processes.submit(_share, given, number, share) for number in range(given.processes)]
        parts = [job.result() for job in jobs]
    inside = Found()
    for part in parts:
        inside.add(part)
    _say("in process", inside)
    for part in parts:
        print(
            f"  memory of a process: {part.rss_before:.0f} MB after first requests, {part.rss_after:.0f} at the end"
        )
    grown = [part for part in parts if part.rss_after - part.rss_before > GROWTH]
    outside = _served(given.seed - 1, given.over_http)
    for bad in (inside.bad + outside.bad)[:50]:
        print(f"BAD {bad}")
    print(
        f"{len(inside.bad) + len(outside.bad)} bad answers; {len(grown)} processes grew by more than {GROWTH:.0f} MB"
    )
    return 1 if inside.bad or outside.bad or grown else 0


def _share(given: argparse.Namespace, number: int, count: int) -> Found:
    """What one process sends: its share of every number in every place, then what chance gives."""
    logging.disable()
    with in_process() as (send, failed):
        swept = islice(sweep(bases()), number, None, given.processes)
        return run(send, failed, given.seed + number, count, first=swept, tell=_say_so_far)


def _say_so_far(found: Found) -> None:
    says = f"{found.requests} requests in {found.seconds:.0f} s, {len(found.bad)} bad, slowest {found.slowest:.2f} s"
    print(f"  process {os.getpid()}: {says}, {found.rss_after:.0f} MB", flush=True)


def _served(seed: int, count: int) -> Found:
    """Some of them against the served application; its workers' memory is taken before and after."""
    with TemporaryDirectory() as folder, servers.service(2, state_dir=folder) as server, in_process() as (_, failed):
        send = over_http(f"http://127.0.0.1:{server.port}")
        warm = run(send, failed, seed - 1, count // 10, measure_self=False)
        before = server.memory()
        found = run(send, failed, seed, count - count // 10, measure_self=False)
        after = server.memory()
    found.add(warm)
    _say("over HTTP", found)
    for one, other in zip(before, after, strict=True):
        print(f"  memory of a worker: {one['Rss']:.0f} MB after its first requests, {other['Rss']:.0f} at the end")
    return found


def _say(where: str, found: Found) -> None:
    rate = found.requests / found.seconds if found.seconds else 0
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(found.statuses.items()))
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found.kinds.items()))
    print(f"{where}: {found.requests} requests in {found.seconds:.0f} s, {rate:.0f}/s; {statuses}")
    for service in sorted({service for service, _ in found.answers}):
        by_status = {status: count for (of, status), count in sorted(found.answers.items()) if of == service}
        print(f"  {service}: {', '.join(f'{status}: {count}' for status, count in by_status.items())}")
    print(f"  with cards: {found.with_cards}; slowest {found.slowest:.2f} s ({found.slowest_case})")
    print(f"  changes: {kinds}")


if __name__ == "__main__":
    sys.exit(main())
