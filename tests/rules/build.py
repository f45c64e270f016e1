"""A case of the scenarios, caught where the service judges it."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from cds_service import advise
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge
from cds_service.rules.case import Case
from cds_service.rules.outcome import Outcome
from tests.scenarios.build import NOW, sent


def cases(scenario: dict[str, Any], knowledge: Knowledge) -> list[Case]:
    """Every case that a scenario leads to, in the order in which they are judged."""
    found: list[Case] = []
    judged = advise.judged

    def catch(case: Case) -> Any:
        found.append(case)
        return judged(case)

    with patch.object(advise, "judged", catch):
        advise.explain(sent(scenario), scenario.get("hook", "order-sign") == "order-sign", knowledge, NoSource(), NOW)
    return found


def case(knowledge: Knowledge, **scenario: Any) -> Case:
    """The one case of a scenario in the words of tests/scenarios."""
    (found,) = cases(scenario, knowledge)
    return found


def outcome(knowledge: Knowledge, rule: str, **scenario: Any) -> Outcome:
    """How one rule ended for the first order of a scenario."""
    judged, _ = advise.explain(sent(scenario), True, knowledge, NoSource(), NOW)
    return next(each for each in judged[0].outcomes if each.rule.id == rule)
