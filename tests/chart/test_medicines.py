"""Medicines of a chart up to the rule that reads them: by code, product, name; from orders, doses and statements."""

from typing import Any

import pytest

from cds_service.advise import explain
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge
from cds_service.rules.outcome import Outcome
from tests.said import said
from tests.scenarios.build import NOW, SNOMED, sent

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC = "http://www.whocc.no/atc"
THEOPHYLLINE, MORPHINE = "10438", "7052"
TABLET = "198255"  # theophylline 100 MG Oral Capsule
RULE = "ddi-theophylline"

Json = dict[str, Any]


def concept(*codings: tuple[str, str], text: str | None = None) -> Json:
    made: Json = {"coding": [{"system": system, "code": code} for system, code in codings]}
    return made | ({"text": text} if text else {})


def statement(medication: Json, **more: Any) -> Json:
    return {
        "resourceType": "MedicationStatement",
        "id": "st1",
        "status": "active",
        "subject": {"reference": "Patient/p1"},
        "medicationCodeableConcept": medication,
    } | more


def bundle(*resources: Json) -> Json:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in resources]}


def outcome(knowledge: Knowledge, rule: str = RULE, **patient: Any) -> Outcome:
    request = sent({"order": {"rate": "0.2 mg/kg/h"}, "patient": patient})
    (judged,) = explain(request, True, knowledge, NoSource(), NOW)[0]
    (found,) = [each for each in judged.outcomes if each.rule.id == rule]
    return found


def ordered(knowledge: Knowledge, medication: Json) -> Outcome:
    return outcome(knowledge, medicines=[{"drug": medication}])


def taken(knowledge: Knowledge, rule: str = RULE, *statements: Json) -> Outcome:
    subjects = [each | {"subject": {"reference": "Patient/" + _patient()}} for each in statements]
    return outcome(knowledge, rule, raw={"medicationStatements": bundle(*subjects)})


def _patient() -> str:
    found: str | None = sent({"order": {}}).patient_id
    assert found is not None
    return found


def test_an_ingredient_code_fires_and_is_not_said_to_be_by_name(knowledge: Knowledge) -> None:
    found = ordered(knowledge, concept((RXNORM, THEOPHYLLINE), text="theophylline"))
    assert found.status == "fired"
    assert "by name" not in said(found.facts[0].says)


def test_a_product_code_fires_by_its_ingredient(knowledge: Knowledge) -> None:
    found = ordered(knowledge, concept((RXNORM, TABLET), text="a tablet"))
    assert found.status == "fired"
    assert said(found.facts[0].says).startswith("a tablet (ordered, ")


def test_a_name_fires_and_the_card_says_that_it_was_the_name(knowledge: Knowledge) -> None:
    found = ordered(knowledge, concept(("urn:local", "T1"), text="Theophylline SR 300 mg"))
    assert found.status == "fired"
    assert said(found.facts[0].says).startswith("Theophylline SR 300 mg (by name, ordered, ")


def test_codings_that_disagree_are_could_not_tell_whichever_comes_first(knowledge: Knowledge) -> None:
    codings = [(RXNORM, THEOPHYLLINE), (RXNORM, MORPHINE)]
    for order in (codings, codings[::-1]):
        found = ordered(knowledge, concept(*order, text="bag"))
        assert found.status == "could-not-tell"
        assert ["it is coded both as" in said(reason.says) for reason in found.reasons] == [True]


def test_a_medicine_that_cannot_be_told_hides_no_other_one(knowledge: Knowledge) -> None:
    disputed = {"drug": concept((RXNORM, THEOPHYLLINE), (RXNORM, MORPHINE), text="bag")}
    certain = {"drug": concept((RXNORM, THEOPHYLLINE), text="theophylline")}
    found = outcome(knowledge, medicines=[disputed, certain])
    assert found.status == "fired"
    assert [said(fact.says).partition(" (")[0] for fact in found.facts] == ["theophylline"]


