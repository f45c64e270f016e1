"""One resource as it really arrives: what can be read is read, what cannot is named, nothing raises."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from cds_service import units
from cds_service.fhir import datatypes, lenient, statuses
from cds_service.fhir.datatypes import CodeableConcept, Quantity
from cds_service.fhir.resources import (
    Condition,
    Encounter,
    Medication,
    MedicationRequest,
    Observation,
    RequestGroup,
)
from cds_service.says.records import ENTRY_NO_RESOURCE, RESOURCE_NO_JSON, RESOURCE_WITHOUT_TYPE
from tests.fhir.as_it_arrives import (
    CONDITION,
    ENCOUNTER,
    EPIC_ORDER,
    LONG_ID,
    MEDICATION,
    RESOURCES,
    SUBJECT,
    WEIGHT,
    elements,
    encoded,
    quantity,
)
from tests.fhir.written import Json, order, read
from tests.said import told


def observation(**elements: Any) -> lenient.Read:
    return read({"resourceType": "Observation", "id": "1", "status": "final", **elements})


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r["resourceType"])
def test_a_sound_resource_is_read_whole_on_the_strict_way_and_on_the_lenient_one(resource: Json) -> None:
    strict = lenient.decode(encoded(resource))
    by_element = lenient.read(lenient.untyped(encoded(resource)))
    assert told(strict.faults) == by_element.faults == ()
    assert strict.type == resource["resourceType"]
    assert strict.resource is not None
    assert elements(strict.resource) == elements(by_element.resource)


# What clients are known to send


def test_a_category_that_is_an_object_is_a_list_of_one() -> None:
    found = order(category={"coding": [{"code": "inpatient"}]})
    assert found.category == (CodeableConcept(coding=(datatypes.Coding(code="inpatient"),)),)


def test_a_dose_and_rate_that_is_an_object_is_a_list_of_one() -> None:
    found = order(dosageInstruction={"doseAndRate": {"doseQuantity": quantity(35, "mg")}})
    (dosage,) = found.dosage_instruction
    assert [each.dose_quantity for each in dosage.dose_and_rate] == [
        Quantity(value=Decimal(35), unit="mg", system="http://unitsofmeasure.org", code="mg")
    ]


def test_a_dose_on_the_dosage_itself_is_kept_beside_those_of_r4() -> None:
    dosage = {"doseQuantity": quantity(35, "mg"), "doseAndRate": [{"rateQuantity": quantity(5, "mg/h")}]}
    (found,) = order(dosageInstruction=[dosage]).dosage_instruction
    assert found.dose_quantity is not None
    assert found.dose_quantity.value == 35
    assert found.dose_and_rate[0].rate_quantity is not None


def test_all_three_entries_of_an_epic_dosage_are_kept_in_order_with_their_types() -> None:
    resource = read(EPIC_ORDER).resource
    assert isinstance(resource, MedicationRequest)
    (dosage,) = resource.dosage_instruction
    kinds = [(each.type.text, each.dose_quantity.value) for each in dosage.dose_and_rate]  # type: ignore[union-attr]
    assert kinds == [("calculated", 35), ("admin-amount", Decimal("0.7")), ("ordered", Decimal("0.5"))]


def test_the_order_of_the_official_sandbox_is_read() -> None:
    """Its category and reason are objects, intent is absent, the dose has no unit text."""
    found = order(
        category={"text": "outpatient"},
        reasonCode={"coding": [{"code": "82423001"}]},
        medicationCodeableConcept={"text": "x", "coding": [{"code": "1"}]},
        dosageInstruction=[{"doseAndRate": [{"doseQuantity": {"value": 1, "code": "{pill}"}}]}],
    )
    assert found.intent is None
    assert found.reason_code[0].coding[0].code == "82423001"
    assert found.dosage_instruction[0].dose_and_rate[0].dose_quantity == Quantity(value=Decimal(1), code="{pill}")


def test_an_order_without_drug_dosage_and_intent_is_an_order() -> None:
    assert order() == MedicationRequest(id="1", status="draft")


@pytest.mark.parametrize(
    "status", ["active", {"text": "active"}, {"coding": {"code": "active"}}, [{"text": "active"}]]
)
def test_a_clinical_status_is_read_as_stu3_string_and_as_concept(status: Any) -> None:
    found = read({**CONDITION, "clinicalStatus": status})
    assert found.faults == ()
    assert isinstance(found.resource, Condition)
    assert found.resource.clinical_status is not None
    assert statuses.code_of("condition", found.resource.clinical_status) == "active"


@pytest.mark.parametrize("value", ["0.5", '"0.5"', "0.50", "5e-1", '" 0.5 "'])
def test_a_number_is_exact_also_when_it_is_written_as_a_string(value: str) -> None:
    found = lenient.decode(
        b'{"resourceType":"Observation","valueQuantity":{"value":%s},"status":"final"}' % value.encode()
    )
    assert found.faults == ()
    assert isinstance(found.resource, Observation)
    assert found.resource.value_quantity is not None
    assert found.resource.value_quantity.value == Decimal("0.5")


@pytest.mark.parametrize("value", ["0.1", "0.3", "70.123456789012345678901234567890", "1e-7"])
def test_no_number_passes_through_a_float_on_either_way(value: str) -> None:
    for oddity in (b"", b',"category":"vital-signs","component":{}'):
        raw = b'{"resourceType":"Observation","valueQuantity":{"value":%s}%s}' % (value.encode(), oddity)
        found = lenient.decode(raw).resource
        assert isinstance(found, Observation)
        assert found.value_quantity is not None
        assert str(found.value_quantity.value) == str(Decimal(value))


@pytest.mark.parametrize("value", ["0,5", "about 5", "", " ", "5 mg", True, [], {}, [1, 2], "½", "0x10", "1e"])
def test_what_is_no_number_leaves_the_unit_and_is_named(value: Any) -> None:
    found = observation(valueQuantity={"value": value, "unit": "mg"}, valueString="kept")
    assert told(found.faults) == ("Observation.valueQuantity.value could not be read",)
    assert isinstance(found.resource, Observation)
    assert found.resource.value_quantity == Quantity(unit="mg")
    assert found.resource.value_string == "kept"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "sNaN", msgspec.Raw(b"1e999999999")])
def test_a_number_that_no_clinician_wrote_is_never_a_quantity(value: Any) -> None:
    """It may be read as written, so that it can be said; the unit table refuses it."""
    found = observation(valueQuantity=quantity(value, "mg")).resource
    assert isinstance(found, Observation)
    number = found.value_quantity and found.value_quantity.value
    if number is not None:
        with pytest.raises(units.UnreadableNumber):
            units.quantity(number, "mg")


@pytest.mark.parametrize("token", [b"1e99999999999999999999", b"-1e99999999999999999999", b"1e-99999999999999999999"])
def test_a_number_beyond_any_decimal_spoils_its_own_element_only(token: bytes) -> None:
    found = observation(valueQuantity={"value": msgspec.Raw(token), "unit": "mg"}, valueInteger=7)
    assert told(found.faults) == ("Observation.valueQuantity.value could not be read",)
    assert isinstance(found.resource, Observation)
    assert (found.resource.value_quantity, found.resource.value_integer) == (Quantity(unit="mg"), 7)


@pytest.mark.parametrize(
    ("value", "read_as"),
    [(7, 7), ("7", 7), (7.0, 7), ("7.0", 7), (7.5, None), ("1e999999999", None), (2**64, None), (True, None)],
)
def test_a_whole_number_is_read_when_it_is_one(value: Any, read_as: int | None) -> None:
    found = observation(component={"valueInteger": value}).resource
    assert isinstance(found, Observation)
    assert found.component[0].value_integer == read_as


def test_null_members_are_members_that_are_not_there() -> None:
    found = observation(code=None, component=None, valueQuantity={"value": None, "unit": None}, interpretation=[None])
    assert found.faults == ()
    assert found.resource == Observation(id="1", status="final", value_quantity=Quantity())


def test_a_null_in_a_list_is_left_out_of_it() -> None:
    found = observation(code={"coding": [None, {"code": "x"}, None]}).resource
    assert isinstance(found, Observation)
    assert found.code == CodeableConcept(coding=(datatypes.Coding(code="x"),))


@pytest.mark.parametrize("identifier", [LONG_ID, "with_underscore", "with space", "a/b", "ä"])
def test_ids_beyond_what_fhir_allows_are_kept(identifier: str) -> None:
    assert len(LONG_ID) == 194
    found = read({**WEIGHT, "id": identifier})
    assert found.faults == ()
    assert found.resource is not None
    assert found.resource.id == identifier
    assert found.resource.reference == f"Observation/{identifier}"


def test_an_id_that_is_a_number_is_its_digits() -> None:
    assert read({**WEIGHT, "id": 123}).resource.id == "123"  # type: ignore[union-attr]


def test_unknown_fields_and_extensions_are_passed_over() -> None:
    found = read(
        {
            **WEIGHT,
            "...": "<snipped>",
            "_status": {"extension": [{"url": "x", "valueCode": "y"}]},
            "subject": {**SUBJECT, "extension": [{"url": "http://example.org", "valueString": "x"}]},
            "text": {"status": "generated", "div": "<div>…</div>"},
        }
    )
    assert found == read(WEIGHT)


def test_a_reference_with_nothing_but_an_extension_is_a_reference_to_nothing() -> None:
    found = order(subject={"extension": [{"url": "http://example.org/data-absent-reason"}]})
    assert found.subject == datatypes.Reference()


def test_a_bare_string_is_the_text_of_a_concept_and_the_target_of_a_reference() -> None:
    found = order(medicationCodeableConcept="ketamine", subject="Patient/p1")
    assert found.medication_codeable_concept == CodeableConcept(text="ketamine")
    assert found.subject == datatypes.Reference(reference="Patient/p1")


def test_a_bare_number_is_a_quantity_without_a_unit() -> None:
    found = observation(valueQuantity=70).resource
    assert isinstance(found, Observation)
    assert found.value_quantity == Quantity(value=Decimal(70))
    assert found.value_quantity.unit_text is None


def test_a_list_of_one_where_one_element_belongs_is_that_element() -> None:
    found = order(subject=[SUBJECT], status=["draft"], medicationCodeableConcept=[{"text": ["ketamine"]}])
    assert found.subject == datatypes.Reference(reference="Patient/p1")
    assert found.medication_codeable_concept == CodeableConcept(text="ketamine")


def test_two_where_one_belongs_are_neither_guessed_nor_merged() -> None:
    found = read({**WEIGHT, "valueQuantity": [quantity(70, "kg"), quantity(154, "[lb_av]")]})
    assert told(found.faults) == ("Observation.valueQuantity could not be read",)
    assert isinstance(found.resource, Observation)
    assert found.resource.value_quantity is None


@pytest.mark.parametrize(("written", "meant"), [(True, True), ("true", True), ("false", False), (False, False)])
def test_a_truth_value_is_read_also_when_it_is_written_as_a_string(written: Any, meant: bool) -> None:
    assert order(doNotPerform=written).do_not_perform is meant


@pytest.mark.parametrize("written", [0, 1, "yes", "True", "", {}])
def test_what_is_neither_true_nor_false_is_named(written: Any) -> None:
    found = read({"resourceType": "MedicationRequest", "doNotPerform": written})
    assert told(found.faults) == ("MedicationRequest.doNotPerform could not be read",)


@pytest.mark.parametrize("absent", ["class", "status", "subject", "period"])
def test_an_encounter_is_read_without_any_of_its_required_elements(absent: str) -> None:
    found = read({key: value for key, value in ENCOUNTER.items() if key != absent})
    assert found.faults == ()
    assert isinstance(found.resource, Encounter)


def test_dates_are_kept_as_written_whatever_they_look_like() -> None:
    for written in ("2026-11-22T08:00:00", "2026-11-22T08:00", "2026", "22.11.2026", "yesterday"):
        found = observation(effectiveDateTime=written)
        assert found.faults == ()
        assert found.resource.effective_date_time == written  # type: ignore[union-attr]


def test_a_status_that_fhir_does_not_know_is_kept_as_written() -> None:
    assert read({**WEIGHT, "status": "verified-by-nurse"}).resource.status == "verified-by-nurse"  # type: ignore[union-attr]


def test_contained_resources_are_kept_and_can_be_read() -> None:
    contained = {"resourceType": "Medication", "id": "c1", "code": {"text": "ketamine"}}
    for written in (contained, [contained]):
        (raw,) = order(contained=written, category={}).contained
        assert lenient.decode(raw).resource == Medication(id="c1", code=CodeableConcept(text="ketamine"))


def test_a_contained_number_is_still_exact_after_a_repair() -> None:
    (raw,) = order(
        category={"text": "repaired"},
        contained=[{**MEDICATION, "amount": {"numerator": {"value": msgspec.Raw(b"0.10000000000000000001")}}}],
    ).contained
    found = lenient.decode(raw).resource
    assert isinstance(found, Medication)
    assert found.amount is not None
    assert found.amount.numerator is not None
    assert found.amount.numerator.value == Decimal("0.10000000000000000001")


# What is not a resource that is needed


def test_an_order_is_read_under_the_name_that_dstu2_gives_it() -> None:
    found = read({"resourceType": "MedicationOrder", "id": "1", "medicationCodeableConcept": {"text": "ketamine"}})
    assert isinstance(found.resource, MedicationRequest)


@pytest.mark.parametrize(
    "name", ["condition", "CONDITION", " Condition ", "http://hl7.org/fhir/Condition", "Condition\u200b"]
)
def test_a_type_is_known_in_any_letters(name: str) -> None:
    found = read({"resourceType": name, "id": "1", "code": {"text": "psychosis"}})
    assert isinstance(found.resource, Condition)
    assert found.resource.code is not None
    assert found.resource.code.text == "psychosis"


@pytest.mark.parametrize("name", ["", " ", "7", "-7", "/"])
def test_a_type_that_is_no_name_is_said(name: str) -> None:
    assert told(read({"resourceType": name, "id": "1"}).faults) == ("a resource without resourceType",)


@pytest.mark.parametrize("name", ["Practitioner", "Provenance", "Bundle", "Immunization", "NoSuchType"])
def test_a_type_that_is_not_needed_is_passed_over_without_a_fault(name: str) -> None:
    assert read({"resourceType": name, "id": "1", "code": 7}) == lenient.Read(None, name)


@pytest.mark.parametrize(
    "value", [{}, {"resourceType": None}, {"resourceType": 7}, {"id": "1"}, {"resourceType": []}]
)
def test_an_object_without_a_type_is_a_fault(value: Any) -> None:
    assert read(value) == lenient.Read(None, None, (RESOURCE_WITHOUT_TYPE,))


@pytest.mark.parametrize("value", [None, True, 7, "Observation", [], [WEIGHT]])
def test_what_is_no_object_is_a_fault(value: Any) -> None:
    assert read(value) == lenient.Read(None, None, (ENTRY_NO_RESOURCE,))


@pytest.mark.parametrize("raw", [b"", b" ", b"{", b"<html>", b"\xff", b'{"resourceType":"Observation"', b"{'a': 1}"])
def test_what_is_no_json_is_a_fault(raw: bytes) -> None:
    assert lenient.decode(raw) == lenient.Read(None, None, (RESOURCE_NO_JSON,))


def test_a_text_that_is_not_utf_8_is_a_fault_and_not_an_exception() -> None:
    raw = encoded({**WEIGHT, "valueString": "Größe"}).decode().encode("latin-1")
    assert lenient.decode(raw).resource is None
    assert told(lenient.decode(raw).faults) == ("a resource that is not readable JSON",)


def test_actions_nested_deeper_than_can_be_followed_are_a_fault() -> None:
    action: Any = []
    for _ in range(400):
        action = [{"action": action}]
    found = read({"resourceType": "RequestGroup", "status": 1, "action": action})
    assert found.resource is None
    assert found.faults
    shallow = read({"resourceType": "RequestGroup", "action": {"action": {"resource": SUBJECT}}}).resource
    assert isinstance(shallow, RequestGroup)
    assert shallow.action[0].action[0].resource == datatypes.Reference(reference="Patient/p1")


# What is said of faults


def test_a_fault_names_the_element_and_its_place_but_never_what_stood_there() -> None:
    found = read(
        {
            "resourceType": "Observation",
            "component": [{"code": {"text": "ok"}}, {"valueQuantity": {"value": "SECRET"}}],
            "code": {"coding": ["SECRET"]},
        }
    )
    assert told(found.faults) == (
        "Observation.code.coding[0] could not be read",
        "Observation.component[1].valueQuantity.value could not be read",
    )


def test_one_broken_resource_names_no_more_than_a_few_of_its_faults() -> None:
    found = observation(component=[{"valueInteger": "x"}] * 100)
    assert told(len(found.faults)) == lenient.MAX_FAULTS
    assert isinstance(found.resource, Observation)
    assert len(found.resource.component) == 100
