"""By which route and for what: codes decide, words alone or against the code leave it open."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.fhir.datatypes import CodeableConcept
from cds_service.knowledge import Knowledge
from cds_service.orders import indication, route
from cds_service.orders.indication import Indication
from tests.orders.build import fhir_dosage, order
from tests.said import said

SNOMED = "http://snomed.info/sct"
INTRAVENOUS, ORAL = ("47625008", "Intravenous route"), ("26643006", "Oral route")
PAIN, DEPRESSION = "274663001", "370143000"


def _concept(*codes: tuple[str, str], text: str | None = None) -> CodeableConcept | None:
    coding = [{"system": SNOMED, "code": code, "display": display} for code, display in codes]
    return fhir_dosage(route={"coding": coding} | ({"text": text} if text else {})).route


@pytest.mark.parametrize(
    ("concept", "kind", "unclear"),
    [
        (_concept(INTRAVENOUS), "intravenous", None),
        (_concept(ORAL, text="by mouth"), "oral", None),
        (None, route.UNSTATED, None),
        (_concept(INTRAVENOUS, ORAL), route.UNSTATED, "its codes name two routes"),
        (_concept(INTRAVENOUS, text="oral"), route.UNSTATED, "its code says intravenous, its words say oral"),
        (_concept(text="IV"), route.UNSTATED, "it is given in words alone"),
        (_concept(("999", "nowhere known")), "other", None),
    ],
)
def test_a_route(concept: CodeableConcept | None, kind: str, unclear: str | None, knowledge: Knowledge) -> None:
    found = route.read(concept, knowledge.valuesets)
    assert found.kind == kind
    assert said(found.unclear or "").startswith(unclear or "")
    assert bool(found.unclear) == bool(unclear)


def _indication(knowledge: Knowledge, **elements: Any) -> Indication:
    resolve = {"Condition/c1": None}
    terms, valuesets = knowledge.parts[0].terms, knowledge.valuesets
    return indication.read(
        order(**elements),
        terms.indications,
        terms.use,
        terms.words,
        valuesets,
        lambda r: resolve.get(str(r and r.reference)),
    )


def _uses(found: Indication) -> list[str]:
    return [use.name for use in found.uses]


def _reason(code: str) -> dict[str, Any]:
    return {"coding": [{"system": SNOMED, "code": code}]}


def test_a_coded_reason_is_mapped(knowledge: Knowledge) -> None:
    found = _indication(knowledge, reasonCode=[_reason(PAIN)])
    assert (found.given, found.all, found.assumed) == (True, {"pain"}, False)
    assert _uses(found) == ["analgesic"]


def test_without_a_reason_pain_is_assumed(knowledge: Knowledge) -> None:
    found = _indication(knowledge)
    assert (found.given, found.assumed, _uses(found)) == (False, True, ["analgesic"])


def test_a_reason_in_words_is_given_and_not_mapped(knowledge: Knowledge) -> None:
    found = _indication(knowledge, reasonCode=[{"text": "because"}])
    assert (found.given, found.unmapped, found.assumed) == (True, ("because",), True)


def test_depression_alone_is_not_analgesic_and_beside_pain_it_is_both(knowledge: Knowledge) -> None:
    alone = _indication(knowledge, reasonCode=[_reason(DEPRESSION)])
    assert _uses(alone) == ["depression"]
    both = _indication(knowledge, reasonCode=[_reason(DEPRESSION), _reason(PAIN)])
    assert _uses(both) == ["analgesic", "depression"]


def test_a_reason_by_a_reference_that_cannot_be_read_is_kept_in_its_words(knowledge: Knowledge) -> None:
    found = _indication(knowledge, reasonReference=[{"reference": "Condition/c1"}])
    assert list(map(said, found.unmapped)) == ["a problem that could not be read"]
