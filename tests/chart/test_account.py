"""Every entry of a chart ends in its account; and a status says what any of its parts says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cds_service.chart.chart import Chart
from cds_service.chart.genders import sex_of
from cds_service.fhir import bundles, lenient, statuses
from cds_service.fhir.datatypes import CodeableConcept
from cds_service.fhir.records import Records
from cds_service.knowledge import Knowledge
from cds_service.terminology import answers
from tests.scenarios.build import NOW, hook_request


def _chart(knowledge: Knowledge, prefetch: dict[str, Any]) -> Chart:
    records = Records("p1")
    for value in prefetch.values():
        records.add(bundles.page(lenient.encode(value)))
    return Chart(records, knowledge.valuesets, NOW, timedelta(minutes=5), knowledge.queries)


def test_every_entry_is_placed_or_irrelevant_or_left_open(knowledge: Knowledge) -> None:
    patient = {
        "problems": ["58214004 Schizophrenia", {"code": {}}, {"code": "58214004", "verification": "refuted"}],
        "medicines": [
            {"raw": {"medicationCodeableConcept": {}}},
            {"drug": "10438 theophylline", "status": "cancelled"},
        ],
        "given": [{"when": "in 3 hours"}, {}],
        "allergies": [{"to": {}}, "no known allergy"],
        "procedures": [{"code": {}}, {"code": "415070008 PCI"}],
    }
    chart = _chart(knowledge, hook_request({"order": {}, "patient": patient})["prefetch"])
    assert chart.on_record
    account = chart.account
    left_open = {
        kind: sum(entry.kind == kind for entry in account.unplaced)
        for kind in ("Condition", "MedicationRequest", "MedicationAdministration", "AllergyIntolerance", "Procedure")
    }
    assert set(left_open.values()) == {1}
    ended = {kind: account.placed[kind] + account.irrelevant[kind] + count for kind, count in left_open.items()}
    assert ended == {
        "Condition": 3,
        "MedicationRequest": 3,
        "MedicationAdministration": 2,
        "AllergyIntolerance": 2,
        "Procedure": 2,
    }


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"coding": [{"system": "urn:x", "code": "A"}, {"code": "active"}]}, "active"),
        ({"coding": [{"code": "inactive"}, {"code": "active"}]}, "active"),
        ({"coding": [{"code": "active"}, {"code": "Entered_In_Error"}]}, "entered-in-error"),
        ({"coding": [{"system": "urn:x", "code": "E", "display": "Entered in Error"}]}, "entered-in-error"),
        ({"text": "AKTIV"}, "active"),
        ({"text": " Resolved "}, "resolved"),
        ({"text": "what nobody knows"}, None),
        ({}, None),
    ],
)
def test_a_status_is_read_from_any_of_its_parts(status: dict[str, Any], code: str | None) -> None:
    read = lenient.read({"resourceType": "Condition", "clinicalStatus": status}).resource
    concept = getattr(read, "clinical_status", None) or CodeableConcept()
    assert statuses.code_of("condition", concept) == code


@pytest.mark.parametrize(
    ("written", "sex"),
    [
        ("F", "female"),
        ("Female", "female"),
        (" w ", "female"),
        ("MALE", "male"),
        ("other", None),
        ("x", None),
        ("", None),
    ],
)
def test_a_gender_is_read_as_far_as_it_is_sure(written: str, sex: str | None) -> None:
    assert sex_of(written) == sex


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("POS", "ans_positive"),
        ("+", "ans_positive"),
        ("Yes, visual", "ans_positive"),
        ("Sí", "ans_positive"),
        ("positif", "ans_positive"),
        ("Not detected (qualifier value)", "ans_negative"),
        ("nein.", "ans_negative"),
        ("Severe", "ans_severity"),
    ],
)
def test_words_answer(words: str, name: str, knowledge: Knowledge) -> None:
    found = {
        n
        for n in ("ans_positive", "ans_negative", "ans_severity")
        if answers.holds(n, (), [words], knowledge.valuesets)
    }
    assert found == {name}


@pytest.mark.parametrize(
    "words", ["see report", "possible", "-", "+/-", "abnormal", "no change", "Yesterday", "positive control"]
)
def test_words_that_are_no_answer_are_none(words: str, knowledge: Knowledge) -> None:
    names = ("ans_positive", "ans_negative", "ans_severity")
    assert not any(answers.holds(name, (), [words], knowledge.valuesets) for name in names)
