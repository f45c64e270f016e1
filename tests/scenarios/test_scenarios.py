"""Every scenario file, one test for each scenario: what the clinician is told, exactly, and what is offered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cds_service.advise import Advice
from cds_service.knowledge import Knowledge
from cds_service.scenarios.expected import faults
from tests.scenarios import first_offer
from tests.scenarios.build import hook_request, parsed, scenarios
from tests.scenarios.judged import judge, judge_once


@pytest.mark.parametrize(
    "scenario", [pytest.param(scenario, id=f"{file}: {scenario['name']}") for file, scenario in scenarios()]
)
def test_scenario(scenario: dict[str, Any], knowledge: Knowledge) -> None:
    made = judge_once(scenario, knowledge)
    assert faults(scenario, made) == []
    assert _first_offer(scenario, made, knowledge) == []


def _first_offer(scenario: dict[str, Any], made: Advice, knowledge: Knowledge) -> list[str]:
    """What is wrong with the first offer, taken."""

    def again(request: Mapping[str, Any]) -> Advice:
        return judge(scenario, knowledge, parsed(request, scenario.get("hook", "order-sign")))

    return first_offer.faults(hook_request(scenario), made, again)
