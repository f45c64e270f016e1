"""What the fallback costs: orders without prefetch, whose EHR answers each search after 20 ms. Part of `make bench`.

The EHR's FHIR server is a process of its own. Measured are the step alone that fetches and reads all searches, and
whole calls of the service.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

from bench import bodies, client, servers
from bench.bodies import Kind, Measured
from bench.client import Call
from bench.fhir_server import BASE
from bench.report import percentile
from cds_service.fhir import queries
from cds_service.fhir.client import FhirServers, Limits
from cds_service.terminology import valuesets

WAIT_MS = 20
KINDS = [Kind("median", order) for order in bodies.RATES]
_WORKERS = 2
_WARM = 12
_SWITCH = 0.0005
"""Seconds after which a thread lets another go on, as in a worker of the service."""

Timed = tuple[list[float], list[float]]
"""Seconds of each call: waited, and taken of the processors."""


def measure(path: str, calls: int, clients: ProcessPoolExecutor) -> dict[str, Any]:
    """Figures of so many fetches, and of so many orders of each kind posted to `path`."""
    measured = [each for each in bodies.measured(datetime.now().astimezone()) if each.kind in KINDS]
    searches = [_searches(each) for each in measured]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "answers.json"
        file.write_text(json.dumps({url: text for each in searches for url, text in each.items()}), "utf-8")
        with servers.fhir(file, WAIT_MS) as ehr:
            base = f"http://127.0.0.1:{ehr.port}{BASE}"
            urls = [list(each) for each in searches]
            alone = clients.submit(search, ehr.port, urls[0][0], calls).result()
            fetched = clients.submit(fetch, base, urls, calls).result()
            with servers.service(_WORKERS, fhir_servers=base) as ours:
                found = {str(kind): _of_orders(kind, measured, base, ours, path, calls, clients) for kind in KINDS}
    return {
        "wait_ms": WAIT_MS,
        "searches": len(urls[0]),
        "calls": calls,
        "one search": _figures((alone, [])),
        "fetched and read": _figures(fetched),
        "orders": found,
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """As a table."""
    rows = {
        "one search": found["one search"],
        f"all {found['searches']}, fetched and read": found["fetched and read"],
    } | {f"a whole call: {order}": of for order, of in found["orders"].items()}
    yield f"| searches answered after {found['wait_ms']} ms | p50 ms | p99 ms | CPU ms |"
    yield "|---|---:|---:|---:|"
    for name, of in rows.items():
        cpu = f"{of['cpu_ms']:.1f}" if "cpu_ms" in of else ""
        yield f"| {name} | {of['p50_ms']:.1f} | {of['p99_ms']:.1f} | {cpu} |"


def _searches(each: Measured) -> dict[str, str]:
    """URL -> what is found, of every query."""
    request = json.loads(each.body)
    asked = queries.load(valuesets.load())
    found = {query.url(request["context"]): json.dumps(request["prefetch"][query.key]) for query in asked}
    return {url: text for url, text in found.items() if url is not None}


def search(port: int, url: str, calls: int) -> list[float]:
    """Seconds of each search, one after the other: what the server and the way to it take alone."""
    found = []
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        for _ in range(calls):
            start = time.perf_counter()
            connection.request("GET", BASE + url)
            connection.getresponse().read()
            found.append(time.perf_counter() - start)
    return found


def fetch(base: str, urls: Sequence[Sequence[str]], calls: int) -> Timed:
    """All searches of one patient at once, of the patients in turn, as the service makes and reads them."""
    sys.setswitchinterval(_SWITCH)
    ehr = FhirServers([base], Limits(deadline=10))
    waited, cpu = [], []
    for number in range(calls + _WARM):
        wanted: Mapping[str, str] = {url: url for url in urls[number % len(urls)]}
        start, before = time.perf_counter(), time.process_time()
        answers = ehr.source(base, None).fetch(wanted)
        waited.append(time.perf_counter() - start)
        cpu.append(time.process_time() - before)
        if any(answer.gap for answer in answers.values()):
            raise client.WrongAnswer(f"a search failed: {[answer.gap for answer in answers.values()]}")
    ehr.close()
    return waited[_WARM:], cpu[_WARM:]


def _of_orders(
    kind: Kind,
    measured: Sequence[Measured],
    base: str,
    ours: servers.Server,
    path: str,
    calls: int,
    clients: ProcessPoolExecutor,
) -> dict[str, float]:
    """Whole calls, one after the other. What was fetched must get the answer of what was prefetched."""
    made = []
    for each in measured:
        if each.kind == kind:
            expected = client.once(ours.port, path, each.body)
            bare = json.loads(each.body) | {"prefetch": {}, "fhirServer": base}
            made.append(Call(path, json.dumps(bare).encode(), expected))
    clients.submit(client.loop, ours.port, made * (_WARM // len(made))).result()
    before = ours.cpu_seconds()
    loop = clients.submit(client.loop, ours.port, (made * calls)[:calls]).result()
    return _figures((loop.waited, [(ours.cpu_seconds() - before) / calls]))


def _figures(timed: Timed) -> dict[str, float]:
    waited, cpu = timed
    found = {"p50_ms": 1000 * median(waited), "p99_ms": 1000 * percentile(waited, 99)}
    return found | ({"cpu_ms": 1000 * mean(cpu)} if cpu else {})
