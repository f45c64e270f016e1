"""How often a clinician is told that something could not be checked: `python -m bench.noise [--before FOLDER]`.

The ordinary orders of `make burden` from each of its clients, the orders that are no ketamine, and one right order
for each sandbox patient. `--before` puts the same requests to another checkout of this repository, by its `.venv`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TOPIC = "could-not-check"
SEVERITIES = ("critical", "warning", "info", "none")
Json = dict[str, Any]


def requests() -> dict[str, list[tuple[str, Json]]]:
    """group -> (moment, request) of each."""
    from cds_service.knowledge import load
    from tests import sandbox_charts
    from tests.burden.orders import CLIENTS, of_client, ordinary
    from tests.scenarios.build import NOW, hook_request
    from tests.test_negative_controls import CONTROLS, _request

    now, queries = NOW.isoformat(), load().queries
    found = {
        f"ordinary orders, {client}": [(now, hook_request(of_client(each, client))) for _, each in ordinary()]
        for client in CLIENTS
    }
    found["orders that are not ketamine"] = [(now, _request(control, "order-sign")) for control in CONTROLS]
    patients = sandbox_charts.patients()
    found["sandbox patients"] = [(now, sandbox_charts.request(patient, queries)) for patient in patients]
    return found


def count() -> None:
    """Requests as lines on standard input; on standard output what each was told, in the checkout that runs this."""
    from cds_service.advise import advise
    from cds_service.hooks.errors import PreconditionFailed
    from cds_service.hooks.request import parse
    from cds_service.knowledge import load

    try:
        from cds_service.fhir.source import NoSource
    except ModuleNotFoundError:  # a checkout from before 2026-11-29
        from cds_service.fhir.client import NoSource  # type: ignore[attr-defined,no-redef,assignment]

    knowledge = load()
    for line in sys.stdin:
        moment, body = json.loads(line)
        request = parse(json.dumps(body).encode(), body["hook"])
        now = datetime.fromisoformat(moment).astimezone(UTC)
        try:
            cards = advise(request, body["hook"] == "order-sign", knowledge, NoSource(), now).cards
        except PreconditionFailed:
            cards = []
        said = [card.indicator for card in cards if card.source.topic and card.source.topic.code == TOPIC]
        print(json.dumps({"said": said[0] if said else "none", "cards": [card.indicator for card in cards]}))


def told(folder: Path, bodies: Iterable[tuple[str, Json]]) -> list[Json]:
    """What a checkout of this repository answers."""
    from cds_service.fhir import lenient

    lines = b"\n".join(lenient.encode([moment, body]) for moment, body in bodies)
    python = folder / ".venv" / "bin" / "python"
    ran = subprocess.run(
        [python, Path(__file__).resolve(), "--count"],
        input=lines,
        capture_output=True,
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]},
        check=True,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="another checkout of this repository")
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.count:
        count()
        return
    here = Path(__file__).resolve().parents[1]
    print("| requests | | number | could not check: critical | warning | info | none | interrupted |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for group, bodies in requests().items():
        for name, folder in (("before", given.before), ("now", here)):
            if folder is None:
                continue
            answers = told(folder.resolve(), bodies)
            worst = Counter(answer["said"] for answer in answers)
            shares = [f"{worst[severity]} ({100 * worst[severity] / len(answers):.1f} %)" for severity in SEVERITIES]
            interrupted = sum(bool({"critical", "warning"} & set(answer["cards"])) for answer in answers)
            print(f"| {group} | {name} | {len(answers)} | {' | '.join(shares)} | {interrupted} |")


if __name__ == "__main__":
    main()
