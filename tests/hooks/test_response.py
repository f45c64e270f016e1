"""The response as a whole, over every scenario and example: valid CDS Hooks 2.0.1, valid R4, each time the same."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.medicationrequest import MedicationRequest

from cds_service.cards.model import EXTENSION
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge
from tests.hooks.client import Service, card, encoded, topics, updates
from tests.hooks.conformance import decoded, faults
from tests.said import said
from tests.scenarios.build import concept, hook_request, quantity, scenarios

ROOT = Path(__file__).parents[2]
CHANGED = re.compile(
    r"dosageInstruction\[\d+\]\.(text|patientInstruction|additionalInstruction|method|doseAndRate|maxDosePerPeriod|timing$|timing\.(repeat|code|event))|"
    r"medicationReference|medicationCodeableConcept|reasonCode|status$"
)
"""What a suggestion may change in an order."""

AROUND_THE_ORDER: dict[str, Any] = {
    "meta": {"versionId": "3", "lastUpdated": "2026-11-22T09:59:00.000+01:00"},
    "extension": [{"url": "http://example.org/pump", "valueDecimal": Decimal("2.50")}],
    "identifier": [{"system": "urn:example:orders", "value": "00042"}],
    "priority": "urgent",
    "_authoredOn": {"extension": [{"url": "http://example.org/absent", "valueCode": "unknown"}]},
    "requester": {"extension": [{"url": "http://example.org/absent", "valueCode": "unknown"}]},
    "note": [{"text": "für µ-Tests – bleibt 😀"}],
    "dispenseRequest": {"quantity": quantity("10.0 mL"), "numberOfRepeatsAllowed": 0},
    "substitution": {"allowedBoolean": False},
}
AROUND_THE_DOSAGE: dict[str, Any] = {
    "id": "d",
    "extension": [{"url": "http://example.org/checked", "valueBoolean": False}],
    "patientInstruction": "lie down",
    "site": concept("http://snomed.info/sct", "368208006", "Left upper arm"),
}


SCENARIOS = [pytest.param(scenario, id=f"{file}: {scenario['name']}") for file, scenario in scenarios()]
WORKED_EXAMPLES = [scenario for scenario in SCENARIOS if scenario.id.startswith("worked_examples")]
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))


def _decorated(request: dict[str, Any]) -> dict[str, Any]:
    """The request with elements on its orders that the service does not read."""
    request = copy.deepcopy(request)
    for draft in _drafts(request):
        for key, value in AROUND_THE_ORDER.items():
            draft.setdefault(key, value)
        draft["dispenseRequest"] = AROUND_THE_ORDER["dispenseRequest"] | draft["dispenseRequest"]
        dosages = draft.get("dosageInstruction", ())
        for dosage in [each for each in dosages if isinstance(each, dict)] if isinstance(dosages, list) else ():
            for key, value in AROUND_THE_DOSAGE.items():
                dosage.setdefault(key, value)
    return request


def _is_r4(order: dict[str, Any]) -> bool:
    try:
        MedicationRequest.model_validate(order)
    except Exception:  # the library raises more than its own error
        return False
    return True


def _nested(depth: int) -> dict[str, Any]:
    nested: dict[str, Any] = {"url": "u"}
    for _ in range(depth):
        nested = {"url": "u", "extension": [nested]}
    return nested


def _drafts(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The orders that may be changed: the drafts, or at patient-view the one that is running."""
    bundle = request["context"].get("draftOrders") or request["prefetch"].get("medications") or {}
    resources = [entry["resource"] for entry in bundle.get("entry", [])]
    return [each for each in resources if each["resourceType"] == "MedicationRequest"]


def _differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The paths at which two JSON values differ; 2.5 is not 2.50."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            where = f"{path}.{key}" if path else key
            if key not in before or key not in after:
                yield where
            else:
                yield from _differences(before[key], after[key], where)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif type(before) is not type(after) or str(before) != str(after):
        yield path


_answers: dict[int, dict[str, Any]] = {}


def _answer(scenario: dict[str, Any], service: Service) -> dict[str, Any]:
    """The answer to a scenario with decorated orders; asked for once."""
    if id(scenario) not in _answers:
        _answers[id(scenario)] = service.call(_decorated(hook_request(scenario)))
    return _answers[id(scenario)]


# Over everything ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_answer_is_valid_and_changes_only_what_it_says(scenario: dict[str, Any], service: Service) -> None:
    request, answer = _decorated(hook_request(scenario)), _answer(scenario, service)
    assert faults(answer) == []
    originals = {draft.get("id"): decoded(encoded(draft)) for draft in _drafts(request)}
    for resource in updates(answer):  # 132
        if not _is_r4(originals[resource["id"]]):
            continue  # it had to be repaired as well
        differences = list(_differences(originals[resource["id"]], resource))
        assert differences, "an update changes nothing"
        if "medicationReference" in differences and "contained" in differences:
            differences.remove("contained")  # the medication goes with the reference to it
        assert [path for path in differences if not CHANGED.match(path)] == []


