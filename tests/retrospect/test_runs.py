"""From an export in files to the report: nothing is lost, a run that was stopped goes on, and no patient is named."""

from __future__ import annotations

import csv
import gzip
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
import pyarrow
import pyarrow.parquet
import pytest

from cds_service import signature
from cds_service.console import replay as replay_page
from cds_service.errors import CdsError
from cds_service.fhir import lenient
from cds_service.retrospect import exports, gathering, report, results, runs, synthetic
from cds_service.retrospect.judging import Policy
from cds_service.retrospect.policies import Codes, named
from cds_service.retrospect.results import NotAReport
from cds_service.retrospect.runs import Plan, Stopped
from cds_service.retrospect.synthetic import Signed
from cds_service.scenarios.request import hook_request
from tests.retrospect.conftest import write_export

Runs = Callable[..., list[tuple[Any, ...]]]
CANARY = "Kanarienvogel"


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


def outcomes(plan: Plan, policies: list[Policy]) -> list[tuple[Any, ...]]:
    """Everything that a run found, without the pseudonyms, which are others in each run."""
    runs.run(plan, policies, lambda *_: None)
    return rows_of(plan)


def rows_of(plan: Plan) -> list[tuple[Any, ...]]:
    query = f"SELECT * EXCLUDE (\"order\", patient, requester) FROM read_parquet('{plan.outcomes}') ORDER BY ALL"
    return duckdb.sql(query).fetchall()


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text("utf-8").splitlines()))


def exported(patients: list[Signed]) -> list[dict[str, Any]]:
    return [dict(resource) for each in patients for resource in each.exported]


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
        runs.study_of(plan, [old, new._replace(knowledge=old.knowledge)])


def test_what_cannot_be_read_is_counted_and_costs_nobody_else_anything(
    plan: Plan, policies: list[Policy], patients: list[Signed]
) -> None:
    """A broken line that names its patient makes that list incomplete; bytes that are no text cost their line."""
    folder = write_export(Path(plan.source), exported(patients))
    whole = outcomes(replace(plan, out=plan.out + "-whole"), policies)
    hit = patients[0].patient
    with (folder / "Condition.ndjson").open("ab") as file:
        file.write(f'{{"resourceType":"Condition","subject":{{"reference":"Patient/{hit}"}},"code":\n'.encode())
        file.write(b'{"resourceType":"Condition","note":"\xff\xfe"\n\n[]\n')
    with (folder / "Observation.ndjson").open("ab") as file:
        file.write(b'{"resourceType":"Observation","id":"broken off')
    (folder / "Procedure.ndjson").unlink()
    found = outcomes(plan, policies)
    state = runs.run(plan, policies, lambda *_: None)
    assert state.found is not None
    assert state.found.unreadable == {"Condition": 3, "Observation": 1}
    assert state.notes[0] == "Observation.ndjson breaks off in a line"
    assert "the export holds no Procedure" in state.notes[1:]
    assert "the export holds no Condition" not in state.notes
    assert state.found.orders == sum(row[0] == "order" for row in whole) == sum(row[0] == "order" for row in found)
    untold = [row for row in found if row[0] == "rule" and "procedures" in (row[-2] or "")]
    assert untold
    gaps = [row for row in found if row[0] == "rule" and "conditions" in (row[-2] or "").split() and "failed" in row]
    assert gaps


def test_lines_of_fifteen_megabytes_are_read_as_any_other(
    plan: Plan, policies: list[Policy], patients: list[Signed]
) -> None:
    """They need more memory than an export without them is given."""
    folder = write_export(Path(plan.source), exported(patients[:3]))
    plain = outcomes(replace(plan, out=plan.out + "-plain"), policies)
    said = {"resourceType": "Observation", "note": [{"text": "29463-7 " * 1_900_000}], "subject": {"reference": "x"}}
    write_export(folder, [said] * 6)
    assert outcomes(plan, policies) == plain


