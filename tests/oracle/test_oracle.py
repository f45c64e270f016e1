"""The published CQL in engines that nobody here wrote: on the scenarios of a rule the same verdict as our own."""

from __future__ import annotations

import pytest

from cds_service.knowledge import Knowledge
from tests.oracle import cases, compare
from tests.oracle.engines import needed


@pytest.mark.parametrize("engine", compare.ENGINES)
def test_a_foreign_engine_says_of_a_rules_own_scenarios_what_we_say(engine: str, knowledge: Knowledge) -> None:
    needed()
    own = [(case, [rule]) for rule, case in cases.of_rules(knowledge)]
    found = compare.compare(own, knowledge, compare.differences(), engine)
    assert found.unexplained == []
    assert found.verdicts.total() > 650


def test_a_verdict_that_is_not_ours_is_told(knowledge: Knowledge) -> None:
    case = next(case for _, case in cases.of_rules(knowledge, {"bp-uncontrolled"}) if not compare._in_words(case))
    found = compare.Comparison()
    for difference in compare._differing(
        cases.Verdict("clear"), {"Fires": True, "Tier": "critical", "Severity": "critical"}
    ):
        compare._explain(found, compare.differences(), "none", case, "bp-uncontrolled", difference)
    assert found.unexplained == [f"bp-uncontrolled: ours clear, theirs fired: {case.name}"]