@pytest.mark.parametrize("scenario", WORKED_EXAMPLES)
def test_the_answer_at_the_other_hook_is_valid(scenario: dict[str, Any], service: Service) -> None:
    other = "order-sign" if scenario.get("hook") == "order-select" else "order-select"
    assert faults(service.call(hook_request(scenario | {"hook": other}))) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_answer_to_an_example_is_valid(path: Path, service: Service) -> None:
    request = json.loads(path.read_bytes(), parse_float=Decimal)
    assert faults(service.call(request)) == []


def test_the_scenarios_show_every_kind_of_answer(service: Service) -> None:
    """Or the checks above would have had nothing to look at."""
    answers = [_answer(scenario.values[0], service) for scenario in SCENARIOS]
    cards = [card for answer in answers for card in answer["cards"]]
    actions = [a for c in cards for s in c.get("suggestions", ()) for a in s["actions"]]
    assert {"cards": []} in [{"cards": answer["cards"]} for answer in answers]
    assert {card["indicator"] for card in cards} == {"info", "warning", "critical"}
    assert {action["type"] for action in actions} == {"create", "update", "delete"}
    assert {card.get("selectionBehavior") for card in cards} == {None, "any", "at-most-one"}
    assert "could-not-check" in {card["source"]["topic"]["code"] for card in cards}


def test_the_same_request_gives_the_same_answer_to_the_byte(service: Service) -> None:
    for scenario in WORKED_EXAMPLES:
        request = hook_request(scenario.values[0])
        path = f"/cds-services/ketamine-{request['hook']}"
        first, second = (service.http.post(path, data=encoded(request)).data for _ in range(2))
        assert first == second


def test_without_a_ketamine_order_there_are_no_cards_and_nothing_else(service: Service) -> None:
    assert service.call(hook_request({"order": {"drug": "7052 morphine", "dose": "500 mg"}})) == {"cards": []}  # 77


# Identifiers -------------------------------------------------------------------------------------------------------


def _uuids(answer: dict[str, Any]) -> list[str]:
    suggested = [s["uuid"] for card in answer["cards"] for s in card.get("suggestions", ())]
    return [card["uuid"] for card in answer["cards"]] + suggested


def test_another_call_gets_other_identifiers(service: Service) -> None:
    request = hook_request({"order": {"rate": "1.2 mg/kg/h"}})
    other = request | {"hookInstance": "1f0f0f0f-1111-4222-8333-444444444444"}
    first, second = _uuids(service.call(request)), _uuids(service.call(other))
    assert first
    assert not set(first) & set(second)


@pytest.mark.parametrize(
    "instance", ["", "not a uuid", "{0f0f0f0f-1111-4222-8333-444444444444}", "x" * 10_000, "\U0001f600"]
)
def test_a_hook_instance_that_is_no_uuid_still_gives_identifiers(instance: str, service: Service) -> None:
    request = hook_request({"order": {"rate": "1.2 mg/kg/h"}}) | {"hookInstance": instance}
    answer = service.call(request)
    assert faults(answer) == []
    assert _uuids(answer) == _uuids(service.call(request))


@pytest.mark.parametrize("identifier", [None, "same"])
def test_orders_that_cannot_be_told_apart_get_cards_that_can(identifier: str | None, service: Service) -> None:
    """Two drafts without an id, or with the same one: 80, 118."""
    request = hook_request({"orders": [{"rate": "1.2 mg/kg/h"}, {"rate": "2 mg/kg/h", "drug": "esketamine"}]})
    for draft in _drafts(request):
        del draft["id"]
        if identifier is not None:
            draft["id"] = identifier
    answer = service.call(request)
    assert faults(answer) == []
    assert topics(answer).count("rate-exceeds-ceiling") == 2


def test_an_order_without_an_id_is_judged_and_nothing_is_offered_for_it(service: Service) -> None:
    """Neither an update nor a deletion could say which order it means."""
    request = hook_request({"orders": [{"rate": "1.2 mg/kg/h"}, {"dose": "100 mg"}]})
    for draft in _drafts(request):
        del draft["id"]
    answer = service.call(request)
    assert "rate-exceeds-ceiling" in topics(answer)
    assert all("suggestions" not in card for card in answer["cards"])


