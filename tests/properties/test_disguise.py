"""An entry that fires a rule, disguised as real feeds disguise it, never leads to an answer without a card.

Over every scenario in which a rule fires by an entry of the chart, one change of that entry at a time. A sample is
tried, the same each time; all of them by `make disguises`. Nor is the rule then called clear: it fires, or cannot be
told.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import pytest

from cds_service.advise import Advice, advice
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge, load
from tests.properties.disguises import DISGUISES, KNOWN, UNKNOWN, Json
from tests.scenarios.build import LOINC, NOW, hook_request, scenarios

PARTS = 32
PROCESSES = 2
SAMPLE = 300
EVERYTHING = os.environ.get("KETAMINE_TEST_DISGUISES") == "all"
COMPARING = {"unit-slip-suspected"}
"""Clear where there is no running rate to compare with: what is the rate, other rules judge."""


@lru_cache(maxsize=1)
def _knowledge() -> Knowledge:
    """Loaded once in each process, with what the value sets call their codes."""
    knowledge = load()
    sets = knowledge.valuesets
    KNOWN.update({(system, m.code): m.display for name in sets.names() for system, m in sets[name].members})
    return knowledge


def _answer(body: Json, knowledge: Knowledge) -> Advice:
    request = parse(lenient.encode(body), body["hook"])
    return advice(request, body["hook"] == "order-sign", knowledge, NoSource(), NOW)


def _firing(body: Json, knowledge: Knowledge) -> dict[str, set[str]]:
    """The references of the entries that fired rules rest on, with these rules."""
    outcomes = [outcome for judged in _answer(body, knowledge).judged for outcome in judged.outcomes]
    found: dict[str, set[str]] = {}
    for outcome in outcomes:
        for fact in outcome.facts if outcome.status == "fired" else ():
            if fact.reference is not None:
                found.setdefault(fact.reference, set()).add(outcome.rule.id)
    return found


def _disguised(body: Json, reference: str) -> Iterator[tuple[str, Json]]:
    """(disguise, request) for each disguise that changes the entry; all but the entry is shared with `body`."""
    kind, _, identifier = reference.partition("/")
    for key, bundle in body["prefetch"].items():
        for at, entry in enumerate(bundle.get("entry", ()) if isinstance(bundle, dict) else ()):
            resource = entry.get("resource") if isinstance(entry, dict) else None
            if not isinstance(resource, dict) or (resource.get("resourceType"), resource.get("id")) != (
                kind,
                identifier,
            ):
                continue
            for name, disguise in DISGUISES.get(kind, {}).items():
                changed = copy.deepcopy(resource)
                disguise(changed)
                if changed != resource:
                    entries = [*bundle["entry"]]
                    entries[at] = {**entry, "resource": changed}
                    yield name, {**body, "prefetch": {**body["prefetch"], key: {**bundle, "entry": entries}}}


def _is_weight(body: Json, reference: str) -> bool:
    """Of a weight that is not understood another rule speaks than the one that it fired."""
    entries = (body["prefetch"].get("bodySize") or {}).get("entry", ())
    ids = {e["resource"]["id"] for e in entries if e["resource"].get("resourceType") == "Observation"}
    return reference.partition("/")[2] in ids


def _called_clear(made: Advice, rules: set[str]) -> set[str]:
    statuses: dict[str, set[str]] = {}
    for judged in made.judged:
        for outcome in judged.outcomes:
            statuses.setdefault(outcome.rule.id, set()).add(outcome.status)
    return {rule for rule in rules - COMPARING if statuses.get(rule) in ({"clear"}, {"suppressed"})}


def _try(part: int, most: int | None = None) -> tuple[Counter[str], list[str]]:
    """(how often each disguise was tried, which answers were wrong) over one part of the scenarios."""
    knowledge = _knowledge()
    firing = [(f, s) for f, s in scenarios() if {"critical", "warning", "info"} & set(s["expect"])]
    random.Random(9).shuffle(firing)
    tried: Counter[str] = Counter()
    wrong: list[str] = []
    for file, scenario in firing[part::PARTS]:
        body = hook_request(scenario)
        for reference, rules in sorted(_firing(body, knowledge).items()):
            for disguise, changed in _disguised(body, reference):
                if most is not None and tried.total() == most:
                    return tried, wrong
                tried[f"{reference.partition('/')[0]}: {disguise}"] += 1
                made = _answer(changed, knowledge)
                clear = set() if _is_weight(body, reference) else _called_clear(made, rules)
                if not made.response.cards or clear:
                    says = f"clear: {sorted(clear)}" if made.response.cards else "no card"
                    wrong.append(f"{file}: {scenario['name']}: {reference} with {disguise}: {says}")
    return tried, wrong


def test_no_disguise_of_an_entry_that_fires_a_rule_leads_to_an_answer_without_a_card() -> None:
    if EVERYTHING:
        with multiprocessing.Pool(PROCESSES) as pool:
            found = pool.map(_try, range(PARTS), chunksize=1)
    else:
        found = [_try(part, SAMPLE // PARTS + 1) for part in range(PARTS)]
    tried = sum((counts for counts, _ in found), Counter[str]())
    print(*(f"{count:6} {name}" for name, count in sorted(tried.items())), f"{tried.total():6} in all", sep="\n")
    assert tried.total() >= SAMPLE
    assert [each for _, wrong in found for each in wrong] == []


def test_an_order_in_disguise_is_never_passed_over(knowledge: Knowledge) -> None:
    """Of a scenario in every file, the order itself: whatever hides its drug, a card says that it was not judged."""
    ordering = {
        file: scenario
        for file, scenario in scenarios()
        if "order" in scenario and "status" not in scenario["order"]  # one that ends is no order
    }
    for file, scenario in ordering.items():
        for medication in (
            {"medicationReference": {"reference": "Medication/nowhere"}},
            {"medicationReference": {"identifier": {"value": "7"}}},
            {"medicationCodeableConcept": {}},
            {"medicationCodeableConcept": UNKNOWN},
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
        "dosage": {"rateQuantity": {"value": 1, "unit": "mg/h"}},
        "code": concept,
        "medicationCodeableConcept": concept,
        "effectiveDateTime": "2026-11-22",
        "performedDateTime": "2026-11-22",
        "authoredOn": "2026-11-22",
        "onsetDateTime": "2026-11-22",
        "valueQuantity": {"value": 1, "unit": "kg"},
    }
    for name, disguise in DISGUISES[kind].items():
        KNOWN[LOINC, "1"] = "words"
        entry = copy.deepcopy(whole)
        disguise(entry)
        assert entry != whole, name
