"""Synthetic patients, two policies, and replays of an export in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cds_service import cli
from cds_service.fhir import lenient
from cds_service.retrospect import backend, bulk, synthetic
from cds_service.retrospect import policies as of_policies
from cds_service.retrospect.asking import Stored
from cds_service.retrospect.judging import AsOf, Policy, Row, Study
from cds_service.retrospect.plan import Plan
from cds_service.retrospect.policies import Codes, named
from cds_service.retrospect.synthetic import Signed
from cds_service.store.keys import Key

OVERLAY = """\
site: Example Hospital
limits:
  - {limit: rate-warn, value: 0.6, owner: Pharmacy, date: 2026-01-01, reason: to be tried}
rules:
  - {rule: duration-missing, off: true, owner: Pharmacy, date: 2026-01-01, reason: to be tried}
"""


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that raises one limit and switches one rule off."""
    file = tmp_path_factory.mktemp("site") / "new.yaml"
    file.write_text(OVERLAY, "utf-8")
    return file


@pytest.fixture(scope="session")
def policies(overlay: Path) -> list[Policy]:
    return of_policies.load_all(
        of_policies.named(None, [str(overlay)]), of_policies.Codes("http://x.example", None, ())
    )


@pytest.fixture(scope="session")
def patients() -> list[Signed]:
    return list(synthetic.signed(25, 7))


@pytest.fixture(scope="session")
def study(policies: list[Policy]) -> Study:
    types = frozenset(query.type for query in policies[0].knowledge.queries)
    return Study(policies, Key(os.urandom(40)), "order", synthetic.END, {}, types)


@pytest.fixture
def as_of(study: Study) -> Callable[[AsOf], Study]:
    return lambda mode: replace(study, as_of=mode)


def row_of(each: Signed) -> Row:
    """The row of a synthetic patient; its order alone is judged."""
    orders = [r for r in each.exported if r["resourceType"] == "MedicationRequest" and r["id"] == each.order]
    return Row(each.patient, tuple(map(lenient.encode, orders)), chart_of(each.exported))


def chart_of(resources: Iterable[Mapping[str, Any]]) -> tuple[Stored, ...]:
    return tuple(Stored(each["resourceType"], lenient.encode(each)) for each in resources)


def write_export(folder: Path, resources: Iterable[Mapping[str, Any]]) -> Path:
    """An NDJSON file for each type."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in resources:
        with (folder / f"{each['resourceType']}.ndjson").open("ab") as file:
            file.write(lenient.encode(each) + b"\n")
    return folder


@pytest.fixture
def replayed(tmp_path: Path, overlay: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, on one core: replayed(source, "--as-of", "now") → exit code; the report is in `report`."""
    for name in [name for name in os.environ if name.startswith("KETAMINE_CDS_")]:
        monkeypatch.delenv(name)

    def run(source: Path, *options: str, out: str = "report", workers: int = 1, new: Path | None = overlay) -> int:
        given = ["replay", str(source), "--out", str(tmp_path / out), "--workers", str(workers), *options]
        return cli.main([*given, *(["--overlay", str(new)] if new is not None else [])])

    return run


MOMENT = datetime.fromisoformat("2026-05-04T10:00:00+00:00")


@pytest.fixture
def plan(tmp_path: Path, overlay: Path) -> Plan:
    return Plan(
        source=str(tmp_path / "export"),
        out=str(tmp_path / "report"),
        policies=named(None, [str(overlay)]),
        codes=Codes("http://x.example", None, ()),
        as_of="order",
        now=synthetic.END,
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of this machine, and no time to lose."""
    for name in [name for name in os.environ if name.startswith("KETAMINE_CDS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(backend, "SHORTEST_WAIT", 0.01)
    monkeypatch.setattr(bulk, "SHORTEST_WAIT", 0.01)
    slept: Callable[[float], None] = time.sleep
    monkeypatch.setattr(bulk.time, "sleep", lambda seconds: slept(min(seconds, 0.01)))