BROKEN_ORDERS: dict[str, tuple[dict[str, Any], bool]] = {
    # What is wrong with an order: (what makes it so, whether a changed order can still be offered).
    "a code and a reference": ({"medicationReference": {"reference": "Medication/m"}}, False),
    "an empty list": ({"note": []}, True),
    "an unknown element that is all there is": ({"maxDosePerPeriod": {"unknown": 1}}, True),
    "numbers as text": ({"dispenseRequest": {"quantity": {"value": "2.50", "unit": "mg"}}}, True),
    "a truth as text": ({"doNotPerform": "false"}, True),
    "a number as its id": ({"id": 12}, False),
    "a list as its id": ({"id": [[]]}, False),
    "an unknown contained type": ({"contained": [{"resourceType": "Nothing", "id": "n"}]}, False),
    "no intent and no status": ({"intent": None, "status": None}, True),
    "a status that R4 does not know": ({"status": "pending"}, False),
    "an intent that R4 does not know": ({"intent": "Order"}, False),
    "a priority that R4 does not know": ({"priority": "high"}, False),
    "a narrative with a status of its own": (
        {"text": {"status": "made up", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'}},
        False,
    ),
    "a contained resource with a status of its own": (
        {"contained": [{"resourceType": "Medication", "id": "n", "status": "made up"}]},
        False,
    ),
    "a deep element": ({"extension": [{"url": "u", "valueString": "x"}, _nested(300)]}, False),
}


@pytest.mark.parametrize("what", BROKEN_ORDERS)
def test_a_broken_order_is_judged_and_comes_back_as_r4_or_not_at_all(what: str, service: Service) -> None:
    changes, is_offered = BROKEN_ORDERS[what]
    request = hook_request({"order": {"rate": "0.6 mg/kg/h"}})
    (draft,) = _drafts(request)
    draft.update(changes)
    answer = service.call(request)
    assert faults(answer) == []
    assert "rate-exceeds-protocol-max" in topics(answer)
    assert bool(updates(answer)) is is_offered


@pytest.mark.parametrize("dosage", [None, 5, "0.5 mg/kg/h", {}, [], [None], [[]], [{}, "x"], {"text": "0.5 mg/kg/h"}])
def test_dosage_instructions_that_are_none_are_no_failure(dosage: Any, service: Service) -> None:
    request = hook_request({"order": {"rate": "0.6 mg/kg/h", "indication": "none"}, "hook": "order-select"})
    _drafts(request)[0]["dosageInstruction"] = dosage
    answer = service.call(request)
    assert faults(answer) == []
    assert "indication-missing" in topics(answer)


def test_numbers_as_text_come_back_as_the_same_numbers(service: Service) -> None:
    request = hook_request({"order": {"rate": "0.6 mg/kg/h"}})
    (draft,) = _drafts(request)
    draft["dispenseRequest"] = {"quantity": {"value": "2.50", "unit": "mg"}, "numberOfRepeatsAllowed": "0"}
    (resource,) = updates(service.call(request))
    assert str(resource["dispenseRequest"]["quantity"]["value"]) == "2.50"
    assert resource["dispenseRequest"]["numberOfRepeatsAllowed"] == 0


def test_where_the_patient_is_not_known_nothing_is_created_for_nobody(service: Service) -> None:
    request = hook_request({"order": {"rate": "90 mg/h"}, "patient": {"weight": "none"}})
    del request["context"]["patientId"], _drafts(request)[0]["subject"]
    answer = service.call(request)
    assert faults(answer) == []
    actions = [a for c in answer["cards"] for s in c.get("suggestions", ()) for a in s["actions"]]
    assert [action for action in actions if action["type"] == "create"] == []


# Suggestions -------------------------------------------------------------------------------------------------------


def test_decimals_that_are_not_changed_come_back_as_they_were_written(service: Service) -> None:
    steps = [{"sequence": 1, "dose": "0.10 mg/kg", "over": "15.0 min"}, {"sequence": 2, "rate": "2.50 mg/kg/h"}]
    request = _decorated(hook_request({"order": {"steps": steps}}))
    body = encoded(request)
    answer = service.http.post("/cds-services/ketamine-order-sign", data=body, content_type="application/json")
    (resource, *_) = updates(decoded(answer.data))
    first, second = resource["dosageInstruction"]
    assert str(first["doseAndRate"][0]["doseQuantity"]["value"]) == "0.10"
    assert str(first["timing"]["repeat"]["duration"]) == "15.0"
    assert str(second["doseAndRate"][0]["rateQuantity"]["value"]) == "0.5"
    assert str(resource["extension"][0]["valueDecimal"]) == "2.50"
    assert b'"valueDecimal":2.50' in answer.data
    assert b'"value":10.0' in answer.data


def test_changes_of_one_order_exclude_each_other(service: Service) -> None:
    answer = service.call(hook_request({"order": {"rate": "1.2 mg/kg/h"}}))
    found = card(answer, "rate-exceeds-ceiling")
    assert len(found["suggestions"]) == 2
    assert found["selectionBehavior"] == "at-most-one"  # 95


def test_deletions_of_two_orders_may_both_be_taken(service: Service) -> None:
    orders = [{"rate": "0.1 mg/kg/h"}, {"dose": "0.1 mg/kg"}]
    answer = service.call(hook_request({"orders": orders, "patient": {"allergies": ["ketamine"]}}))
    found = card(answer, "allergy-ketamine")
    actions = [action for suggestion in found["suggestions"] for action in suggestion["actions"]]
    assert [action["resourceId"] for action in actions] == ["MedicationRequest/o1", "MedicationRequest/o2"]
    assert found["selectionBehavior"] == "any"


def test_what_is_to_be_created_is_for_the_patient_and_the_encounter(service: Service) -> None:
    answer = service.call(hook_request({"order": {"rate": "90 mg/h"}, "patient": {"weight": "none"}}))
    actions = [a for c in answer["cards"] for s in c.get("suggestions", ()) for a in s["actions"]]
    created = [action["resource"] for action in actions if action["type"] == "create"]
    assert created
    for resource in created:  # 131
        assert resource["subject"] == {"reference": "Patient/p1"}
        assert resource["encounter"] == {"reference": "Encounter/e1"}
        assert resource["status"] == "draft"


# What every card has -----------------------------------------------------------------------------------------------


def test_override_reasons_are_six_clinical_ones_each_beside_its_standard_code(
    service: Service, knowledge: Knowledge
) -> None:
    (found, *_) = service.call(hook_request({"order": {"rate": "1.2 mg/kg/h"}}))["cards"]
    assert [reason["display"] for reason in found["overrideReasons"]] == [
        "A specialist advised it", "Tolerated before", "The patient is in a monitored setting", "It is an emergency",
        "The data are wrong", "I will monitor for it",
    ]  # fmt: skip
    for reason in found["overrideReasons"]:
        assert reason["system"] == "https://ketamine-cds.github.io/fhir/CodeSystem/override-reasons"
        standard = reason["extension"][EXTENSION]["standard"]
        assert standard["system"] == "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"
        assert {(each["system"], each["code"]) for each in (reason, standard)} <= knowledge.reasons_taken


def test_the_topic_is_the_leading_rule_and_the_source_its_page(service: Service, knowledge: Knowledge) -> None:
    for scenario in SCENARIOS:
        for found in _answer(scenario.values[0], service)["cards"]:
            topic = found["source"]["topic"]["code"]
            assert topic in {*knowledge.protocol.rules, "could-not-check", "further-warnings"}
            assert found["source"]["url"] == f"{knowledge.public_url}/protocol/{topic}"
            rules = found["extension"][EXTENSION]["rules"]
            if topic in knowledge.protocol.rules:
                assert rules[0] == {"id": topic, "severity": found["indicator"]}


def test_the_extension_says_what_stands_behind_the_card(service: Service, knowledge: Knowledge) -> None:
    answer = service.call(hook_request({"order": {"rate": "0.6 mg/kg/h"}, "patient": {"missing": ["conditions"]}}))
    extension = card(answer, "rate-exceeds-protocol-max")["extension"][EXTENSION]
    assert extension["rules"] == [{"id": "rate-exceeds-protocol-max", "severity": "warning"}]
    assert extension["order"] == "MedicationRequest/o1"
    assert extension["regimen"] == [
        {"step": 1, "kind": "continuous", "mg": None, "mgPerKg": None, "mgPerHour": "42", "mgPerKgPerHour": "0.6",
         "minutes": None}
    ]  # fmt: skip
    assert extension["weight"] == {
        "kg": "70",
        "basis": "measured",
        "date": "2026-11-22",
        "reference": "Observation/obs1",
    }
    assert all(set(limit) == {"id", "value", "unit", "sources", "site"} for limit in extension["limits"])
    whole = answer["extension"][EXTENSION]
    assert whole["protocol"] == {"version": knowledge.protocol.version, "overlay": None}
    assert whole["notChecked"]
    assert all(set(each) == {"rule", "reason", "kind"} for each in whole["notChecked"])
    assert {"rule": "psychosis", "reason": said(NoSource().why_not or ""), "kind": "not-sent"} in whole["notChecked"]


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)> ketamine", "[ketamine](javascript:alert(1))", "ketamine `x` **y**"]
)
def test_text_of_the_ehr_cannot_become_markup(name: str, service: Service) -> None:
    request = hook_request(
        {"order": {"drug": f"words: {name}", "rate": "2 mg/kg/h", "text": name, "indication": f"words: {name}"}}
    )
    answer = service.call(request)
    assert answer["cards"]
    for found in answer["cards"]:
        assert not re.search(r"(?<!\\)<|(?<!\\)\]\(|(?<!\\)`", found["detail"])
