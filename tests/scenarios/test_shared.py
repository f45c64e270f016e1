"""What rests on the patient is judged once for all ketamine drafts of a request, and each draft all the same."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

import pytest

from cds_service.advise import explain
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from cds_service.protocol import model
from cds_service.rules.case import Case
from cds_service.rules.clauses import Verdict, verdict
from cds_service.rules.judged import Judged
from tests.scenarios.build import NOW, hook_request, scenarios


def _request(drafts: int) -> dict[str, Any]:
    """A scenario whose patient's blood pressure matters, with its order sent so many times."""
    body = hook_request(next(s for file, s in scenarios() if file == "bp-uncontrolled"))
    (entry,) = body["context"]["draftOrders"]["entry"]
    copies = [copy.deepcopy(entry) for _ in range(drafts)]
    for number, each in enumerate(copies[1:], 1):
        each["resource"]["id"] = f"another-{number}"
    body["context"]["draftOrders"]["entry"] = copies
    return body


def _judged(drafts: int, knowledge: Knowledge) -> list[Judged]:
    body = _request(drafts)
    request = parse(lenient.encode(body), body["hook"])
    return explain(request, body["hook"] == "order-sign", knowledge, NoSource(), NOW)[0]


def test_measurements_are_held_against_the_limits_once_for_all_drafts(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[model.ObservationIs] = []
    way = verdict._WAYS[model.ObservationIs]

    def counted(clause: model.ObservationIs, case: Case, since: datetime | None = None) -> Verdict:
        evaluated.append(clause)
        return way(clause, case, since)

    monkeypatch.setitem(verdict._WAYS, model.ObservationIs, counted)
    _judged(1, knowledge)
    alone = len(evaluated)
    _judged(3, knowledge)
    beside_an_order = len(evaluated) - 2 * alone
    assert alone > 0
    assert beside_an_order < alone, "clauses that also ask something of the order are all that is evaluated again"


def test_a_rule_says_the_same_of_each_of_two_equal_drafts(knowledge: Knowledge) -> None:
    (alone,) = _judged(1, knowledge)
    for each in _judged(2, knowledge):
        for outcome, single in zip(each.outcomes, alone.outcomes, strict=True):
            # What another draft adds, the first of them says.
            if outcome.rule.judge not in ("duplicate", "given-sum") and not outcome.rule.yields_to:
                assert (outcome.status, outcome.tier, outcome.facts) == (single.status, single.tier, single.facts)
