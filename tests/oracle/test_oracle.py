"""The published CQL in engines that nobody here wrote: on the scenarios of a rule the same verdict as our own."""

from __future__ import annotations

import pytest

from cds_service.knowledge import Knowledge
from cds_service.published import as_cql
from tests.oracle import cases, compare, explained, feeds
from tests.oracle.engines import ENGINES, needed
from tests.oracle.explained import Difference
from tests.scenarios.build import NOW

RULE = "bp-uncontrolled"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_foreign_engine_says_of_a_rules_own_scenarios_what_we_say(engine: str, knowledge: Knowledge) -> None:
    needed()
    own = [(case, [rule]) for rule, case in feeds.of_rules(knowledge)]
    found = compare.compare(own, knowledge, explained.differences(), engine)
    assert found.unexplained == []
    assert found.verdicts.total() > 650


def test_a_verdict_that_is_not_ours_is_told(knowledge: Knowledge) -> None:
    case = next(case for rule, case in feeds.of_rules(knowledge) if rule == RULE and "[o1]" in case.name)
    library = next(each for each in as_cql(knowledge, knowledge.protocol, NOW.date()).libraries if each.rule == RULE)
    found = compare.Comparison()
    theirs = {"Fires": True, "Tier": "critical", "Severity": "critical"}
    for ours, told in compare.differing(cases.Verdict("clear"), theirs):
        found.differ(explained.differences(), Difference("none", case, library, ours, told, frozenset()))
    assert found.unexplained == [f"{RULE}: ours clear, theirs fired: {case.name}"]
