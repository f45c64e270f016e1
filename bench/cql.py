"""The engines that run the published CQL, and the service, on the same patients: python -m bench.cql [--keep].

An engine gives the verdicts of the rules that CQL says; the service judges all its rules, makes cards and offers, and
writes the answer. Each is warm, and gets one case after another, round by round in turn; processor time alone counts.
It needs a JDK and Node.js.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench import bodies, client
from bench.report import processor
from cds_service.advise import advice
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge, load
from tests import sandbox_charts
from tests.burden.orders import ordinary
from tests.oracle.cases import Case, of_request
from tests.oracle.compare import Asking
from tests.oracle.engines import ENGINES, why_not
from tests.scenarios.build import NOW

KEPT = Path(__file__).with_name("last_run_cql.json")
"""The run that docs/performance.md shows."""
SERVICE = "the service"

Body = tuple[str, bytes]
"""A name and a request of order-sign."""


class Run(msgspec.Struct, frozen=True):
    date: str
    load: float
    """Of the machine, when it began."""
    machine: str
    rounds: int
    cases: int
    rules: dict[str, int]
    """Who -> how many rules were judged."""
    cpu_ms: dict[str, list[float]]
    """Who -> milliseconds of a processor for one case, for each round."""

    def cost(self, who: str) -> float:
        return median(self.cpu_ms[who])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cql", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="over all cases (5)")
    parser.add_argument("--keep", action="store_true", help="write it for docs/performance.md")
    given = parser.parse_args(arguments)
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 3
    run = _measured(load(), given.rounds)
    if given.keep:
        KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
    print("\n".join(lines(run)))
    return 0


def lines(run: Run) -> Iterator[str]:
    """As a table."""
    yield f"{run.date}, {run.machine}, load {run.load}; {run.rounds} rounds of {run.cases} cases"
    yield ""
    yield "| | rules | ms of a processor for one case | cases per core and second | times the service |"
    yield "|---|---:|---:|---:|---:|"
    for who in run.cpu_ms:
        cost = run.cost(who)
        yield f"| {who} | {run.rules[who]} | {cost:.1f} | {1000 / cost:.0f} | {cost / run.cost(SERVICE):.1f} |"


def _measured(knowledge: Knowledge, rounds: int) -> Run:
    requests = list(_requests(knowledge))
    judged = {name: _judged(body, knowledge) for name, body in requests}
    cases = [case for name, body in requests for case in of_request(name, *judged[name], knowledge)]
    load_now = os.getloadavg()[0]
    with ExitStack() as stack:
        asking = {name: stack.enter_context(Asking(knowledge, engine)) for name, engine in ENGINES.items()}
        takes: dict[str, Callable[[], float]] = {SERVICE: lambda: _of_service(requests, knowledge)}
        takes |= {name: _of_engine(each, cases) for name, each in asking.items()}
        for each in takes.values():  # once before anything counts: engines compile what they run
            each()
        found: dict[str, list[float]] = {who: [] for who in takes}
        for _ in range(rounds):
            for who, take in takes.items():
                found[who].append(round(1000 * take() / len(cases), 3))
        said = {name: len(each.library_of) for name, each in asking.items()}
    return Run(
        f"{datetime.now(UTC):%Y-%m-%d}",
        round(load_now, 1),
        f"{os.cpu_count()} x {processor()}",
        rounds,
        len(cases),
        {SERVICE: len(knowledge.protocol.rules)} | said,
        found,
    )


def _requests(knowledge: Knowledge) -> Iterator[Body]:
    """The ketamine orders of `make bench`, and each sandbox patient with two ordinary ones."""
    for each in bodies.one_of_each(bodies.measured(NOW)):
        if each.kind.order != bodies.NOT_KETAMINE:
            yield str(each.kind), each.body
    orders = ordinary()
    for number, patient in enumerate(sandbox_charts.patients()):
        for name, scenario in orders[2 * number : 2 * number + 2]:
            request = sandbox_charts.request(patient, knowledge.queries, scenario["order"])
            yield f"{patient.label}: {name}", msgspec.json.Encoder(decimal_format="number").encode(request)


def _judged(body: bytes, knowledge: Knowledge) -> tuple[Mapping[str, Any], Any]:
    made = advice(parse(body, "order-sign"), True, knowledge, NoSource(), NOW)
    return msgspec.json.decode(body), made


def _of_service(requests: Sequence[Body], knowledge: Knowledge) -> float:
    """Seconds of a processor for all of them, each from its bytes to its answer."""
    begun = time.thread_time()
    for _, body in requests:
        encode(advice(parse(body, "order-sign"), True, knowledge, NoSource(), NOW).response)
    return time.thread_time() - begun


def _of_engine(asking: Asking, cases: Sequence[Case]) -> Callable[[], float]:
    """The same of an engine, from a line of JSON to a line of JSON."""
    questions = [asking.question(case, case.verdicts) for case in cases]

    def taken() -> float:
        """It does not run before it is asked."""
        return client.processor_seconds([asking.running.pid] if asking.running.pid else [])

    def take() -> float:
        before = taken()
        for question in questions:
            asking.running.ask(question)
        return taken() - before

    return take


if __name__ == "__main__":
    sys.exit(main())
