"""How often a clinician is told that something could not be checked: python -m bench.noise [--before COMMIT|FOLDER].

The ordinary orders of `make burden` from each of its clients, the orders that are no ketamine, and one right order
for each sandbox patient. `--before` puts the same requests to another commit of this repository.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from bench import elsewhere
from cds_service.knowledge import load
from tests import sandbox_charts
from tests.burden.orders import CLIENTS, of_client, ordinary
from tests.scenarios.build import NOW, hook_request
from tests.test_negative_controls import CONTROLS, _request

SEVERITIES = ("critical", "warning", "info", "none")
Json = dict[str, Any]


def requests() -> dict[str, list[tuple[str, Json]]]:
    """group -> (moment, request) of each."""
    now, queries = NOW.isoformat(), load().queries
    found = {
        f"ordinary orders, {client}": [(now, hook_request(of_client(each, client))) for _, each in ordinary()]
        for client in CLIENTS
    }
    found["orders that are not ketamine"] = [(now, _request(control, "order-sign")) for control in CONTROLS]
    patients = sandbox_charts.patients()
    found["sandbox patients"] = [(now, sandbox_charts.request(patient, queries)) for patient in patients]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", help="a commit of this repository, or a folder that has one checked out")
    given = parser.parse_args()
    print("| requests | | number | could not check: critical | warning | info | none | interrupted |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    with elsewhere.checkout(given.before) if given.before else nullcontext() as before:
        for group, asked in requests().items():
            for name, folder in (("before", before), ("now", elsewhere.ROOT)):
                if folder is not None:
                    print(_row(group, name, elsewhere.cards(folder, asked)))


def _row(group: str, name: str, answers: Sequence[Json]) -> str:
    worst = Counter(answer["said"] for answer in answers)
    shares = [f"{worst[severity]} ({100 * worst[severity] / len(answers):.1f} %)" for severity in SEVERITIES]
    interrupted = sum(bool({"critical", "warning"} & set(answer["cards"])) for answer in answers)
    return f"| {group} | {name} | {len(answers)} | {' | '.join(shares)} | {interrupted} |"


if __name__ == "__main__":
    main()
