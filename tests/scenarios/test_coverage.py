"""No rule of the protocol, no tier and no condition that changes one is without a scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from cds_service.advise import Knowledge, explain
from cds_service.fhir.client import NoSource
from cds_service.protocol.model import SEVERITIES, OrderIs, Rule
from tests.scenarios.build import NOW, scenarios, sent

WORDS = (*SEVERITIES, "hidden", "suppressed", "could not tell", "clear")
"""The words of `expect` that name rules."""


class Covered:
    """What all scenarios together name in `expect`, with the tier or the reason that was behind it."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.fired: set[tuple[str, str]] = set()
        """(rule, tier)"""
        self.changed: set[tuple[str, str]] = set()
        """(rule, because)"""
        self.named: dict[str, set[str]] = {word: set() for word in WORDS}
        """Word of `expect` -> rules."""
        for _file, scenario in scenarios():
            if isinstance(scenario["expect"], dict):
                self._add(scenario, knowledge)

    def _add(self, scenario: dict[str, Any], knowledge: Knowledge) -> None:
        named = {word: set(scenario["expect"].get(word, ())) for word in WORDS}
        for word, rules in named.items():
            self.named[word] |= rules
        told = set().union(*(named[word] for word in (*SEVERITIES, "hidden", "suppressed")))
        signing = scenario.get("hook", "order-sign") == "order-sign"
        for judged in explain(sent(scenario), signing, knowledge, NoSource(), NOW)[0]:
            for outcome in judged.outcomes:
                if outcome.rule.id in told and outcome.status in ("fired", "suppressed"):
                    self.changed.add((outcome.rule.id, outcome.because or ""))
                    if outcome.status == "fired":
                        self.fired.add((outcome.rule.id, outcome.tier or ""))


@pytest.fixture(scope="module")
def covered(knowledge: Knowledge) -> Covered:
    return Covered(knowledge)


def test_every_tier_of_every_rule_is_fired_by_a_scenario(covered: Covered, knowledge: Knowledge) -> None:
    tiers = {(rule.id, tier.name) for rule in knowledge.protocol.rules.values() for tier in rule.tiers}
    assert sorted(tiers - covered.fired) == []


def test_every_rule_is_clear_in_a_scenario(covered: Covered, knowledge: Knowledge) -> None:
    """But for a rule that rests on a value set without codes: that one is never clear, and a scenario says so."""
    never_clear = {rule.id for rule in knowledge.protocol.rules.values() if _rests_on_no_codes(rule, knowledge)}
    rules = set(knowledge.protocol.rules)
    assert sorted(rules - never_clear - covered.named["clear"]) == []
    assert sorted(never_clear - covered.named["could not tell"]) == []
    assert sorted(never_clear & covered.named["clear"]) == []


def test_everything_that_changes_a_severity_does_so_in_a_scenario(covered: Covered, knowledge: Knowledge) -> None:
    """But for order sets, of which the protocol maps none: a site does."""
    changes = {
        (rule.id, change.because)
        for rule in knowledge.protocol.rules.values()
        for change in rule.changes
        if not _needs_an_order_set(change.when, knowledge)
    }
    assert sorted(changes - covered.changed) == []


def test_every_rule_that_yields_to_another_is_suppressed_in_a_scenario(
    covered: Covered, knowledge: Knowledge
) -> None:
    yielding = {rule.id for rule in knowledge.protocol.rules.values() if rule.yields_to}
    assert sorted(yielding - covered.named["suppressed"]) == []


def test_scenarios_name_only_rules_that_exist(covered: Covered, knowledge: Knowledge) -> None:
    assert sorted(set().union(*covered.named.values()) - set(knowledge.protocol.rules)) == []


def test_no_two_scenarios_of_a_file_have_one_name() -> None:
    names = Counter((file, scenario["name"]) for file, scenario in scenarios())
    assert [name for name, count in names.items() if count > 1] == []


def _parts(value: object) -> Iterator[object]:
    """A clause and all that it is made of."""
    yield value
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _parts(getattr(value, field))
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item)


def _rests_on_no_codes(rule: Rule, knowledge: Knowledge) -> bool:
    clauses = [tier.when for tier in rule.tiers]
    names = {part for part in _parts(clauses) if isinstance(part, str) and part in knowledge.valuesets}
    return any(knowledge.valuesets[name].no_codes for name in names)


def _needs_an_order_set(clause: object, knowledge: Knowledge) -> bool:
    contexts = [name for part in _parts(clause) if isinstance(part, OrderIs) for name in part.context]
    return any(not knowledge.protocol.indications[name].order_sets for name in contexts)
