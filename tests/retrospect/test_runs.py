"""From an export in files to the report: nothing is lost, a run that was stopped goes on, and no patient is named."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from cds_service import signature
from cds_service.console import replay as replay_page
from cds_service.errors import CdsError
from cds_service.fhir import lenient
from cds_service.retrospect import gathering, report, results, runs
from cds_service.retrospect.judging import Policy
from cds_service.retrospect.plan import Plan, Stopped, study_of
from cds_service.retrospect.results import NotAReport
from cds_service.retrospect.synthetic import Signed
from tests.retrospect.conftest import write_export
from tests.retrospect.replays import exported, outcomes

Runs = Callable[..., list[tuple[Any, ...]]]
CANARY = "Kanarienvogel"


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text("utf-8").splitlines()))


def test_the_report_has_its_page_its_tables_and_no_address_of_the_network(
    plan: Plan, policies: list[Policy], patients: list[Signed]
) -> None:
    write_export(Path(plan.source), exported(patients))
    state = runs.run(plan, policies, lambda *_: None)
    assert state.found is not None
    measured = report.write(plan, state.found, state.notes, policies, ["ward", "indication", "client", "requester"])
    runs.finish(plan)
    out = Path(plan.out)
    page = (out / "index.html").read_text("utf-8")
    assert not re.search(r"https?://|<script|@import|src=", page)
    assert page.count("<svg") == 4
    transitions = table(out / "transitions.csv")
    raised = [t for t in transitions if t["rule"] == "rate-exceeds-protocol-max"]
    assert [(t["was"], t["becomes"], int(t["changed"]) > 0, t["by_switch"]) for t in raised] == [
        ("fired warning", "clear", True, "0")
    ]
    off = [t for t in transitions if t["becomes"] == "switched off"]
    assert {(t["rule"], t["changed"]) for t in off} == {("duration-missing", "0")}
    above = {float(r["limit (mg/kg/h)"]): int(r["orders_above"]) for r in table(out / "limits-mg-per-kg-per-h.csv")}
    assert above[0.0] > above[max(above)]
    assert measured["new-interruptive-per-100"] < 0
    assert json.loads((out / "summary.json").read_text())["judged"] == state.found.orders
    assert not plan.work.exists()
    result = results.opened(out)
    assert [each.name for each in result.summary.policies] == ["old-policy", "new-policy"]
    for policy, told in zip(policies, result.summary.policies, strict=True):
        assert told.digest == signature.digest(policy.knowledge)
    assert all(result.table(name).rows for name in result.summary.tables if name != "not-known-then")
    shown = replay_page._shown(result, "")
    drawn = "".join(each.histogram + each.curve for each in shown.drawn)
    assert "".join(re.findall("<svg.*?</svg>", page, re.DOTALL)) == drawn
    assert len(shown.groups) == 4
    with (out / "transitions.csv").open("a") as file:
        file.write("one more\n")
    with pytest.raises(NotAReport, match="changed after the report was written"):
        result.table("transitions")


def test_a_run_that_was_killed_goes_on_without_a_lost_or_a_double_row(
    plan: Plan, policies: list[Policy], patients: list[Signed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "PATIENTS_A_PART", 6)
    write_export(Path(plan.source), exported(patients))
    whole = outcomes(replace(plan, out=plan.out + "-whole"), policies)
    judged: list[int] = []
    judge = runs.judge_part

    def killed(work: Path, study: Any, part: int) -> None:
        judged.append(part)
        if len(judged) == 3:
            (work / "outcomes" / f"{part:04}.99.part").write_bytes(b"half of it")
            raise KeyboardInterrupt
        judge(work, study, part)

    monkeypatch.setattr(runs, "judge_part", killed)
    with pytest.raises(KeyboardInterrupt):
        outcomes(plan, policies)
    before = sorted(judged)
    assert outcomes(plan, policies) == whole
    assert sorted({*before[:2], *judged[3:]}) == sorted(judged[:2] + judged[3:])  # none of them twice
    assert len(whole) > 0


def test_a_run_of_other_files_does_not_go_on(plan: Plan, policies: list[Policy], patients: list[Signed]) -> None:
    folder = write_export(Path(plan.source), exported(patients[:2]))
    plan.work.mkdir(parents=True)
    runs.run(plan, policies, lambda *_: None)
    write_export(folder, exported(patients[2:3]))
    with pytest.raises(Stopped, match="unfinished replay of other files or policies"):
        runs.run(plan, policies, lambda *_: None)
    runs.finish(plan)
    with pytest.raises(Stopped, match="holds a report already"):
        runs.run(plan, policies, lambda *_: None)


def test_no_worker_judges_by_a_policy_that_was_changed_since(
    plan: Plan, policies: list[Policy], patients: list[Signed]
) -> None:
    write_export(Path(plan.source), exported(patients[:1]))
    runs.run(plan, policies, lambda *_: None)
    old, new = policies
    with pytest.raises(Stopped, match="changed while the replay ran"):
        study_of(plan, [old, new._replace(knowledge=old.knowledge)])


def test_nothing_of_a_patient_stands_in_the_report(
    plan: Plan, policies: list[Policy], patients: list[Signed], capsys: pytest.CaptureFixture[str]
) -> None:
    """Names, identifiers, free text and the name of a place that few patients share are canaries."""
    resources = exported(patients[:12])
    for each in resources:
        text = lenient.encode(each).replace(b"syn-j", f"{CANARY}-".encode())
        each |= lenient.untyped(text)
        each["text"] = {"div": f"<div>{CANARY}</div>"}
        each["note"] = [{"text": CANARY}]
        if each["resourceType"] == "Patient":
            each["name"] = [{"family": CANARY}]
        if each["resourceType"] == "Encounter":
            each["location"] = [{"location": {"display": f"room of {CANARY} {each['id']}"}, "status": "active"}]
        if each["resourceType"] == "MedicationRequest":
            each["requester"] = {"reference": f"Practitioner/{CANARY}", "display": CANARY}
            each["reasonCode"] = [{"text": CANARY}]
    folder = write_export(Path(plan.source), resources)
    with (folder / "Condition.ndjson").open("a") as file:
        file.write(f'{{"subject":{{"reference":"Patient/{CANARY}-0"}},"code":{{"text":"{CANARY}\n')
    state = runs.run(plan, policies, lambda *_: None)
    assert state.found is not None
    assert plan.work.stat().st_mode & 0o077 == 0
    report.write(plan, state.found, state.notes, policies, ["ward", "client", "indication", "requester"])
    runs.finish(plan)
    files = [file for file in Path(plan.out).rglob("*") if file.is_file()]
    assert len(files) > 10
    for file in files:
        content = (
            json.dumps(duckdb.sql(f"FROM read_parquet('{file}')").fetchall())
            if file.suffix == ".parquet"
            else file.read_text("utf-8")
        )
        assert CANARY.lower() not in content.lower(), file
    printed = capsys.readouterr()
    assert CANARY.lower() not in (printed.out + printed.err).lower()


def test_an_engine_that_fails_quotes_nothing_of_the_files(
    plan: Plan, policies: list[Policy], patients: list[Signed], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_export(Path(plan.source), exported(patients[:1]))

    def broken(self: gathering.Gathering) -> None:
        raise duckdb.InvalidInputException(f"Original Line: {CANARY}")

    monkeypatch.setattr(gathering.Gathering, "select", broken)
    with pytest.raises(CdsError, match="InvalidInputException") as caught:
        runs.run(plan, policies, lambda *_: None)
    assert CANARY not in str(caught.value)


def test_the_command_fails_where_a_measure_is_passed_and_says_which(
    replayed: Callable[..., int], tmp_path: Path, patients: list[Signed], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_export(tmp_path / "export", exported(patients[:6]))
    options = ("--by", "ward", "--fail-if", "interruptive-per-100 > 0", "--fail-if", "lines-not-read > 3")
    assert replayed(folder, *options, workers=2) == 1
    printed = capsys.readouterr()
    assert "fails: interruptive-per-100 > 0 (it is" in printed.out
    assert "lines-not-read" not in printed.out
    assert "judging" in printed.err


def test_a_report_inside_the_export_is_no_part_of_it(
    plan: Plan, policies: list[Policy], patients: list[Signed]
) -> None:
    folder = write_export(Path(plan.source), exported(patients[:2]))
    inside = replace(plan, out=str(folder / "report"))
    assert outcomes(inside, policies) == outcomes(inside, policies) == outcomes(plan, policies)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fail-if", "everything > 1"], "no measure everything; there are interruptive-per-100"),
        (["--fail-if", "lines-not-read"], "expected is MEASURE > NUMBER"),
        (["--by", "nurse"], "it can be ward, client, indication, requester"),
        (["--since", "spring"], "not a date"),
        (["--workers", "0"], "at least one"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(
    options: list[str], says: str, replayed: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replayed(tmp_path, *options, new=None) == 3
    assert says in capsys.readouterr().err


def test_without_its_packages_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "Patient.ndjson").write_text('{"resourceType":"Patient","id":"p"}\n')
    (tmp_path / "none" / "duckdb").mkdir(parents=True)
    (tmp_path / "none" / "duckdb" / "__init__.py").write_text("raise ImportError('not here')\n")
    given = [
        sys.executable,
        "-m",
        "cds_service.cli",
        "replay",
        str(tmp_path / "Patient.ndjson"),
        "--out",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "none")}
    ended = subprocess.run(given, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert ended.stderr.strip().endswith(
        "replay needs duckdb, which is not installed: pip install 'ketamine-cds[replay]'"
    )
