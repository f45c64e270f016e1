"""What the oracle is fed: every scenario, charts that are opened, the sandbox patients, and generated orders."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import hypothesis
from hypothesis import given

from cds_service.advise import Advice, advice
from cds_service.fhir.source import NoSource
from cds_service.hooks.errors import HookError
from cds_service.knowledge import Knowledge
from cds_service.published import as_cql
from tests import sandbox_charts
from tests.burden.orders import ordinary
from tests.oracle.cases import ORDER_HOOKS, Case, of_request
from tests.properties.drafts import Asked, orders_as_they_may_come
from tests.scenarios.build import NOW, hook_request, parsed, scenarios
from tests.scenarios.judged import judge_once

_SEED = 20261122
_ORDERS_OF_A_PATIENT = 4
_GENERATED = 300
_OF_THE_ORDER = {"weight", "height", "age", "sex"}
"""What a generated order has of its patient: its dose is written for that body."""


def of_scenarios(knowledge: Knowledge) -> Iterator[Case]:
    """Every order of every scenario of the shipped protocol in which an order is judged."""
    yield from _judged(knowledge, ORDER_HOOKS)


def of_charts(knowledge: Knowledge) -> Iterator[Case]:
    """The scenarios in which a chart is opened: the order behind what runs is judged."""
    yield from _judged(knowledge, ("patient-view",))


def of_rules(knowledge: Knowledge) -> Iterator[tuple[str, Case]]:
    """(rule, case): the scenarios in the folder of each rule that CQL says."""
    said = {each.rule for each in as_cql(knowledge, knowledge.protocol, NOW.date()).libraries}
    for file, scenario in scenarios():
        if file in said and scenario.get("hook", "order-sign") in ORDER_HOOKS:
            yield from ((file, case) for case in _of_scenario(file, scenario, knowledge))


def of_sandbox(knowledge: Knowledge) -> Iterator[Case]:
    """Each sandbox patient with some of the orders that a hospital writes on a usual day."""
    chance = random.Random(_SEED)
    orders = [(name, scenario["order"]) for name, scenario in ordinary()]
    for patient in sandbox_charts.patients():
        for name, order in chance.sample(orders, _ORDERS_OF_A_PATIENT):
            request = sandbox_charts.request(patient, knowledge.queries, order)
            yield from of_request(f"{patient.label}: {name}", request, _answered(request, knowledge), knowledge)


def of_generator(knowledge: Knowledge) -> Iterator[Case]:
    """Orders of the generator that offers are tried with, each in the chart that two scenarios make together."""
    charts = {
        _name(file, each): {key: value for key, value in each["patient"].items() if key not in _OF_THE_ORDER}
        for file, each in scenarios()
        if each.get("hook", "order-sign") in ORDER_HOOKS and _is_a_chart(each.get("patient") or {})
    }
    for number, asked in enumerate(_orders(), 1):
        names = heapq.nsmallest(2, charts, key=partial(_place, number))
        patient = {**asked.patient, **_together(*map(charts.__getitem__, names))}
        request = replace(asked, patient=patient).request()
        yield from of_request(f"generated {number}", request, _answered(request, knowledge), knowledge, names)


def _place(number: int, name: str) -> bytes:
    """Where a chart stands for an order: by chance, and the same when others are added."""
    return hashlib.sha256(f"{_SEED} {number} {name}".encode()).digest()


def _is_a_chart(patient: Mapping[str, Any]) -> bool:
    """Whether it holds more than a body, and takes nothing of a body away."""
    return not _OF_THE_ORDER.issuperset(patient) and "bodySize" not in patient.get("missing", ())


FEEDS: Mapping[str, Callable[[Knowledge], Iterator[Case]]] = {
    "scenarios": of_scenarios,
    "charts opened": of_charts,
    "sandbox patients": of_sandbox,
    "generated orders": of_generator,
}


def every(knowledge: Knowledge) -> Iterator[Case]:
    """The cases of all feeds."""
    for name, cases in FEEDS.items():
        for case in cases(knowledge):
            yield replace(case, feed=name)


def _judged(knowledge: Knowledge, hooks: tuple[str, ...]) -> Iterator[Case]:
    for file, scenario in scenarios():
        if scenario.get("hook", "order-sign") in hooks:
            yield from _of_scenario(file, scenario, knowledge)


def _of_scenario(file: str, scenario: dict[str, Any], knowledge: Knowledge) -> Iterator[Case]:
    try:
        made = judge_once(scenario, knowledge)
    except HookError:
        return  # nothing is judged, as the scenario says
    name = _name(file, scenario)
    yield from of_request(name, hook_request(scenario), made, knowledge, [name])


def _name(file: str, scenario: Mapping[str, Any]) -> str:
    return f"{file}: {scenario['name']}"


def _answered(request: Mapping[str, Any], knowledge: Knowledge) -> Advice:
    return advice(parsed(request, request["hook"]), request["hook"] == "order-sign", knowledge, NoSource(), NOW)


def _orders() -> list[Asked]:
    """The same ones each time."""
    found: list[Asked] = []

    @hypothesis.seed(_SEED)
    @hypothesis.settings(
        max_examples=_GENERATED,
        phases=[hypothesis.Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @given(orders_as_they_may_come())
    def collect(asked: Asked) -> None:
        found.append(asked)

    collect()
    return found


def _together(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Two charts as one: the entries of both lists, and of what there is but one of, the first."""
    both = {
        key: [*first[key], *value]
        for key, value in second.items()
        if isinstance(value, list) and isinstance(first.get(key), list)
    }
    return {**second, **first, **both}
