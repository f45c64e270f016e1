"""mg of base per mL: the ingredient's strength before a site's product, before the code, before the name."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from cds_service.fhir import lenient
from cds_service.fhir.datatypes import Reference
from cds_service.fhir.medication import describe
from cds_service.fhir.resources import Medication
from cds_service.knowledge import Knowledge
from cds_service.orders import concentration
from cds_service.orders.concentration import Concentration
from cds_service.says.orders import NO_STRENGTH, STRENGTH_IN_WORDS, STRENGTH_UNREAD
from cds_service.terminology.identity import identify
from tests.orders.build import quantity

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
KETAMINE = {"coding": [{"system": RXNORM, "code": "6130", "display": "ketamine"}]}
KETAMINE_50 = (RXNORM, "238084")


def _read(
    knowledge: Knowledge, site: dict[tuple[str, str], Fraction] | None = None, **elements: Any
) -> Concentration:
    medication = lenient.read({"resourceType": "Medication", "id": "m", **elements}).resource
    assert isinstance(medication, Medication)
    description = describe(None, Reference(reference="Medication/m"), [], lambda _: medication)
    identity = identify(description.all_codings, description.all_texts, knowledge.valuesets)
    assert identity is not None
    return concentration.read(description, identity, knowledge.valuesets, site)


def _ingredient(numerator: dict[str, Any], denominator: dict[str, Any]) -> dict[str, Any]:
    strength = {"numerator": numerator, "denominator": denominator}
    return {"itemCodeableConcept": KETAMINE, "strength": strength}


def test_the_strength_of_the_ingredient_goes_before_all_else(knowledge: Knowledge) -> None:
    code = {"coding": [{"system": RXNORM, "code": KETAMINE_50[1]}], "text": "ketamine 100 mg/mL"}
    found = _read(knowledge, code=code, ingredient=[_ingredient(quantity(500, "mg"), quantity(50, "mL"))])
    assert (found.mg_per_ml, found.by) == (10, "ingredient")


def test_a_strength_per_bag_needs_the_volume_of_the_bag(knowledge: Knowledge) -> None:
    per_bag = [_ingredient(quantity(500, "mg"), {"value": 1, "unit": "bag"})]
    assert _read(knowledge, code=KETAMINE, ingredient=per_bag).problem == STRENGTH_UNREAD
    amount = {"numerator": quantity(250, "mL"), "denominator": {"value": 1}}
    assert _read(knowledge, code=KETAMINE, ingredient=per_bag, amount=amount).mg_per_ml == 2


def test_the_site_goes_before_the_shipped_code(knowledge: Knowledge) -> None:
    code = {"coding": [{"system": RXNORM, "code": KETAMINE_50[1]}]}
    assert _read(knowledge, code=code).mg_per_ml == 50
    assert _read(knowledge, code=code).by == "code"
    of_site = _read(knowledge, {KETAMINE_50: Fraction(2)}, code=code)
    assert (of_site.mg_per_ml, of_site.by) == (2, "site")


def test_a_strength_in_words_is_said_to_be_one(knowledge: Knowledge) -> None:
    found = _read(knowledge, code={"text": "Ketamine 10 mg/mL or 50 mg / 2 mL"})
    assert (found.mg_per_ml, found.by, found.problem) == (25, "name", STRENGTH_IN_WORDS)


def test_without_any_strength_it_cannot_be_told(knowledge: Knowledge) -> None:
    assert _read(knowledge, code=KETAMINE) == Concentration(None, problem=NO_STRENGTH)
