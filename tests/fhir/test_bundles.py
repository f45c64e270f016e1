"""One answer of a server or one prefetch value: what it holds, where it goes on, and when it is no answer."""

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service import bounds
from cds_service.deadline import NEVER
from cds_service.fhir import bundles, lenient
from cds_service.fhir.bundles import Page, left_out
from cds_service.fhir.resources import TYPES, Condition, Observation, Patient
from cds_service.says import records as says
from cds_service.says.records import NO_JSON
from tests import charts
from tests.fhir.as_it_arrives import (
    CONDITION,
    OUTCOME,
    PATIENT,
    RESOURCES,
    WEIGHT,
    bundle,
    elements,
    encoded,
    plain_json,
    spoilt,
)
from tests.said import told

NO_FHIR = "the answer is not a FHIR resource"


def page(value: Any) -> Page:
    return bundles.page(encoded(value))


def test_a_search_bundle_holds_its_resources_in_order() -> None:
    found = page(bundle(WEIGHT, CONDITION, PATIENT))
    assert [type(each) for each in found.resources] == [Observation, Condition, Patient]
    assert [item.full_url for item in found.items] == ["urn:uuid:0", "urn:uuid:1", "urn:uuid:2"]
    assert told((found.is_bundle, found.error, found.faults)) == (True, None, [])


def test_an_empty_bundle_is_an_answer_without_data() -> None:
    for empty in (bundle(), {"resourceType": "Bundle"}, {"resourceType": "Bundle", "entry": None, "total": 0}):
        assert page(empty) == Page(is_bundle=True, total=empty.get("total"))


def test_a_bundle_needs_no_type_and_its_entries_no_full_url() -> None:
    found = page({"resourceType": "Bundle", "entry": [{"resource": WEIGHT}]})
    assert found.is_bundle
    assert [each.id for each in found.resources] == ["w1"]
    assert found.items[0].full_url is None


def test_a_single_resource_is_a_page_of_one_that_is_no_bundle() -> None:
    found = page(PATIENT)
    assert [each.id for each in found.resources] == ["p1"]
    assert not found.is_bundle
    assert found.error is None


def test_a_resource_that_was_wrapped_as_in_early_drafts_is_unwrapped() -> None:
    assert [each.id for each in page({"response": {"status": "200"}, "resource": PATIENT}).resources] == ["p1"]
    assert [each.id for each in page({"resource": bundle(WEIGHT, CONDITION)}).resources] == ["w1", "c1"]


@pytest.mark.parametrize(
    "raw", [b"", b"<html><body>Service unavailable</body></html>", b"{", b'"\xff"', b"\x00", b"NaN"]
)
def test_what_is_no_json_is_an_error(raw: bytes) -> None:
    assert bundles.page(raw) == Page(error=NO_JSON)


@pytest.mark.parametrize("value", [None, [], [WEIGHT], "Bundle", 7, {}, {"resourceType": 7}, {"error": "no access"}])
def test_json_that_is_no_resource_is_an_error(value: Any) -> None:
    assert told(page(value).error) == NO_FHIR


def test_an_answer_of_another_type_is_neither_data_nor_an_error() -> None:
    found = page({"resourceType": "CapabilityStatement"})
    assert told((found.resources, found.error, found.is_bundle)) == ([], None, False)


# OperationOutcomes


def outcome(severity: str | None, code: str | None = "forbidden") -> Any:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code}]}


@pytest.mark.parametrize("severity", ["fatal", "error", "warning", "information", "unheard-of", None])
def test_an_operation_outcome_instead_of_an_answer_is_an_error_whatever_its_severity(severity: str | None) -> None:
    assert told(page(outcome(severity)).error) == "the EHR answered with an error (forbidden)"


def test_an_operation_outcome_without_issues_or_code_is_still_an_error() -> None:
    assert told(page({"resourceType": "OperationOutcome"}).error) == "the EHR answered with an error"
    assert told(page(outcome("error", None)).error) == "the EHR answered with an error (no code)"


@pytest.mark.parametrize("severity", ["fatal", "error"])
def test_an_error_among_the_entries_of_a_bundle_makes_it_incomplete_but_keeps_the_data(severity: str) -> None:
    found = page(bundle(WEIGHT, outcome(severity)))
    assert told(found.error) == "the EHR answered with an error (forbidden)"
    assert "w1" in [each.id for each in found.resources]


@pytest.mark.parametrize("code", ["processing", "informational", "not-supported", "business-rule", None])
@pytest.mark.parametrize("severity", ["warning", "information", None])
def test_a_remark_among_the_entries_of_a_bundle_is_no_error(severity: str | None, code: str | None) -> None:
    assert page(bundle(WEIGHT, outcome(severity, code))).error is None


@pytest.mark.parametrize("code", ["incomplete", "timeout", "too-costly", "transient", "suppressed", "forbidden"])
def test_a_warning_that_something_is_missing_makes_a_bundle_incomplete_but_keeps_the_data(code: str) -> None:
    found = page(bundle(WEIGHT, outcome("warning", code)))
    assert told(found.error) == f"the EHR answered with an error ({code})"
    assert "w1" in [each.id for each in found.resources]


