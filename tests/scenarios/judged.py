"""Each scenario, judged once in a process: the test of the scenario and the coverage read the same judgement."""

from __future__ import annotations

from typing import Any, NamedTuple

from cds_service.advise import Advice, advice
from cds_service.fhir.client import NoSource
from cds_service.hooks.errors import HookError
from cds_service.hooks.request import HookRequest
from cds_service.knowledge import Knowledge
from tests.scenarios.build import NOW, sent


class Ended(NamedTuple):
    """How one rule ended for one order."""

    rule: str
    status: str
    tier: str | None
    because: str | None


_ended: dict[int, tuple[Ended, ...]] = {}
"""By the identity of a scenario: `scenarios()` gives the same objects each time."""


def judge(scenario: dict[str, Any], knowledge: Knowledge, request: HookRequest | None = None) -> Advice:
    """The answer to a scenario, or to another request of its hook."""
    signing = scenario.get("hook", "order-sign") == "order-sign"
    return advice(request or sent(scenario), signing, knowledge, NoSource(), NOW)


def endings(made: Advice) -> tuple[Ended, ...]:
    """How every rule ended in a judgement."""
    outcomes = (outcome for order in made.judged for outcome in order.outcomes)
    return tuple(Ended(each.rule.id, each.status, each.tier, each.because) for each in outcomes)


def judge_once(scenario: dict[str, Any], knowledge: Knowledge) -> Advice:
    """As `judge`, and remember how every rule ended."""
    made = judge(scenario, knowledge)
    _ended[id(scenario)] = endings(made)
    return made


def ended(scenario: dict[str, Any], knowledge: Knowledge) -> tuple[Ended, ...]:
    """How every rule ended for a scenario, judged now or before. Nothing where there is nothing to judge."""
    if id(scenario) not in _ended:
        try:
            judge_once(scenario, knowledge)
        except HookError:
            _ended[id(scenario)] = ()
    return _ended[id(scenario)]
