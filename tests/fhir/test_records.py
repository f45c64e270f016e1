"""The patient's records: four states of a prefetch value, other key names, and whose a resource is."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.fhir import bundles
from cds_service.fhir.records import Prefetched, Records, add_answer, from_prefetch, same_patient
from cds_service.fhir.resources import AllergyIntolerance, Condition, Encounter, Observation, Patient
from tests.fhir.as_it_arrives import (
    ALLERGY,
    BLOOD_PRESSURE,
    CONDITION,
    ENCOUNTER,
    OUTCOME,
    PATIENT,
    PATIENT_ID,
    RESOURCES,
    any_json,
    bundle,
    encoded,
    plain_json,
    spoilt,
)
from tests.fhir.given import BASE, QUERIES, Json, empty_search, prefetched, prefetched_as, query
from tests.said import told

KEYS = {query.key for query in QUERIES}


# The four states of a prefetch value


def test_a_key_that_was_not_sent_is_not_answered_and_says_nothing() -> None:
    records, result = prefetched()
    assert result == Prefetched()
    assert told((records.gaps, records.notes)) == ({}, [])


@pytest.mark.parametrize("empty", [None, bundle(), {"resourceType": "Bundle"}, bundle(total=0)])
def test_null_and_an_empty_bundle_are_complete_answers_without_data(empty: Json) -> None:
    records, result = prefetched(conditions=empty)
    assert result.answered == {"conditions"}
    assert records.gaps == {}
    assert records.of(Condition) == []


def test_null_is_null_however_it_is_spaced() -> None:
    raw = msgspec.json.decode(b'{"conditions" :\n  null }', type=dict[str, msgspec.Raw])
    records = Records(PATIENT_ID)
    assert from_prefetch(records, raw, QUERIES).answered == {"conditions"}
    assert records.gaps == {}


def test_an_operation_outcome_is_an_answer_that_failed() -> None:
    records, result = prefetched(conditions=OUTCOME)
    assert result.answered == {"conditions"}
    assert told(records.gaps) == {"conditions": "the EHR answered with an error (forbidden)"}


def test_an_operation_outcome_beside_data_keeps_the_data_and_says_that_they_are_not_complete() -> None:
    records, result = prefetched(conditions=bundle(CONDITION, OUTCOME))
    assert result.answered == {"conditions"}
    assert [each.id for each in records.of(Condition)] == ["c1"]
    assert told(records.gaps) == {"conditions": "the EHR answered with an error (forbidden)"}


@pytest.mark.parametrize("junk", ["<html>", 7, True, [], [CONDITION], {}, {"error": "no access"}, ""])
def test_what_is_not_fhir_is_a_gap_and_never_an_empty_list(junk: Json) -> None:
    records, result = prefetched(allergies=junk)
    assert result.answered == {"allergies"}
    assert told(records.gaps) == {"allergies": "the answer is not a FHIR resource"}


def test_a_bundle_with_data_is_an_answer() -> None:
    records, result = prefetched(conditions=bundle(CONDITION), allergies=bundle(ALLERGY), patient=PATIENT)
    assert result.answered == {"conditions", "allergies", "patient"}
    assert [each.id for each in records.of(Condition)] == ["c1"]
    assert [each.id for each in records.of(AllergyIntolerance)] == ["a1"]
    assert records.of(Patient)[0].birth_date == "1980-02-29"
    assert told((records.gaps, records.notes)) == ({}, [])


def test_a_resource_may_stand_for_a_bundle_of_one_and_the_other_way_round() -> None:
    """It is read; but one resource where a search was asked for does not say that there are no others."""
    records, result = prefetched(conditions=CONDITION, patient=bundle(PATIENT))
    assert result.answered == {"conditions", "patient"}
    assert len(records.of(Condition)) == len(records.of(Patient)) == 1
    assert told(records.gaps) == {"conditions": "one Condition was sent where the result of a search belongs"}


OTHER_SEARCHES = {
    "conditions": f"{BASE}/AllergyIntolerance?patient=p1",
    "vitalSigns": f"{BASE}/Observation?patient=p1&code=http://loinc.org|29463-7",
    "results": "Observation?patient=p1&code=29463-7%2C8302-2",
    "allergies": f"{BASE}/Condition/_search?patient=p1",
}


@pytest.mark.parametrize("key", OTHER_SEARCHES)
def test_nothing_of_another_search_under_our_own_key_is_no_empty_list(key: str) -> None:
    records, result = prefetched_as({key: empty_search(OTHER_SEARCHES[key])})
    assert result == Prefetched()
    assert told(records.gaps) == {key: "what was sent answers another search"}


@pytest.mark.parametrize(
    "url",
    [
        f"{BASE}/Observation?patient=p1&code=http://loinc.org|8480-6,http://loinc.org|8462-4",
        f"{BASE}/Observation?patient=p1&category=vital-signs",
        f"{BASE}/Observation?patient=p1",
        f"{BASE}?_getpages=0f0f",
    ],
)
def test_nothing_of_a_search_that_may_be_ours_is_an_empty_list(url: str) -> None:
    records, result = prefetched(vitalSigns=empty_search(url))
    assert told((records.gaps, result.answered)) == ({}, {"vitalSigns"})


def test_what_our_own_key_holds_of_its_codes_counts_whatever_its_self_link_says() -> None:
    link = [{"relation": "self", "url": f"{BASE}/Observation?code=http://loinc.org|85354-9"}]
    records, result = prefetched(vitalSigns=bundle(BLOOD_PRESSURE, link=link))
    assert told((records.gaps, result.answered)) == ({}, {"vitalSigns"})


def outcome(severity: str | None, code: str) -> Json:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code}]}


@pytest.mark.parametrize(
    ("severity", "code", "gap"),
    [
        ("information", "informational", None),
        ("warning", "processing", None),
        ("warning", "not-found", None),
        ("warning", "suppressed", "the EHR answered with an error (suppressed)"),
        ("information", "timeout", "the EHR answered with an error (timeout)"),
        ("error", "processing", "the EHR answered with an error (processing)"),
        (None, "processing", "the EHR answered with an error (processing)"),
    ],
)
def test_a_bundle_of_nothing_but_outcomes_is_empty_only_where_they_inform(
    severity: str | None, code: str, gap: str | None
) -> None:
    records, _ = prefetched(conditions=bundle(outcome(severity, code)))
    assert told(records.gaps.get("conditions")) == gap


def test_a_bundle_of_an_outcome_without_an_issue_is_no_empty_list() -> None:
    records, _ = prefetched(conditions=bundle({"resourceType": "OperationOutcome"}))
    assert told(records.gaps) == {"conditions": "the EHR answered with an error"}


@pytest.mark.parametrize("other", [PATIENT, ALLERGY, {"resourceType": "CapabilityStatement"}])
def test_a_resource_that_is_not_what_was_asked_for_is_no_empty_list(other: Json) -> None:
    records, result = prefetched(conditions=other)
    assert result.answered == {"conditions"}
    assert told(records.gaps) == {"conditions": "the answer is neither a Bundle nor a resource of type Condition"}


def test_a_bundle_that_was_cut_at_a_page_says_where_it_goes_on() -> None:
    following = [{"relation": "next", "url": f"{BASE}?page=2"}]
    _, result = prefetched(conditions=bundle(CONDITION, link=following), allergies=bundle(ALLERGY))
    assert result.next_links == {"conditions": f"{BASE}?page=2"}
    assert result.answered == {"conditions", "allergies"}


def test_an_entry_that_cannot_be_read_leaves_its_list_incomplete() -> None:
    records, _ = prefetched(conditions=bundle(CONDITION, "nothing", {"id": "x"}))
    assert told(records.gaps) == {"conditions": "2 of its entries could not be read"}


def test_a_resource_of_which_a_part_could_not_be_read_is_used_and_noted_once() -> None:
    odd = {**CONDITION, "onsetDateTime": {"value": "2014"}}
    records, _ = prefetched(conditions=bundle({**odd, "id": "1"}, {**odd, "id": "2"}))
    assert [each.id for each in records.of(Condition)] == ["1", "2"]
    assert told(records.notes) == ["Condition.onsetDateTime could not be read"]
    assert records.gaps == {}


def test_a_resource_that_nobody_asked_for_is_neither_a_note_nor_a_gap() -> None:
    records, result = prefetched(coverage=bundle({"resourceType": "Coverage", "id": "1"}))
    assert result == Prefetched()
    assert told((records.gaps, records.notes)) == ({}, [])


def test_pages_that_were_fetched_are_taken_over_with_their_gap() -> None:
    records = Records(PATIENT_ID)
    pages = [bundles.page(encoded(bundle({**CONDITION, "id": str(i)}))) for i in range(3)]
    add_answer(records, query("conditions"), pages, "the FHIR server did not answer within 400 ms")
    assert [each.id for each in records.of(Condition)] == ["0", "1", "2"]
    assert told(records.gaps) == {"conditions": "the FHIR server did not answer within 400 ms"}


def test_a_fetched_error_is_a_gap_also_when_all_pages_came() -> None:
    records = Records(PATIENT_ID)
    add_answer(records, query("allergies"), [bundles.page(encoded(OUTCOME))], None)
    assert told(records.gaps) == {"allergies": "the EHR answered with an error (forbidden)"}


def test_a_fetched_answer_without_fault_leaves_no_gap() -> None:
    records = Records(PATIENT_ID)
    add_answer(records, query("encounter"), [bundles.page(encoded(ENCOUNTER))], None)
    assert records.gaps == {}
    assert [each.id for each in records.of(Encounter)] == ["e1"]


# Lists that are cut without a link to the rest


def cut(total: Json, *resources: Json) -> Json:
    return {**bundle(*resources), "total": total}


def test_a_list_of_which_the_total_says_that_more_was_found_is_not_whole() -> None:
    records = Records(PATIENT_ID)
    add_answer(records, query("conditions"), [bundles.page(encoded(cut(3, CONDITION)))], None)
    assert told(records.gaps) == {"conditions": "only 1 of its 3 entries came"}
    sent, _ = prefetched(conditions=cut(3, CONDITION), vitalSigns=cut(2, BLOOD_PRESSURE), allergies=cut(1, ALLERGY))
    assert told(sent.gaps) == {
        "conditions": "only 1 of its 3 entries came",
        "vitalSigns": "only 1 of its 2 entries came",
    }


@pytest.mark.parametrize("kind", ["Problem", "Flag", "Basic", "Observation"])
def test_an_answer_in_which_nothing_is_of_the_type_that_was_asked_for_is_no_empty_list(kind: str) -> None:
    other = {**CONDITION, "resourceType": kind}
    records, _ = prefetched(conditions=bundle(other))
    assert told(records.gaps) == {"conditions": "what was sent answers another search"}
    fetched = Records(PATIENT_ID)
    add_answer(fetched, query("conditions"), [bundles.page(encoded(bundle(other)))], None)
    assert told(fetched.gaps) == {"conditions": "what was sent answers another search"}
    whole, _ = prefetched(conditions=bundle(other, CONDITION))
    assert whole.gaps == {}, "what comes along with it is no fault"


def test_a_bundle_under_a_foreign_key_that_is_cut_is_no_whole_list_either() -> None:
    records, _ = prefetched(problems=cut(3, CONDITION))
    assert told(records.gaps) == {"conditions": "only 1 of its 3 entries came"}


def test_an_empty_list_of_which_the_total_counts_something_is_not_empty() -> None:
    records, _ = prefetched(allergies=cut(2))
    assert told(records.gaps) == {"allergies": "only 0 of its 2 entries came"}


def test_a_warning_among_the_entries_is_none_of_those_that_were_found() -> None:
    says = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "informational"}]}
    records, _ = prefetched(conditions=cut(2, CONDITION, says))
    assert told(records.gaps) == {"conditions": "only 1 of its 2 entries came"}


def test_all_pages_together_are_held_against_the_total() -> None:
    pages = [bundles.page(encoded(cut(2, {**CONDITION, "id": str(i)}))) for i in range(2)]
    whole, rest = Records(PATIENT_ID), Records(PATIENT_ID)
    add_answer(whole, query("conditions"), pages, None)
    add_answer(rest, query("conditions"), pages[1:], None, is_rest=True)
    assert told((whole.gaps, rest.gaps)) == ({}, {})


@pytest.mark.parametrize("total", [None, 0, 1, -1, "1", True, [1], "many"])
def test_a_total_that_is_reached_or_is_no_number_says_nothing(total: Json) -> None:
    records, _ = prefetched(conditions=cut(total, CONDITION))
    assert records.gaps == {}


# Anything in the place of anything

keys = st.sampled_from([*KEYS, "conditions-user", "foo", "vitals", "patientAllergies"]) | st.text(max_size=6)
a_value = (
    any_json | st.sampled_from(RESOURCES).flatmap(spoilt) | st.sampled_from(RESOURCES).map(bundle).flatmap(spoilt)
)


@settings(max_examples=300)
@given(st.dictionaries(keys, a_value, max_size=3))
def test_whatever_a_client_prefetches_nothing_raises_and_nothing_foreign_is_kept(values: dict[str, Json]) -> None:
    records = Records(PATIENT_ID)
    raw = {key: msgspec.Raw(encoded(value)) for key, value in values.items()}
    result = from_prefetch(records, raw, QUERIES)
    assert result.answered <= KEYS
    assert result.assumed <= KEYS - result.answered
    assert records.gaps.keys() <= KEYS
    for kind in (Condition, Observation, AllergyIntolerance):
        for each in records.of(kind):
            subject = each.patient if isinstance(each, AllergyIntolerance) else each.subject
            assert same_patient(subject, PATIENT_ID) is not False


@settings(max_examples=300)
@given(st.sampled_from(sorted(KEYS)), st.sampled_from(RESOURCES).flatmap(lambda r: spoilt(bundle(r, r), plain_json)))
def test_an_answer_without_a_gap_was_null_or_fhir_throughout(key: str, value: Json) -> None:
    """Whatever could not be read must leave a gap, or a list that is not complete would look complete."""
    records, result = prefetched_as({key: value})
    assert result.answered == {key}
    if key in records.gaps or value is None:
        return
    whole = value if "resourceType" in value else value["resource"]
    assert isinstance(whole["resourceType"], str)
    if whole["resourceType"] == "Bundle":
        entries = whole.get("entry")
        for entry in entries if isinstance(entries, list) else [entries] if entries is not None else []:
            assert isinstance(entry["resource"]["resourceType"], str)


@given(st.permutations(range(6)), st.integers(1, 6))
def test_no_resource_is_lost_or_doubled_however_the_pages_are_cut(order: list[int], size: int) -> None:
    records = Records(PATIENT_ID)
    conditions = [{**CONDITION, "id": str(i)} for i in order]
    cut = [conditions[i : i + size] for i in range(0, len(conditions), size)]
    for part in [*cut, *cut]:  # and a client may send a page twice
        records.add(bundles.page(encoded(bundle(*part))))
    assert [each.id for each in records.of(Condition)] == [str(i) for i in order]
