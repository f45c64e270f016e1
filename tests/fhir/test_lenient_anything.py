"""Whatever stands in the place of an element, nothing raises, and what stands beside it is read."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.fhir import datatypes, lenient, resources
from cds_service.fhir.datatypes import CodeableConcept, Quantity
from cds_service.fhir.resources import (
    AllergyIntolerance,
    Condition,
    Patient,
)
from tests.fhir.as_it_arrives import (
    NASTY,
    RESOURCES,
    elements,
    encoded,
    paths,
    plain_json,
    spoilt,
    with_element,
)
from tests.fhir.written import Json, order

# Anything in the place of anything

any_resource = st.sampled_from(RESOURCES)


@settings(max_examples=400)
@given(any_resource.flatmap(spoilt))
def test_whatever_stands_in_the_place_of_any_element_nothing_raises(value: Any) -> None:
    found = lenient.decode(encoded(value))
    assert found.resource is None or type(found.resource).__name__ == found.type
    assert found.resource is not None or found.faults or found.type not in resources.TYPES


@settings(max_examples=400)
@given(any_resource.flatmap(lambda r: spoilt(r, plain_json)))
def test_what_the_strict_way_accepts_is_read_alike_on_the_lenient_one(value: Any) -> None:
    """Else one odd element would change how the others around it are read."""
    raw = encoded(value)
    try:
        strict = lenient._STRICT.decode(raw)
    except lenient.UNREADABLE:
        return
    found = lenient.read(lenient.untyped(raw))
    assert found.faults == ()
    assert elements(found.resource) == elements(strict)


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r["resourceType"])
def test_no_nasty_token_in_any_place_raises(resource: Json) -> None:
    for path in paths(resource):
        for token in NASTY:
            lenient.decode(encoded(with_element(resource, path, token)))


@settings(max_examples=300)
@given(st.data())
def test_what_stands_beside_an_unreadable_element_is_read_as_if_that_were_absent(data: st.DataObject) -> None:
    resource = data.draw(any_resource)
    whole = lenient.decode(encoded(resource)).resource
    assert whole is not None
    key = data.draw(st.sampled_from([key for key in resource if key != "resourceType"]))
    found = lenient.decode(encoded({**resource, key: data.draw(plain_json)})).resource
    assert type(found) is type(whole)
    names = {field.encode_name: field.name for field in msgspec.structs.fields(type(whole))}
    spoilt_field = {names.get(key, ""): ""}
    assert elements(found) | spoilt_field == elements(whole) | spoilt_field


@settings(max_examples=200)
@given(any_resource.flatmap(lambda r: spoilt(r, st.just("SECRET-OF-THE-PATIENT") | st.just({"SECRET": ["SECRET"]}))))
def test_no_fault_repeats_what_the_patient_record_says(value: Any) -> None:
    assert "SECRET" not in repr(lenient.decode(encoded(value)).faults)


def test_concepts_give_codes_only_with_their_system_and_words_in_the_order_of_use() -> None:
    found = order(
        medicationCodeableConcept={
            "coding": [
                {"code": "1"},
                {"system": "s", "code": "2", "display": "two"},
                {"system": "s", "display": "three"},
            ],
            "text": "the text",
        }
    ).medication_codeable_concept
    assert found is not None
    assert found.codes == [("s", "2")]
    assert found.words == ["the text", "two", "three"]
    assert found.name == "the text"
    assert CodeableConcept(coding=(datatypes.Coding(code="1"),)).name == "1"
    assert CodeableConcept().name is None


def test_a_quantity_is_looked_up_by_its_code_and_else_by_its_unit() -> None:
    assert Quantity(code="mg/kg/h", unit="mg/kg/hr").unit_text == "mg/kg/h"
    assert Quantity(unit="mcg/kg/min").unit_text == "mcg/kg/min"
    assert Quantity(code="", unit="mg").unit_text == "mg"
    assert Quantity().unit_text is None


def test_a_resource_says_whose_it_is_by_subject_or_patient() -> None:
    reference = datatypes.Reference(reference="Patient/p1")
    assert resources.subject_of(Condition(subject=reference)) == reference
    assert resources.subject_of(AllergyIntolerance(patient=reference)) == reference
    assert resources.subject_of(Patient(id="p1")) is None
    assert resources.subject_of(Condition()) is None


def test_every_struct_is_known_under_its_own_name() -> None:
    assert {name: cls.__name__ for name, cls in resources.TYPES.items()} == {name: name for name in resources.TYPES}
    assert set(resources.TYPES.values()) == set(resources.AnyResource.__args__)
