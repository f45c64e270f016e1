"""A request that there is no time to read is looked at as bytes: no judged drug in it is passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.knowledge import Knowledge
from cds_service.terminology.glance import LARGEST, may_concern
from tests.scenarios.build import hook_request

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
NDC = "http://hl7.org/fhir/sid/ndc"


def _order(**medication: Any) -> bytes:
    return json.dumps({"context": {"draftOrders": {"entry": [{"resource": medication}]}}}).encode()


@pytest.mark.parametrize(
    "concept",
    [
        {"text": "Ketamine 50 mg/mL"},
        {"text": "KETALAR"},
        {"text": "Spravato nasal spray"},
        {"text": "kétamine"},
        {"coding": [{"system": RXNORM, "code": "6130"}]},
        {"coding": [{"code": " 6130 "}]},
    ],
    ids=str,
)
def test_a_judged_drug_is_seen_by_name_and_by_code(concept: dict[str, Any], knowledge: Knowledge) -> None:
    for is_escaped in (True, False):
        body = json.dumps({"medicationCodeableConcept": concept}, ensure_ascii=is_escaped).encode()
        assert may_concern(body, knowledge.valuesets)


def test_every_code_of_a_judged_drug_is_seen(knowledge: Knowledge) -> None:
    members = [(s, m.code) for name in knowledge.valuesets.drugs.sets for s, m in knowledge.valuesets[name].members]
    assert len(members) > 20
    for system, code in members:
        body = _order(medicationCodeableConcept={"coding": [{"system": system, "code": code}]})
        assert may_concern(body, knowledge.valuesets), code


def test_a_name_that_is_written_with_escapes_is_seen(knowledge: Knowledge) -> None:
    hidden = "".join(f"\\u{ord(letter):04x}" for letter in "ketamine")
    assert may_concern(f'{{"text":"{hidden}"}}'.encode(), knowledge.valuesets)


@pytest.mark.parametrize(
    ("reference", "is_bare"),
    [
        ({"reference": "Medication/1"}, True),
        ({"reference": "Medication/1", "display": "morphine 10 mg/mL"}, False),
        ({"reference": "Medication/1", "extension": [{"url": "x"}]}, True),
        ("Medication/1", True),
    ],
)
def test_a_medication_that_is_only_referenced_may_be_anything(
    reference: Any, is_bare: bool, knowledge: Knowledge
) -> None:
    assert may_concern(_order(medicationReference=reference), knowledge.valuesets) is is_bare


@pytest.mark.parametrize(
    "text", ["morphine 10 mg/mL", "ketorolac", "norketamine", "tiletamine", "amiodarone", "metformin 6130 mg"]
)
def test_another_drug_is_passed_over(text: str, knowledge: Knowledge) -> None:
    assert not may_concern(_order(medicationCodeableConcept={"text": text}), knowledge.valuesets)


def test_what_is_too_long_to_look_through_counts_as_naming_a_drug(knowledge: Knowledge) -> None:
    assert not may_concern(b" " * LARGEST, knowledge.valuesets)
    assert may_concern(b" " * (LARGEST + 1), knowledge.valuesets)


def test_a_whole_request_of_a_judged_drug_is_seen(knowledge: Knowledge) -> None:
    assert may_concern(
        json.dumps(hook_request({"order": {"rate": "1.2 mg/kg/h"}}), default=str).encode(), knowledge.valuesets
    )


@given(st.binary(max_size=400))
def test_no_bytes_make_it_fail(knowledge: Knowledge, body: bytes) -> None:
    assert may_concern(body, knowledge.valuesets) in (True, False)