def test_of_ketamine_any_coding_decides(knowledge: Knowledge) -> None:
    both = concept((RXNORM, "6130"), (RXNORM, MORPHINE), text="bag")
    found = outcome(knowledge, "duplicate-ketamine-esketamine", medicines=[{"drug": both, "rate": "10 mg/h"}])
    assert found.status == "fired"


@pytest.mark.parametrize("status", ["active", "intended", "Active", "recorded", "unknown", "a local word"])
def test_a_medicine_that_the_patient_is_recorded_to_take_counts(status: str, knowledge: Knowledge) -> None:
    found = taken(knowledge, RULE, statement(concept((RXNORM, THEOPHYLLINE), text="theophylline"), status=status))
    assert found.status == "fired"
    assert said(found.facts[0].says) == "theophylline (recorded as taken, no date)"


@pytest.mark.parametrize(
    "status", ["completed", "entered-in-error", "stopped", "on-hold", "not-taken", "Not taken", "STOPPED"]
)
def test_one_that_is_not_taken_does_not(status: str, knowledge: Knowledge) -> None:
    found = taken(knowledge, RULE, statement(concept((RXNORM, THEOPHYLLINE)), status=status))
    assert found.status == "clear"


def test_a_statement_whose_time_is_over_does_not_count(knowledge: Knowledge) -> None:
    past = {"start": "2026-01-01", "end": "2026-02-01"}
    medication = concept((RXNORM, THEOPHYLLINE), text="theophylline")
    assert taken(knowledge, RULE, statement(medication, effectivePeriod=past)).status == "clear"
    begun = taken(knowledge, RULE, statement(medication, effectivePeriod={"start": "2026-01-01"}))
    assert said(begun.facts[0].says) == "theophylline (recorded as taken, 2026-01-01)"


@pytest.mark.parametrize("key", ["medications", "medicationStatements", "administrations"])
def test_an_interaction_is_untold_where_any_list_that_could_hold_it_did_not_come(
    key: str, knowledge: Knowledge
) -> None:
    assert outcome(knowledge, missing=[key]).reasons[0].kind == "not-sent"
    refused = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-supported"}]}
    assert outcome(knowledge, raw={key: refused}).reasons[0].kind == "failed"
    assert outcome(knowledge).status == "clear"


def test_ketamine_that_is_recorded_as_taken_is_one_more_unless_it_stands_for_this_order(knowledge: Knowledge) -> None:
    rule, medication = "duplicate-ketamine-esketamine", concept((RXNORM, "6130"), text="ketamine")
    found = taken(knowledge, rule, statement(medication))
    assert found.status == "fired"
    assert said(found.facts[0].says) == "ketamine (recorded as taken, no date)"
    own = statement(medication, basedOn=[{"reference": "MedicationRequest/o1"}])
    assert taken(knowledge, rule, own).status == "clear"


def test_a_dose_whose_rate_is_in_no_time_stops_no_check(knowledge: Knowledge) -> None:
    """How much was given is not known, and all else of the order is judged."""
    ratio = {"numerator": {"value": 140, "unit": "mg"}, "denominator": {"value": 0, "unit": "h"}}
    dose = {
        "resourceType": "MedicationAdministration",
        "id": "a1",
        "status": "completed",
        "subject": {"reference": "Patient/" + _patient()},
        "medicationCodeableConcept": concept((RXNORM, "6130")),
        "effectivePeriod": {"start": "2026-11-22T07:00:00Z", "end": "2026-11-22T08:00:00Z"},
        "dosage": {"rateRatio": ratio, "route": {"coding": [{"system": SNOMED, "code": "47625008"}]}},
    }
    found = outcome(knowledge, "dose-given-so-far", raw={"administrations": bundle(dose)})
    assert found.status == "could-not-tell"
    assert ["how much was given is not known" in said(reason.says) for reason in found.reasons] == [True]
