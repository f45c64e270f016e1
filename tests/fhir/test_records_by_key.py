"""What a prefetch is recognised as where its keys are named otherwise than the service asks."""

import pytest

from cds_service.fhir.datatypes import Reference
from cds_service.fhir.records import Prefetched
from cds_service.fhir.resources import Condition, Observation
from tests.fhir.as_it_arrives import (
    BLOOD_PRESSURE,
    CONDITION,
    OUTCOME,
    WEIGHT,
    bundle,
)
from tests.fhir.given import BASE, Json, empty_search, prefetched, prefetched_as
from tests.said import told

OBSERVATIONS = {"bodySize", "vitalSigns", "results", "liverResults", "acuteResults", "symptoms"}


# Other key names


@pytest.mark.parametrize("key", ["conditions-user", "foo", "patientConditions", "item1", "Problem List", "", "é"])
def test_data_are_recognised_by_what_they_are_whatever_the_key_is_called(key: str) -> None:
    records, result = prefetched_as({key: bundle(CONDITION)})
    assert result.answered | result.assumed == {"conditions"}
    assert len(records.of(Condition)) == 1


@pytest.mark.parametrize(
    ("key", "query"),
    [
        ("conditions-user", "conditions"),
        ("problemList", "conditions"),
        ("encounterDiagnosis", "conditions"),
        ("patientConditions", "conditions"),
        ("patient_allergies", "allergies"),
        ("Patient.AllergyIntolerance", "allergies"),
        ("medicationRequests", "medications"),
        ("patientMedications", "medications"),
        ("medicationAdministrations", "administrations"),
        ("vital-signs", "vitalSigns"),
        ("labResults", "results"),
        ("bodyWeight", "bodySize"),
        ("serviceRequests", "serviceRequests"),
        ("procedureHistory", "procedures"),
        ("currentPatient", "patient"),
        ("encounter-user", "encounter"),
    ],
)
@pytest.mark.parametrize("empty", [None, bundle()])
def test_an_empty_answer_is_recognised_by_the_name_of_its_key(key: str, query: str, empty: Json) -> None:
    records, result = prefetched_as({key: empty})
    assert result.answered == {query}
    assert records.gaps == {}


@pytest.mark.parametrize("empty", [None, bundle()])
def test_an_empty_answer_under_a_name_that_says_nothing_answers_nothing(empty: Json) -> None:
    assert prefetched(foo=empty)[1] == Prefetched()


def test_an_error_under_another_name_is_a_gap_where_its_name_says_so() -> None:
    records, result = prefetched_as({"conditions-user": OUTCOME, "foo": OUTCOME})
    assert result.answered == {"conditions"}
    assert told(records.gaps) == {"conditions": "the EHR answered with an error (forbidden)"}


@pytest.mark.parametrize(
    "url",
    [
        f"{BASE}/Condition?patient=p1",
        f"{BASE}/Condition/_search?patient=p1",
        f"{BASE}/Patient/p1/Condition?_count=10",
        f"{BASE}/Condition?patient={BASE}/Patient/p1",
        "Condition?patient=p1",
    ],
)
def test_an_empty_answer_is_recognised_by_its_self_link(url: str) -> None:
    assert prefetched(foo=empty_search(url))[1].answered == {"conditions"}


def test_an_empty_search_for_other_observations_does_not_answer_for_the_weight() -> None:
    """A client's own search for a pain score that finds nothing says nothing of weight or blood pressure."""
    _, result = prefetched(pain=empty_search(f"{BASE}/Observation?patient=p1&code=72514-3"))
    assert result.answered == set()
    assert result.assumed == set()


def test_an_empty_search_for_the_weight_answers_for_the_weight_under_any_name() -> None:
    _, result = prefetched(foo=empty_search(f"{BASE}/Observation?patient=p1&code=http://loinc.org|29463-7"))
    assert result.answered == {"bodySize"}
    assert result.assumed == set()


def test_a_key_that_does_not_say_which_conditions_these_are_is_only_assumed_to_hold_them_all() -> None:
    """Encounter diagnoses alone would look like a problem list."""
    assert prefetched(foo=bundle(CONDITION))[1].assumed == {"conditions"}
    assert prefetched(problems=bundle(CONDITION))[1].answered == {"conditions"}


def test_observations_under_the_name_of_one_kind_answer_for_it_and_say_nothing_of_the_others() -> None:
    records, result = prefetched(weights=bundle(WEIGHT))
    assert (result.answered, result.assumed) == ({"bodySize"}, set())
    assert len(records.of(Observation)) == 1


@pytest.mark.parametrize("key", ["foo", "observations"])
def test_observations_under_a_name_that_names_no_kind_are_assumed_to_be_all(key: str) -> None:
    _, result = prefetched_as({key: bundle(WEIGHT)})
    assert result.answered | result.assumed == OBSERVATIONS


def test_what_another_kind_is_named_after_answers_for_all_that_it_holds() -> None:
    _, result = prefetched(vitals=bundle(WEIGHT, BLOOD_PRESSURE))
    assert (result.answered, result.assumed) == ({"vitalSigns"}, {"bodySize"})


def test_our_own_key_answers_for_what_it_asked_also_when_it_holds_nothing_of_it() -> None:
    _, result = prefetched(bodySize=bundle(BLOOD_PRESSURE))
    assert result.answered == {"bodySize"}
    assert result.assumed == set()


def test_what_one_key_only_assumes_another_may_answer() -> None:
    _, result = prefetched(foo=bundle(WEIGHT), vitalSigns=bundle())
    assert result.answered == {"vitalSigns"}
    assert result.assumed == OBSERVATIONS - {"vitalSigns"}


def test_the_same_resource_under_two_keys_is_there_once() -> None:
    records, _ = prefetched(bodySize=bundle(WEIGHT), vitals=bundle(WEIGHT, BLOOD_PRESSURE))
    assert [each.id for each in records.of(Observation)] == ["w1", "bp1"]


def test_resources_without_an_id_are_all_kept() -> None:
    nameless = {key: value for key, value in CONDITION.items() if key != "id"}
    records, _ = prefetched(conditions=bundle(nameless, nameless))
    assert len(records.of(Condition)) == 2
    assert records.resolve(Reference(reference="Condition/None")) is None
