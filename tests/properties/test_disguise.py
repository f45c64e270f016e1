"""An entry that fires a rule, disguised as real feeds disguise it, never leads to an answer without a card.

Over every scenario in which a rule fires by an entry of the chart, one change of that entry at a time. A sample is
tried, the same each time; all of them with `KETAMINE_TEST_DISGUISES=all`.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cds_service.advise import advice
from cds_service.fhir import lenient
from cds_service.fhir.client import NoSource
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from tests.scenarios.build import NOW, hook_request, scenarios

Json = dict[str, Any]
SAMPLE = 300
_UNKNOWN = {"coding": [{"system": "urn:example:house", "code": "X1"}]}


def _remove(*names: str) -> Callable[[Json], None]:
    def disguise(entry: Json) -> None:
        for name in names:
            entry.pop(name, None)

    return disguise


def _put(**elements: Any) -> Callable[[Json], None]:
    def disguise(entry: Json) -> None:
        entry |= copy.deepcopy(elements)

    return disguise


def _no_value(entry: Json) -> None:
    for name in [name for name in entry if name.startswith("value")]:
        del entry[name]


def _in_words(entry: Json) -> None:
    for part in (entry, *entry.get("component", ())):
        _no_value(part)
        part.pop("interpretation", None)
        part["valueString"] = "see report"


def _without_value(entry: Json) -> None:
    for part in (entry, *entry.get("component", ())):
        _no_value(part)
        part.pop("interpretation", None)
        part["dataAbsentReason"] = {"text": "unknown"}


def _foreign_unit(entry: Json) -> None:
    for part in (entry, *entry.get("component", ())):
        if "valueQuantity" in part:
            part["valueQuantity"] = {"value": part["valueQuantity"]["value"], "unit": "furlong"}


def _foreign_status(entry: Json) -> None:
    """A weight that is only preliminary is none, and fires by being so."""
    if entry.get("status") != "preliminary":
        entry["status"] = "zz-house"


def _versioned(entry: Json) -> None:
    for name in ("code", "medicationCodeableConcept"):
        for coding in (entry.get(name) or {}).get("coding", ()):
            coding["system"] += "|2026"


_DATES = ("effectiveDateTime", "effectivePeriod", "issued")
_OF_ALL = {
    "a version on its system": _versioned,
    "a status that nobody knows": _foreign_status,
    "an unknown extension": _put(modifierExtension=[{"url": "http://example.org/x", "valueBoolean": True}]),
    "unknown rules": _put(implicitRules="http://example.org/x"),
}
_MEDICINE = {
    "a reference that leads nowhere": lambda entry: (
        _remove("medicationCodeableConcept", "contained")(entry),
        _put(medicationReference={"reference": "Medication/nowhere"})(entry),
    ),
    "a code that nobody knows": _put(medicationCodeableConcept=_UNKNOWN),
    "nothing that says what it is": _put(medicationCodeableConcept={}),
}
DISGUISES: dict[str, dict[str, Callable[[Json], Any]]] = {
    "Observation": _OF_ALL
    | {
        "no date": _remove(*_DATES),
        "a year for a date": lambda entry: (_remove(*_DATES)(entry), _put(effectiveDateTime="2026")(entry)),
        "a date that lies ahead": lambda entry: (
            _remove(*_DATES)(entry),
            _put(effectiveDateTime="2027-01-01")(entry),
        ),
        "a value in words": _in_words,
        "no value": _without_value,
        "a unit that nobody knows": _foreign_unit,
    },
    "Condition": _OF_ALL
    | {
        "no code and no words": _put(code={}),
        "a code that nobody knows": _put(code=_UNKNOWN),
        "a clinical status that nobody knows": _put(clinicalStatus={"text": "zz-house"}),
        "a verification that nobody knows": _put(verificationStatus={"text": "zz-house"}),
    },
    "AllergyIntolerance": _OF_ALL
    | {
        "no code and no words": _put(code={}),
        "a code that nobody knows": _put(code=_UNKNOWN),
        "a clinical status that nobody knows": _put(clinicalStatus={"text": "zz-house"}),
    },
    "Procedure": _OF_ALL
    | {"no code and no words": _put(code={}), "a code that nobody knows": _put(code=_UNKNOWN)}
    | {"no date": _remove("performedDateTime", "performedPeriod")},
    "MedicationRequest": _OF_ALL | _MEDICINE | {"no date": _remove("authoredOn")},
    "MedicationStatement": _OF_ALL | _MEDICINE,
    "MedicationAdministration": _OF_ALL | _MEDICINE | {"no date": _remove("effectiveDateTime", "effectivePeriod")},
}


def _entries(body: Json) -> Iterator[Json]:
    for bundle in body["prefetch"].values():
        for entry in bundle.get("entry", ()) if isinstance(bundle, dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
                yield entry["resource"]


def _answer(body: Json, knowledge: Knowledge) -> Any:
    request = parse(lenient.encode(body), body["hook"])
    return advice(request, body["hook"] == "order-sign", knowledge, NoSource(), NOW)


def _firing(body: Json, knowledge: Knowledge) -> set[str]:
    """The references of the entries that a fired rule rests on.

    Of two weights only the newer one: that an older one cannot be read is not missed (weight.yaml).
    """
    outcomes = [outcome for judged in _answer(body, knowledge).judged for outcome in judged.outcomes]
    fired = [outcome for outcome in outcomes if outcome.status == "fired"]
    older = {fact.reference for o in fired if o.rule.id == "weight-implausible" for fact in o.facts[1:]}
    return {fact.reference for o in fired for fact in o.facts if fact.reference} - older


def _disguised() -> list[tuple[str, Json, str, str]]:
    """(scenario, request, type, disguise) for every entry type of every scenario, before it is known what fires."""
    found = []
    for file, scenario in scenarios():
        if scenario["expect"] == "nothing" or not {"critical", "warning", "info"} & set(scenario["expect"]):
            continue
        body = hook_request(scenario)
        kinds = {entry["resourceType"] for entry in _entries(body) if entry.get("resourceType") in DISGUISES}
        name = f"{file}: {scenario['name']}"
        found += [(name, body, kind, disguise) for kind in sorted(kinds) for disguise in DISGUISES[kind]]
    return found


def test_no_disguise_of_an_entry_that_fires_a_rule_leads_to_an_answer_without_a_card(knowledge: Knowledge) -> None:
    cases = _disguised()
    everything = os.environ.get("KETAMINE_TEST_DISGUISES") == "all"
    random.Random(9).shuffle(cases)
    firing: dict[str, set[str]] = {}
    silent: list[str] = []
    tried = 0
    for name, body, kind, disguise in cases:
        if not everything and tried >= SAMPLE:
            break
        if name not in firing:
            firing[name] = _firing(body, knowledge)
        for reference in sorted(firing[name]):
            if not reference.startswith(f"{kind}/"):
                continue
            changed = copy.deepcopy(body)
            for entry in _entries(changed):
                if f"{entry.get('resourceType')}/{entry.get('id')}" == reference:
                    DISGUISES[kind][disguise](entry)
            if changed == body:
                continue
            tried += 1
            if not _answer(changed, knowledge).response.cards:
                silent.append(f"{name}: {reference} with {disguise}")
    print(f"{tried} disguises of {len(firing)} scenarios")
    assert tried >= SAMPLE
    assert silent == []


def test_an_order_in_disguise_is_never_passed_over(knowledge: Knowledge) -> None:
    """Of a scenario in every file, the order itself: whatever hides its drug, a card says that it was not judged."""
    for file, scenario in {file: scenario for file, scenario in scenarios() if "order" in scenario}.items():
        for medication in (
            {"medicationReference": {"reference": "Medication/nowhere"}},
            {"medicationReference": {"identifier": {"value": "7"}}},
            {"medicationCodeableConcept": {}},
            {"medicationCodeableConcept": _UNKNOWN},
            {"medicationIdentifier": {"value": "7"}},
        ):
            body = hook_request(scenario)
            draft = body["context"]["draftOrders"]["entry"][0]["resource"]
            for name in ("medicationCodeableConcept", "medicationReference", "contained"):
                draft.pop(name, None)
            draft |= copy.deepcopy(medication)
            indicators = [card.indicator for card in _answer(body, knowledge).response.cards]
            assert set(indicators) & {"warning", "critical"}, (file, medication)


@pytest.mark.parametrize("kind", sorted(DISGUISES))
def test_every_disguise_changes_an_entry(kind: str) -> None:
    """A disguise that does nothing would prove nothing."""
    concept = {"coding": [{"system": "http://loinc.org", "code": "1"}], "text": "x"}
    whole = {
        "status": "final",
        "code": concept,
        "medicationCodeableConcept": concept,
        "effectiveDateTime": "2026-11-22",
        "performedDateTime": "2026-11-22",
        "authoredOn": "2026-11-22",
        "valueQuantity": {"value": 1, "unit": "kg"},
    }
    for name, disguise in DISGUISES[kind].items():
        entry = copy.deepcopy(whole)
        disguise(entry)
        assert entry != whole, name