def test_information_that_sources_did_not_answer_makes_a_bundle_incomplete() -> None:
    assert told(page(bundle(WEIGHT, outcome("information", "incomplete"))).error) == (
        "the EHR answered with an error (incomplete)"
    )
    assert page(bundle(WEIGHT, outcome("information", "suppressed"))).error is None


@pytest.mark.parametrize("said", ["Results were truncated", "Some entries were omitted", "Incomplete result set"])
def test_a_warning_says_in_words_that_something_is_missing(said: str) -> None:
    warned = {"severity": "warning", "code": "processing"}
    for issue in ({**warned, "diagnostics": said}, {**warned, "details": {"text": said}}):
        found = page(bundle(WEIGHT, {"resourceType": "OperationOutcome", "issue": [issue]}))
        assert told(found.error) == "the EHR answered with an error (processing)"


def test_the_remark_that_some_ehrs_put_into_every_answer_is_no_error() -> None:
    said = (
        "This response shows what the user may see at the time. It may not contain the entire record of the system."
    )
    issue = {"severity": "warning", "code": "processing", "details": {"text": said}}
    assert page(bundle(WEIGHT, {"resourceType": "OperationOutcome", "issue": [issue]})).error is None


def test_an_error_says_its_code_and_not_its_diagnostics() -> None:
    assert "jdoe" not in repr(page(OUTCOME).error)
    assert told(page(OUTCOME).error) == "the EHR answered with an error (forbidden)"


# Entries that cannot be read


def test_a_broken_entry_is_a_fault_and_its_neighbours_are_read() -> None:
    found = page(bundle(WEIGHT, "nothing", {"id": "1"}, CONDITION))
    assert [each.id for each in found.resources] == ["w1", "c1"]
    assert told(found.faults) == ["an entry that is not a resource", "a resource without resourceType"]
    assert found.error is None


def test_an_entry_that_is_not_utf_8_is_a_fault_and_its_neighbours_are_read() -> None:
    latin = encoded({**WEIGHT, "valueString": "Größe"}).decode().encode("latin-1")
    found = bundles.page(encoded(bundle(CONDITION, msgspec.Raw(latin))))
    assert [each.id for each in found.resources] == ["c1"]
    assert told(found.faults) == ["a resource that is not readable JSON"]


@pytest.mark.parametrize("entry", [None, {}, {"fullUrl": "x"}, {"resource": None}, "x", 7, [], {"resource": []}])
def test_an_entry_without_a_resource_is_counted_as_one_that_could_not_be_read(entry: Any) -> None:
    found = page({"resourceType": "Bundle", "entry": [entry, {"resource": WEIGHT}]})
    assert [each.id for each in found.resources] == ["w1"]
    assert told(len(found.faults)) == 1


@pytest.mark.parametrize("entry", ["", 0, False, {}])
def test_a_list_of_entries_that_is_none_is_not_taken_for_an_empty_one(entry: Any) -> None:
    assert told(page({"resourceType": "Bundle", "entry": entry}).faults) == ["an entry without a resource"]


def test_an_entry_of_a_type_that_is_not_needed_is_no_fault() -> None:
    found = page(bundle({"resourceType": "Provenance", "id": "1"}, WEIGHT))
    assert found.faults == []
    assert [item.read.type for item in found.items] == ["Provenance", "Observation"]


def test_one_entry_and_one_link_that_are_objects_are_lists_of_one() -> None:
    found = page(
        {
            "resourceType": "Bundle",
            "entry": {"fullUrl": "urn:uuid:1", "resource": WEIGHT},
            "link": {"relation": "next", "url": "https://ehr.example/page/2"},
        }
    )
    assert [each.id for each in found.resources] == ["w1"]
    assert found.items[0].full_url == "urn:uuid:1"
    assert found.next == "https://ehr.example/page/2"


def test_links_are_found_by_their_relation() -> None:
    links = [
        {"relation": "self", "url": "https://ehr.example/fhir/Condition?patient=p1"},
        {"relation": "first", "url": "https://ehr.example/1"},
        {"relation": "next", "url": "https://ehr.example/2"},
    ]
    found = page(bundle(WEIGHT, link=links))
    assert found.self == "https://ehr.example/fhir/Condition?patient=p1"
    assert found.next == "https://ehr.example/2"
    assert page(bundle(WEIGHT)).next is None


@pytest.mark.parametrize(
    "link", [None, [], [None], "x", [{"relation": "next"}], [{"relation": "next", "url": None}], [7]]
)
def test_what_is_no_link_is_none_and_loses_no_entry(link: Any) -> None:
    found = page(bundle(WEIGHT, link=link))
    assert found.next is None
    assert left_out([found]) is None
    assert [each.id for each in found.resources] == ["w1"]


@pytest.mark.parametrize("relation", ["Next", " next", ["next"]], ids=str)
def test_a_next_page_is_asked_for_however_its_relation_is_written(relation: Any) -> None:
    assert page(bundle(WEIGHT, link=[{"relation": relation, "url": "https://ehr.example/2"}])).next is not None


