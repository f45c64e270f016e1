"""Load the sandbox's patients into a FHIR server: `python -m cds_service.commands.samples URL`.

For a server to try the service on, as in docker-compose.yml. Loaded again, the charts are those of the present hour.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cds_service.sandbox import charts
from cds_service.sandbox.caller import Failed, Web, why
from cds_service.settings import web_url

PATIENCE = 300.0
"""Seconds that a server may take to start."""
_HEADERS = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}


def load(base: str, web: Web, now: datetime, patience: float = PATIENCE) -> int:
    """Put every chart on the server at `base` under its own ids; how many there are. Raises Failed."""
    _await(base, web, patience)
    for patient in charts.patients():
        status, answer = web.send("POST", base, _HEADERS, transaction(patient.id, now))
        if status not in (200, 201):
            raise Failed(f"{base} answered {status} to the chart of {patient.id}{why(answer)}")
    return len(charts.patients())


def transaction(patient: str, now: datetime) -> Mapping[str, Any]:
    """One chart, as it stands in the hour of `now`, to be written whole or not at all."""
    mine = [each for (kind, name), each in charts.resources_at(now).items() if _whose(kind, name, each) == patient]
    entries = [{"resource": each, "request": _put(each["resourceType"], each["id"])} for each in mine]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _whose(kind: str, name: str, resource: Mapping[str, Any]) -> str:
    """The id of the patient to whom a resource of a chart belongs."""
    return name if kind == "Patient" else str(resource[charts.WHOSE[kind]]["reference"]).removeprefix("Patient/")


def _put(kind: str, name: str) -> Mapping[str, str]:
    return {"method": "PUT", "url": f"{kind}/{name}"}


def _await(base: str, web: Web, patience: float) -> None:
    """Until the server answers, whose container may have been started with this one. Raises Failed."""
    end = time.monotonic() + patience
    while True:
        try:
            status, _ = web.send("GET", f"{base}/metadata", _HEADERS)
            if status == 200:
                return
        except Failed:
            pass
        if time.monotonic() > end:
            raise Failed(f"{base}/metadata did not answer within {patience:g} s")
        time.sleep(min(1.0, patience / 10))


def main(arguments: list[str]) -> int:
    try:
        (url,) = arguments
        base = web_url(url)
    except ValueError:
        print("give the base URL of one FHIR R4 server", file=sys.stderr)
        return 3
    try:
        count = load(base, Web(), datetime.now(UTC))
    except Failed as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{count} patients are at {base}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
