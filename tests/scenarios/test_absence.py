"""What is taken as absent without being evaluated evaluates to false: over all scenarios, also with lists missing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress

import pytest

from cds_service.advise import explain
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks.errors import PreconditionFailed
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from cds_service.protocol import model
from cds_service.protocol.model import All, AllergyIs, ConditionIs, ObservationIs
from cds_service.protocol.model import Any as AnyOf
from cds_service.rules import judged
from cds_service.rules.case import Case
from cds_service.rules.clauses import evaluate
from cds_service.rules.clauses.presence import absences
from cds_service.rules.judge import judge
from cds_service.rules.outcome import Outcome
from cds_service.rules.reads import rules_of
from tests.scenarios.build import NOW, hook_request, scenarios


def _parts(clause: model.Clause) -> Iterator[model.Clause]:
    yield clause
    if isinstance(clause, (model.Any, model.All, model.Not)):
        for part in clause.of:
            yield from _parts(part)


def test_absent_is_false_and_never_untold(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"absent": 0, "evaluated": 0}

    def checked(case: Case) -> list[Outcome]:
        for rule in rules_of(case.protocol, case.hook, case.stopping):
            for clause in (part for tier in rule.tiers if tier.when for part in _parts(tier.when)):
                absent = any(map(case.on_record.isdisjoint, absences(clause)))
                seen["absent" if absent else "evaluated"] += 1
                if absent:
                    assert evaluate(clause, case).holds is False, (rule.id, clause)
        return judge(case)

    monkeypatch.setattr(judged, "judge", checked)
    chance = random.Random(1)
    for _, scenario in scenarios():
        body = hook_request(scenario)
        sent = sorted(body["prefetch"])
        for name in chance.sample(sent, min(len(sent), chance.choice((0, 1, 3)))):
            del body["prefetch"][name]
        request = parse(lenient.encode(body), body["hook"])
        with suppress(PreconditionFailed):  # at patient-view, where nothing is known of what runs
            explain(request, body["hook"] == "order-sign", knowledge, NoSource(), NOW)
    assert seen["absent"] > seen["evaluated"] > 0


def test_all_is_absent_by_any_of_its_parts_and_any_by_all_of_them() -> None:
    problem, value = ConditionIs(sets=["a/group"], asks=["b"]), ObservationIs(sets=["c"])
    allergy = AllergyIs(sets=["d"])
    of_problem, of_value = frozenset({"conditions", "a", "b"}), frozenset({"results", "c"})
    assert absences(problem) == (of_problem,)
    assert set(absences(All(of=[problem, value]))) == {of_problem, of_value}
    assert absences(AnyOf(of=[problem, value])) == (of_problem | of_value,)
    either = AnyOf(of=[All(of=[problem, value]), allergy])
    assert set(absences(either)) == {of_problem | {"allergies", "d"}, of_value | {"allergies", "d"}}
    assert absences(model.Not(of=[problem])) == ()
