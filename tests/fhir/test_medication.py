"""What a medication is: by a concept and a reference together, by what it is made of, and what that is made of."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service import bounds
from cds_service.fhir import lenient
from cds_service.fhir.datatypes import Reference
from cds_service.fhir.medication import Description, described
from cds_service.fhir.resources import MedicationRequest, Resource
from tests.fhir.as_it_arrives import RXNORM, concept

Json = dict[str, Any]

KETAMINE = concept(RXNORM, "6130", "ketamine")
VAGUE = {"text": "Infusion"}
BAG = {"resourceType": "Medication", "id": "bag", "code": {"text": "Infusion bag"}}
SUBSTANCE = {"resourceType": "Substance", "id": "s", "code": KETAMINE}
STRENGTH = {"numerator": {"value": 50, "unit": "mg"}, "denominator": {"value": 1, "unit": "mL"}}


def _read(contained: list[Json], **elements: Any) -> Description:
    order = lenient.read({"resourceType": "MedicationRequest", "contained": contained, **elements}).resource
    assert isinstance(order, MedicationRequest)
    return described(order, _nothing)


def _nothing(reference: Reference | None) -> Resource | None:
    return None


def _made_of(*ingredients: Json) -> Json:
    return BAG | {"ingredient": list(ingredients)}


@pytest.mark.parametrize(
    "given",
    [
        {"medication": {"concept": VAGUE, "reference": {"reference": "#k"}}},
        {"medicationCodeableConcept": VAGUE, "medicationReference": {"reference": "#k"}},
        {"medicationCodeableConcept": concept("urn:h", "7", "Mixture"), "medicationReference": {"reference": "#k"}},
    ],
)
def test_a_concept_hides_no_medication_that_is_referenced_beside_it(given: Json) -> None:
    found = _read([{"resourceType": "Medication", "id": "k", "code": KETAMINE}], **given)
    assert (RXNORM, "6130") in found.all_codings
    assert "ketamine" in found.all_texts
    assert found.to_fetch is None


def test_a_reference_is_followed_only_where_nothing_else_says_what_it_is() -> None:
    elsewhere = {"reference": "Medication/gone"}
    local = {"coding": [{"system": "urn:h", "code": "7"}]}
    assert _read([], medicationCodeableConcept=local, medicationReference=elsewhere).to_fetch == "Medication/gone"
    for known in (VAGUE, {"coding": [{"system": RXNORM, "code": "161"}]}):
        assert _read([], medicationCodeableConcept=known, medicationReference=elsewhere).to_fetch is None
    assert _read([], medicationReference=elsewhere | {"display": "Infusion"}).to_fetch is None


@pytest.mark.parametrize(
    "item",
    [
        {"itemCodeableConcept": KETAMINE},
        {"itemReference": {"reference": "#s"}},
        {"item": {"concept": KETAMINE}},
        {"item": {"reference": {"reference": "#s"}}},
        {"item": {"concept": VAGUE, "reference": {"reference": "#s"}}},
    ],
)
@pytest.mark.parametrize("strength", ["strength", "strengthRatio"])
def test_an_ingredient_is_read_as_r4_and_as_r5_write_it(item: Json, strength: str) -> None:
    found = _read([_made_of(item | {strength: STRENGTH}), SUBSTANCE], medicationReference={"reference": "#bag"})
    (ingredient,) = found.ingredients
    assert (RXNORM, "6130") in ingredient.codings
    assert ingredient.strength is not None
    assert ingredient.strength.numerator is not None
    assert ingredient.strength.numerator.value == 50


def test_what_a_product_in_an_infusion_is_made_of_is_read_without_a_strength_of_the_whole() -> None:
    vial = {
        "resourceType": "Medication",
        "id": "vial",
        "code": {"coding": [{"system": "urn:h", "code": "01234567"}]},
        "ingredient": [{"itemReference": {"reference": "#s"}, "strength": STRENGTH}],
    }
    bag = _made_of({"itemReference": {"reference": "#vial"}}, {"itemCodeableConcept": {"text": "NaCl 0.9 %"}})
    found = _read([bag, vial, SUBSTANCE], medicationReference={"reference": "#bag"})
    assert [each.codings for each in found.ingredients] == [(("urn:h", "01234567"),), ((RXNORM, "6130"),), ()]
    assert all(each.strength is None for each in found.ingredients)


def test_a_medication_that_is_made_of_itself_ends() -> None:
    itself = {"itemReference": {"reference": "#bag"}}
    found = _read([_made_of(*[itself] * bounds.MEMBERS)], medicationReference={"reference": "#bag"})
    assert len(found.ingredients) == bounds.MEMBERS
    assert found.is_cut
    assert not _read([_made_of(itself)], medicationReference={"reference": "#bag"}).is_cut