def test_packed_files_and_parquet_say_the_same_as_plain_ones(
    plan: Plan, policies: list[Policy], patients: list[Signed], tmp_path: Path
) -> None:
    resources = exported(patients[:6])
    plain = write_export(tmp_path / "plain", resources)
    packed, tables = tmp_path / "packed", tmp_path / "tables"
    packed.mkdir()
    tables.mkdir()
    for file in plain.iterdir():
        (packed / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        lines = file.read_text("utf-8").splitlines()
        pyarrow.parquet.write_table(pyarrow.table({"json": lines}), tables / f"{file.stem}.parquet")
    found = [
        outcomes(replace(plan, source=str(folder), out=f"{plan.out}-{folder.name}"), policies)
        for folder in (plain, packed, tables)
    ]
    assert found[0] == found[1] == found[2]
    assert found[0]


def test_a_packed_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path, patients: list[Signed]) -> None:
    folder = write_export(tmp_path / "plain", exported(patients))
    content = gzip.compress((folder / "Observation.ndjson").read_bytes())
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "Observation.ndjson.gz").write_bytes(content[: len(content) // 2])
    export = exports.find(tmp_path / "cut", tmp_path / "work")
    assert export.notes[0] == "Observation.ndjson.gz is packed and breaks off"
    assert export.of("Observation")[0].stat().st_size > 0


def test_the_line_in_which_a_packed_file_breaks_off_is_counted(
    plan: Plan, policies: list[Policy], patients: list[Signed]
) -> None:
    folder = write_export(Path(plan.source), exported(patients[:3]))
    whole = (folder / "Condition.ndjson").read_bytes() * 40
    (folder / "Condition.ndjson").unlink()
    (folder / "Condition.ndjson.gz").write_bytes(gzip.compress(whole, 1)[:-200])
    state = runs.run(plan, policies, lambda *_: None)
    assert state.found is not None
    assert state.notes[0] == "Condition.ndjson.gz is packed and breaks off"
    assert state.found.unreadable == {"Condition": 1}


def test_a_parquet_file_that_breaks_off_stops_the_replay_before_it_begins(tmp_path: Path) -> None:
    """Nothing of it can be read, and a report without a whole file of the export would be a wrong one."""
    pyarrow.parquet.write_table(pyarrow.table({"json": ["{}"] * 100}), tmp_path / "Condition.parquet")
    file = tmp_path / "Condition.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CdsError, match=r"Condition\.parquet is no whole Parquet file"):
        exports.find(tmp_path, tmp_path / "work")


def test_an_empty_file_says_that_there_is_nothing_of_its_type(
    plan: Plan, policies: list[Policy], patients: list[Signed]
) -> None:
    folder = write_export(Path(plan.source), exported(patients[:2]))
    (folder / "AdverseEvent.ndjson").touch()
    (folder / "Procedure.ndjson").write_bytes(b"")
    state = runs.run(plan, policies, lambda *_: None)
    assert state.found is not None
    assert (state.found.orders, state.found.unreadable) == (2, {})
    assert "the export holds no Procedure" not in state.notes


def test_hook_requests_stand_one_in_a_line(plan: Plan, policies: list[Policy]) -> None:
    sent = hook_request({"name": "x", "patient": {}, "order": {"rate": "0.55 mg/kg/h"}}, synthetic.END)
    sent["context"]["draftOrders"]["entry"][0]["resource"]["authoredOn"] = synthetic.END.isoformat()
    line = lenient.encode(sent)
    Path(plan.source).write_bytes(line + b"\n" + b'{"hook": "order-sign"\n' + line.replace(b"0.55", b"0.1") + b"\n")
    rows = outcomes(plan, policies)
    assert sum(row[0] == "order" for row in rows) == 2
    fired = [row for row in rows if row[0] == "rule" and "rate-exceeds-protocol-max" in row and "fired" in row]
    assert len(fired) == 1
    state = runs.run(plan, policies, lambda *_: None)
    assert state.found is not None
    assert state.found.unreadable == {exports.REQUESTS: 1}


def test_orders_are_found_by_code_by_name_by_a_referenced_and_by_a_contained_medication(
    plan: Plan, policies: list[Policy]
) -> None:
    drug = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "6130"}]}
    other = {
        "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "161"}],
        "text": "paracetamol",
    }
    of: list[dict[str, Any]] = [
        {"medicationCodeableConcept": drug},
        {"medicationCodeableConcept": {"text": "KÉTAMINE 50 mg"}},
        {"medicationCodeableConcept": {"text": "S-Ketamin"}},
        {"medicationReference": {"reference": "Medication/m1"}},
        {"medicationReference": {"reference": "https://ehr.example/fhir/Medication/m2/_history/3"}},
        {
            "medicationReference": {"reference": "#c"},
            "contained": [{"resourceType": "Medication", "id": "c", "code": drug}],
        },
        {"medicationReference": {"reference": "Medication/elsewhere", "display": "Ketamin"}},
        {"medicationReference": {"reference": "Medication/elsewhere"}},
        {"medicationCodeableConcept": other},
        {"medicationReference": {"reference": "Medication/m3"}},
        {"medicationCodeableConcept": drug, "status": "entered-in-error"},
        {"medicationCodeableConcept": drug, "intent": "proposal"},
        {"medicationCodeableConcept": drug, "subject": {}},
    ]
    usual = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p"},
    }
    resources: list[dict[str, Any]] = [
        {**usual, "id": f"o{number}", "authoredOn": f"2026-05-0{number % 9 + 1}T10:00:00Z", **each}
        for number, each in enumerate(of)
    ]
    ingredient = {"itemReference": {"reference": "Medication/m1"}}
    resources += [
        {"resourceType": "Patient", "id": "p"},
        {"resourceType": "Medication", "id": "m1", "code": drug},
        {"resourceType": "Medication", "id": "m2", "ingredient": [ingredient]},
        {"resourceType": "Medication", "id": "m3", "code": other},
    ]
    write_export(Path(plan.source), resources)
    rows = outcomes(plan, policies)
    orders = [row for row in rows if row[0] == "order"]
    assert [row[7] for row in orders] == ["judged"] * 7
    state = runs.run(plan, policies, lambda *_: None)
    assert state.found is not None
    assert state.found.left_out == {
        "entered in error, or never signed": 1,
        "no order that somebody signs (its intent)": 1,
        "says no patient": 1,
        "its medication is only referenced, and not in the export": 1,
    }


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
