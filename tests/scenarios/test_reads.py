"""What a rule reads follows from its clauses and its code's declaration: held against what the chart is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from inspect import getmembers, isfunction
from typing import Any

import pytest

from cds_service import advise
from cds_service.chart.chart import Chart
from cds_service.chart.reading import Reading
from cds_service.fhir.source import NoSource
from cds_service.hooks.errors import PreconditionFailed
from cds_service.knowledge import Knowledge
from cds_service.protocol import model
from cds_service.rules import dose_outcomes, judge, reads, unit_slip
from cds_service.rules.case import Case
from tests.scenarios.build import NOW, scenarios, sent

MEDICINES = ("medications", "medicationStatements", "administrations")
READS: dict[str, tuple[str, ...]] = {
    "patient": ("patient",),
    "birth_date": ("patient",),
    "deceased": ("patient",),
    "age_years": ("patient",),
    "age_months": ("patient",),
    "sex": ("patient",),
    "weights": ("bodySize",),
    "unplaced_weights": ("bodySize",),
    "problems": ("conditions",),
    "problems_by_set": ("conditions",),
    "open_problems": ("conditions",),
    "symptoms": ("conditions", "symptoms"),
    "allergies": ("allergies",),
    "allergies_by_set": ("allergies",),
    "open_allergies": ("allergies",),
    "has_allergy_list": ("allergies",),
    "acts": ("procedures",),
    "acts_by_set": ("procedures",),
    "open_acts": ("procedures",),
    "encounter": ("encounter",),
    "setting": ("encounter",),
    "reasons_of_encounter": ("encounter",),
    "medicines": MEDICINES,
    "medicines_by_set": MEDICINES,
    "ordered_services": ("serviceRequests",),
}
"""A part of the chart -> the queries behind it. Of several, whoever asks for it must have declared one."""
OF_THE_KEY = {"gap", "was_not_sent"}
OF_THE_SET = {"measurements", "measurements_within"}
NOTHING = {
    "is_promised", "encounter_id", "query_of", "on_record", "order_json", "is_urgent", "has_coarse_readings"
}  # fmt: skip
"""Parts behind which there is no list."""


class RecordingChart(Chart):
    """Notes which lists are asked for, however much of the chart was already read."""

    asked: set[tuple[str, ...]] = set()

    def __getattribute__(self, name: str) -> Any:
        get = super().__getattribute__
        found = get(name)
        if name in READS:
            get("asked").add(READS[name])
        elif name in OF_THE_KEY | OF_THE_SET:

            def noted(of: str, *more: Any) -> Any:
                get("asked").add((of if name in OF_THE_KEY else get("query_of")(of),))
                return found(of, *more)

            return noted
        return found


def test_every_part_of_the_chart_is_known_to_this_test() -> None:
    public = {name for name in vars(Chart) if not name.startswith("_")}
    assert public == {*READS, *OF_THE_KEY, *OF_THE_SET, *NOTHING}
    assert not {name for name, _ in getmembers(Reading, isfunction)} & READS.keys()


@contextmanager
def recording(monkeypatch: pytest.MonkeyPatch, cases: list[Case]) -> Iterator[None]:
    """Collects every case that is judged, on a chart that records."""

    def kept(case: Case) -> list[Any]:
        cases.append(case)
        return original(case)

    original = advise.judged
    with monkeypatch.context() as patch:
        patch.setattr(advise, "Chart", RecordingChart)
        patch.setattr(advise, "judged", kept)
        yield


def _alone(case: Case, rule: model.Rule) -> set[tuple[str, ...]]:
    """What the chart is asked for by one rule of a case, as if no other had asked before."""
    assert isinstance(case.chart, RecordingChart)
    fresh = replace(case, _of_patient={})
    _ = case.chart.on_record
    case.chart.asked = asked = set()
    if dose_outcomes.is_of_dose(rule):
        dose_outcomes.outcomes(fresh, [rule])
    elif rule.judge == "clauses":
        judge.by_clauses(fresh, rule)
    else:
        judge._by_code(fresh, rule)
    return asked


def test_no_rule_asks_the_chart_for_a_list_that_it_is_not_known_to_read(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: list[Case] = []
    with recording(monkeypatch, cases):
        for _, scenario in scenarios():
            signing = scenario.get("hook", "order-sign") == "order-sign"
            with suppress(PreconditionFailed):
                advise.explain(sent(scenario), signing, knowledge, NoSource(), NOW)
    undeclared: dict[str, set[tuple[str, ...]]] = {}
    asked_for: dict[str, set[tuple[str, ...]]] = {}
    for case in cases:
        rules = reads.rules_of(case.protocol, case.hook, case.stopping)
        for rule in rules:
            asked = _alone(case, rule)
            asked_for.setdefault(rule.judge, set()).update(asked)
            judged = (
                [each for each in rules if dose_outcomes.is_of_dose(each)]
                if dose_outcomes.is_of_dose(rule)
                else [rule]
            )  # a repair looks at all dose rules
            known = frozenset[str]().union(*(judge.read_by(each, case.chart.query_of) for each in judged))
            if left := {group for group in asked if known.isdisjoint(group)}:
                undeclared.setdefault(rule.id, set()).update(left)
    assert undeclared == {}
    of_dose = {**dose_outcomes.JUDGEMENTS, dose_outcomes.UNIT_SLIP: unit_slip.slips}
    assert asked_for.keys() == {*judge.JUDGEMENTS, *of_dose, "clauses"}
    for name, judgement in {**judge.JUDGEMENTS, **of_dose}.items():
        declared: frozenset[str] = judgement.asks_for
        never = {key for key in declared if not any(key in group for group in asked_for[name])}
        assert not never, f"{name} declares {never} and never asks for it"


def test_a_sites_rule_reads_the_lists_of_its_clauses(knowledge: Knowledge) -> None:
    queries = {name: query.key for query in knowledge.queries for name in query.sets}
    rule = knowledge.protocol.rules["raised-icp"]
    assert judge.read_by(rule, lambda name: queries[name]) == {
        "conditions", "vitalSigns", "procedures", "encounter", "administrations",
    }  # fmt: skip
