"""Each scenario, judged once in a process: the test of the scenario and the coverage read the same judgement."""

from __future__ import annotations

from typing import Any

from cds_service.advise import Advice
from cds_service.hooks.errors import HookError
from cds_service.knowledge import Knowledge
from cds_service.scenarios.expected import Ended, endings, judge

__all__ = ["Ended", "ended", "endings", "judge", "judge_once"]

_ended: dict[int, tuple[Ended, ...]] = {}
"""By the identity of a scenario: `scenarios()` gives the same objects each time."""


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
