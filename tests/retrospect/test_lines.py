"""What stands in the files is read however it is packed or broken, and counted where it cannot be."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from cds_service.errors import CdsError
from cds_service.fhir import lenient
from cds_service.retrospect import exports, runs, synthetic
from cds_service.retrospect.judging import Policy
from cds_service.retrospect.plan import Plan
from cds_service.retrospect.synthetic import Signed
from cds_service.scenarios.request import hook_request
from tests.retrospect.conftest import write_export
from tests.retrospect.replays import exported, outcomes


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
