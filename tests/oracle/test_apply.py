"""PlanDefinition/$apply on the published plan: its actions tell what fires, by which tier, and what is untold."""

from __future__ import annotations

import itertools

from cds_service.knowledge import Knowledge
from tests.oracle import apply, explained, feeds
from tests.oracle.cases import Verdict
from tests.oracle.engines import needed

RULES = ("bp-uncontrolled", "rate-exceeds-protocol-max", "ddi-cyp")


def test_the_actions_that_apply_are_the_rules_that_fire(knowledge: Knowledge) -> None:
    needed()
    every = list(feeds.of_rules(knowledge))
    own = [case for rule, case in every if rule in RULES]
    without_one_list = next(case for _, case in every if len(case.missing) == 1)
    cases = [*itertools.islice(feeds.of_sandbox(knowledge), 4), *own[::3], without_one_list]
    found = apply.apply(cases, knowledge, explained.differences())
    assert found.unexplained == []
    assert found.cases == len(cases) > 10
    assert found.fired > 10
    assert found.untold > 10
    assert found.refused == 0


def test_an_action_that_applies_where_we_are_silent_is_told() -> None:
    assert apply.differing("a", Verdict("clear"), {"a": ["a.warn"]}) == ("clear", "fired")
    assert apply.differing("a", Verdict("could-not-tell"), {"a": []}) == ("could-not-tell", "fired")


def test_an_action_that_does_not_apply_where_we_fire_is_told_and_so_is_another_tier() -> None:
    fired = Verdict("fired", "critical", "critical")
    assert apply.differing("a", fired, {}) == ("fired", "clear")
    assert apply.differing("a", fired, {"a.could-not-tell": []}) == ("fired", "could-not-tell")
    assert apply.differing("a", fired, {"a": ["a.warn", "a.critical"]}) == ("tier critical", "tier warn")
    assert apply.differing("a", fired, {"a": ["a.critical", "a.warn"]}) is None
    assert apply.differing("a", Verdict("clear"), {}) is None


def test_what_cannot_be_told_is_not_what_is_clear() -> None:
    untold = {"a.could-not-tell": []}
    assert apply.differing("a", Verdict("could-not-tell"), untold) is None
    assert apply.differing("a", Verdict("could-not-tell"), {}) == ("could-not-tell", "clear")
    assert apply.differing("a", Verdict("clear"), untold) == ("clear", "could-not-tell")
    assert apply.differing("a", Verdict("fired", "warn"), {"a": ["a.warn"], **untold}) == ("fired", "both")