@pytest.mark.parametrize("url", [7, {"value": "https://ehr.example/2"}, ["https://ehr.example/2"], True], ids=str)
def test_of_a_next_page_whose_link_cannot_be_read_the_list_is_not_taken_for_whole(url: Any) -> None:
    found = page(bundle(WEIGHT, link=[{"relation": "next", "url": url}]))
    assert found.next is None
    assert left_out([found]) == says.NEXT_UNREAD


@pytest.mark.parametrize("relation", ["next", "self"])
def test_a_link_that_no_server_takes_is_not_followed_and_the_list_is_not_taken_for_whole(relation: str) -> None:
    longest = "https://ehr.example/".ljust(bounds.ADDRESS, "a")
    kept, cut = (
        page(bundle(WEIGHT, link=[{"relation": relation, "url": each}])) for each in (longest, longest + "a")
    )
    if relation == "next":
        assert (kept.next, cut.next, left_out([cut])) == (longest, None, says.NEXT_UNREAD)
    else:
        assert (kept.self, cut.self) == (longest, longest)


@pytest.mark.parametrize("total", [50, "50", 50.0, [50], " 50"], ids=str)
def test_a_total_counts_however_it_is_written(total: Any) -> None:
    assert left_out([page(bundle(WEIGHT, total=total))]) == says.CAME("1", "50")


@pytest.mark.parametrize("total", [1, "1", 1.0, 0, -3, "many", "", {}, True, None], ids=str)
def test_a_total_that_is_no_more_than_came_leaves_nothing_out(total: Any) -> None:
    assert left_out([page(bundle(WEIGHT, total=total))]) is None


def test_the_json_of_an_item_is_kept_for_those_who_send_it_back() -> None:
    order = {"resourceType": "MedicationRequest", "id": "1", "extension": [{"url": "x", "valueDecimal": 0.10}]}
    (item,) = page(bundle(order)).items
    assert lenient.untyped(item.raw) == lenient.untyped(encoded(order))
    raw = b'{"resourceType":"Bundle","entry":{"resource":{"resourceType":"Observation","x":0.10}}}'
    (item,) = bundles.page(raw).items
    assert b"0.10" in bytes(memoryview(item.raw)), "an exact decimal stays one, with its zero"


def test_the_sandbox_patients_are_read_whole_and_without_a_fault() -> None:
    files = charts.files()
    assert len(files) == 13
    for file in files:
        raw = charts.read(file)
        found = bundles.page(raw)
        sent = Counter(entry["resource"]["resourceType"] for entry in json.loads(raw)["entry"])
        assert found.faults == []
        assert Counter(item.read.type for item in found.items) == sent
        assert Counter(type(each).__name__ for each in found.resources) == {
            name: count for name, count in sent.items() if name in TYPES
        }


# Anything in the place of anything

a_bundle = st.lists(st.sampled_from(RESOURCES), max_size=2).map(
    lambda resources: bundle(*resources, link=[{"relation": "next", "url": "https://ehr.example/2"}])
)


@settings(max_examples=400)
@given(st.sampled_from(RESOURCES).flatmap(spoilt) | a_bundle.flatmap(spoilt))
def test_whatever_stands_in_the_place_of_any_element_nothing_raises(value: Any) -> None:
    found = bundles.page(encoded(value))
    assert isinstance(found, Page)
    for item in found.items:
        assert item.read.resource is not None or item.read.type is not None or item.read.faults


@given(st.binary(max_size=60))
def test_no_bytes_raise(raw: bytes) -> None:
    assert isinstance(bundles.page(raw), Page)


@settings(max_examples=400)
@given(a_bundle.flatmap(lambda value: spoilt(value, plain_json)))
def test_an_odd_bundle_is_read_like_a_sound_one(value: Any) -> None:
    """The quick way and the lenient one must give the same page, or one odd link would change the entries."""
    raw = encoded(value)
    slow = bundles._slow_page(raw, bounds.ENTRIES, NEVER)
    for quick in (bundles.page(raw), bundles.page_to_read(raw)):
        assert [elements(each) for each in quick.resources] == [elements(each) for each in slow.resources]
        assert [item.read for item in quick.items if not item.read.resource] == [
            item.read for item in slow.items if not item.read.resource
        ]
        assert [item.read.faults for item in quick.items] == [item.read.faults for item in slow.items]
        assert [item.full_url for item in quick.items] == [item.full_url for item in slow.items]
        for field in ("next", "self", "error", "is_bundle"):
            assert getattr(quick, field) == getattr(slow, field), field


def test_entries_that_are_nested_too_deep_are_faults_on_both_ways() -> None:
    action: Any = []
    for _ in range(400):
        action = [{"action": action}]
    deep = {"resourceType": "RequestGroup", "status": 1, "action": action}
    for entry in ([{"resource": deep}], {"resource": deep}):
        found = page({"resourceType": "Bundle", "entry": entry})
        assert found.resources == []
        assert told(len(found.faults)) == 1
