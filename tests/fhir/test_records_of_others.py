"""Whose a record is: another patient's is left out, and references are followed only to what is here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.fhir.datatypes import Reference
from cds_service.fhir.records import same_patient
from cds_service.fhir.resources import AllergyIntolerance, Condition, Medication, Patient
from tests.fhir.as_it_arrives import (
    ALLERGY,
    CONDITION,
    MEDICATION,
    PATIENT,
    bundle,
)
from tests.fhir.given import Json, prefetched
from tests.said import told


def another(resource: Json, patient: str = "somebody-else") -> Json:
    key = "patient" if resource["resourceType"] == "AllergyIntolerance" else "subject"
    return {**resource, "id": "foreign", key: {"reference": f"Patient/{patient}"}}


# Whose a resource is


@pytest.mark.parametrize(
    ("reference", "whose"),
    [
        ("Patient/p1", True),
        ("Patient/p1/_history/3", True),
        ("https://ehr.example/fhir/Patient/p1", True),
        ("https://ehr.example/fhir/Patient/p1/_history/3", True),
        ("urn:uuid:p1", True),
        ("p1", True),
        ("Patient/p2", False),
        ("Patient/P1", False),
        ("Patient/p11", False),
        ("Patient/1", False),
        ("Patient/", False),
        ("https://ehr.example/fhir/Patient/p2", False),
        ("https://ehr.example/fhir/p1", False),
        ("urn:uuid:p2", False),
        ("Group/p1", False),
        ("Practitioner/p1", False),
        ("#patient", None),
        ("#p1", None),
        ("", None),
        (None, None),
    ],
)
def test_a_reference_is_to_this_patient_to_another_or_does_not_say(reference: str | None, whose: bool | None) -> None:
    assert same_patient(Reference(reference=reference), "p1") is whose


def test_no_reference_does_not_say_whose_it_is() -> None:
    assert same_patient(None, "p1") is None
    assert same_patient(Reference(display="Doe, J."), "p1") is None


ids = st.text("abcABC019-.", min_size=1, max_size=8)


@given(
    ids,
    ids,
    st.sampled_from(["Patient/{}", "https://ehr.example/fhir/Patient/{}", "urn:uuid:{}", "Patient/{}/_history/1"]),
)
def test_two_patients_are_the_same_when_their_ids_are(one: str, other: str, form: str) -> None:
    assert same_patient(Reference(reference=form.format(one)), other) is (one == other)


def test_another_patients_resources_are_left_out_and_counted() -> None:
    records, result = prefetched(
        conditions=bundle(CONDITION, another(CONDITION), {**another(CONDITION), "id": "2"}),
        allergies=bundle(another(ALLERGY)),
    )
    assert result.answered == {"conditions", "allergies"}
    assert [each.id for each in records.of(Condition)] == ["c1"]
    assert records.of(AllergyIntolerance) == []
    assert told(records.foreign_notes()) == [
        "1 AllergyIntolerance of another patient left out",
        "2 Condition of another patient left out",
    ]


def test_another_patient_is_left_out_and_so_cannot_be_the_one_whose_age_counts() -> None:
    records, _ = prefetched(patient={**PATIENT, "id": "p2"})
    assert records.of(Patient) == []
    assert told(records.foreign_notes()) == ["1 Patient of another patient left out"]


def test_another_patients_resource_cannot_be_reached_by_reference_either() -> None:
    records, _ = prefetched(conditions=bundle(another(CONDITION)))
    assert records.resolve(Reference(reference="Condition/foreign")) is None


def test_a_resource_that_does_not_say_whose_it_is_is_kept() -> None:
    for subject in (None, {"display": "Doe, J."}, {"identifier": {"value": "mrn"}}, {"reference": "#patient"}):
        records, _ = prefetched(conditions=bundle({**CONDITION, "subject": subject}))
        assert len(records.of(Condition)) == 1
        assert records.foreign_notes() == []


def test_what_belongs_to_nobody_is_kept() -> None:
    records, _ = prefetched(medications=bundle(MEDICATION))
    assert [each.id for each in records.of(Medication)] == ["m1"]


# References


@pytest.mark.parametrize(
    "reference",
    [
        "Medication/m1",
        "Medication/m1/_history/2",
        "https://ehr.example/fhir/Medication/m1",
        "https://ehr.example/fhir/Medication/m1/_history/2",
        "urn:uuid:0",
    ],
)
def test_a_medication_is_found_by_every_form_of_reference(reference: str) -> None:
    records, _ = prefetched(medications=bundle(MEDICATION))
    found = records.resolve(Reference(reference=reference))
    assert found is not None
    assert found.id == "m1"


@pytest.mark.parametrize(
    "reference", [None, "", "m1", "#m1", "Medication/m2", "Substance/m1", "Medication", "urn:uuid:7"]
)
def test_a_reference_to_what_is_not_here_is_to_nothing(reference: str | None) -> None:
    records, _ = prefetched(medications=bundle(MEDICATION))
    assert records.resolve(Reference(reference=reference)) is None
    assert records.resolve(None) is None
