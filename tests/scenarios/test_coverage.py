"""No rule of the protocol, no tier and no condition that changes one is without a scenario."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import pytest

from cds_service.knowledge import Knowledge
from docs import coverage_page
from tests.scenarios.build import scenarios
from tests.scenarios.coverage import Covered, gaps, needs_an_order_set, rests_on_no_codes, rows


@pytest.fixture(scope="module")
def covered(knowledge: Knowledge) -> Covered:
    return Covered(knowledge)


def test_every_tier_of_every_rule_is_fired_by_a_scenario(covered: Covered, knowledge: Knowledge) -> None:
    tiers = {(rule.id, tier.name) for rule in knowledge.protocol.rules.values() for tier in rule.tiers}
    assert sorted(tiers - covered.fired) == []


def test_every_rule_is_clear_in_a_scenario(covered: Covered, knowledge: Knowledge) -> None:
    """But for a rule that rests on a value set without codes, which may never be: a scenario says so instead."""
    may_never_be = {rule.id for rule in knowledge.protocol.rules.values() if rests_on_no_codes(rule, knowledge)}
    rules = set(knowledge.protocol.rules)
    assert sorted(rules - may_never_be - set(covered.named["clear"])) == []
    assert sorted(may_never_be - set(covered.named["could not tell"])) == []


def test_everything_that_changes_a_severity_does_so_in_a_scenario(covered: Covered, knowledge: Knowledge) -> None:
    """But for order sets, of which the protocol maps none: a site does."""
    changes = {
        (rule.id, change.because)
        for rule in knowledge.protocol.rules.values()
        for change in rule.changes
        if not needs_an_order_set(change.when, knowledge)
    }
    assert sorted(changes - set(covered.changed)) == []


def test_every_rule_that_yields_to_another_is_suppressed_in_a_scenario(
    covered: Covered, knowledge: Knowledge
) -> None:
    yielding = {rule.id for rule in knowledge.protocol.rules.values() if rule.yields_to}
    assert sorted(yielding - set(covered.named["suppressed"])) == []


def test_scenarios_name_only_rules_that_exist(covered: Covered, knowledge: Knowledge) -> None:
    assert sorted(set().union(*covered.named.values()) - set(knowledge.protocol.rules)) == []


def test_no_two_scenarios_of_a_file_have_one_name() -> None:
    names = Counter((file, scenario["name"]) for file, scenario in scenarios())
    assert [name for name, count in names.items() if count > 1] == []


def test_no_rule_lacks_a_scenario_that_fires_it_one_just_beside_one_untold_and_one_suppressed(
    covered: Covered,
) -> None:
    assert gaps(covered) == []


def test_a_rule_is_said_to_be_always_told_only_where_nothing_makes_it_untold(covered: Covered) -> None:
    for row in rows(covered):
        if row.why_no.get("untold"):
            assert row.untold == []
            assert not row.rule.needs or row.rule.card == "could-not-check", row.rule.id


def test_scenarios_that_are_taken_away_show_as_gaps(covered: Covered) -> None:
    less = copy.copy(covered)
    less.named = {
        word: {rule: names for rule, names in named.items() if rule != "bp-uncontrolled"}
        for word, named in covered.named.items()
    }
    assert gaps(less) == [f"bp-uncontrolled: {column}" for column in ("fires", "clear", "untold", "suppressed")]


def test_the_coverage_page_is_what_make_docs_would_write(covered: Covered) -> None:
    page = (Path(__file__).parents[2] / coverage_page.PAGE).read_text("utf-8")
    assert page == coverage_page.coverage(covered), "run make docs"
