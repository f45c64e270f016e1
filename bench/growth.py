"""What a call costs as a chart grows, and with several drafts of ketamine: in process. Part of `make bench`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, cycle, islice
from typing import Any

from bench import bodies
from bench.bodies import Kind, Resource
from bench.elsewhere import ROOT, Costs
from bench.report import percentile
from tests import sandbox_charts

_BASE = Kind("small", "an order without")
OBSERVATIONS = (100, 1_000, 5_000)
MEDICINES = (10, 100)
DRAFTS = (4, 24)


def measure(laps: int) -> list[dict[str, Any]]:
    """What was added, how many of it, the bytes of the body, and milliseconds of a processor for one call.

    The first row is the chart as it is. Of all calls the quicker quarter counts.
    """
    now = datetime.now(UTC)
    base = next(each.body for each in bodies.measured(now) if each.kind == _BASE)
    rows = [("of anything", 0, base), *_grown(base)]
    taken: list[list[float]] = [[] for _ in rows]
    with Costs(ROOT, [body for *_, body in rows], now) as costs:
        costs.lap(range(len(rows)))  # does not count
        for _ in range(laps):
            for of, seconds in zip(taken, costs.lap(range(len(rows))), strict=True):
                of.append(seconds)
    return [
        {"added": what, "number": number, "bytes": len(body), "cpu_ms": 1000 * percentile(of, 25)}
        for (what, number, body), of in zip(rows, taken, strict=True)
    ]


def lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """As a table."""
    base = found[0]
    yield "| added to the first small chart | bytes in | CPU ms | ms for each that was added |"
    yield "|---|---:|---:|---:|"
    for row in found:
        number = row["number"]
        each = f"{(row['cpu_ms'] - base['cpu_ms']) / number:.3f}" if number else ""
        yield f"| {number:,} {row['added']} | {row['bytes']:,} | {row['cpu_ms']:.2f} | {each} |"


def _grown(base: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Only one thing grows at a time."""
    for number in OBSERVATIONS:
        request = json.loads(base)
        _add_observations(request["prefetch"], number)
        yield "observations", number, json.dumps(request).encode()
    for number in MEDICINES:
        request = json.loads(base)
        _add_medicines(request["prefetch"], number)
        yield "medicines", number, json.dumps(request).encode()
    for number in DRAFTS:
        request = json.loads(base)
        entries = request["context"]["draftOrders"]["entry"]
        draft = entries[0]["resource"]
        entries += [{"resource": draft | {"id": f"draft-{each}"}} for each in range(number)]
        yield "drafts of ketamine", number, json.dumps(request).encode()


def _add_observations(prefetch: dict[str, Any], number: int) -> None:
    """Those that the chart has, again and again, each time measured an hour earlier."""
    own = [
        (key, entry["resource"])
        for key, answer in prefetch.items()
        for entry in answer.get("entry", ())
        if entry["resource"]["resourceType"] == "Observation"
    ]
    for copy, (key, resource) in enumerate(islice(cycle(own), number)):
        when = datetime.fromisoformat(resource["effectiveDateTime"]) - timedelta(hours=1 + copy // len(own))
        again = resource | {"id": f"{resource['id'][:50]}-{copy}", "effectiveDateTime": when.isoformat()}
        prefetch[key]["entry"].append({"resource": again})


def _add_medicines(prefetch: dict[str, Any], number: int) -> None:
    """What other patients take, again and again."""
    subject = {"reference": f"Patient/{prefetch['patient']['id']}"}
    others = (patient.of("MedicationRequest") for patient in sandbox_charts.patients())
    taken: list[Resource] = [each for each in chain.from_iterable(others) if each["status"] == "active"]
    prefetch["medications"]["entry"] += [
        {"resource": each | {"id": f"m-{copy}", "subject": subject}}
        for copy, each in enumerate(islice(cycle(taken), number))
    ]


if __name__ == "__main__":
    print("\n".join(lines(measure(20))))
