"""The gauge shows the limits of the rules, those that this order and this patient are held against, and no others."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from cds_service import advise
from cds_service.console.gauge import Gauge, gauge
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from cds_service.rules.scale import Scale, scales
from tests.hooks.client import encoded
from tests.scenarios.build import NOW, hook_request

SIGN = "order-sign"
CHRONIC = "128200000 Complex regional pain syndrome"


def _scales(knowledge: Knowledge, order: dict[str, Any], now: datetime = NOW, **patient: Any) -> list[Scale]:
    request = hook_request({"order": order, "patient": {"weight": "80 kg", **patient}})
    cases, _ = advise.read(parse(encoded(request), SIGN), True, knowledge, now)
    return [scale for case in cases for scale in scales(case)]


def _gauges(knowledge: Knowledge, order: dict[str, Any], **patient: Any) -> list[Gauge]:
    return [
        gauge(each, knowledge.protocol, knowledge.texts.words.fill) for each in _scales(knowledge, order, **patient)
    ]


def _number(knowledge: Knowledge, limit: str) -> object:
    return knowledge.limits.book(knowledge.protocol.drugs[0], NOW.date()).number(limit)


def test_an_infusion_for_pain_stands_between_the_warning_and_the_critical_limit(knowledge: Knowledge) -> None:
    (scale,) = _scales(knowledge, {"rate": "0.6 mg/kg/h"})
    assert scale.unit == "mg/kg/h"
    assert [(mark.limit.id, mark.severity) for mark in scale.marks] == [
        ("rate-warn", "warning"), ("rate-critical", "critical")
    ]  # fmt: skip
    assert [mark.number for mark in scale.marks] == [_number(knowledge, mark.limit.id) for mark in scale.marks]
    assert scale.usual is not None
    assert scale.usual[0].id == "usual-rate"


@pytest.mark.parametrize(
    ("order", "place", "critical"),
    [
        ({}, {}, "rate-critical"),
        ({"indication": CHRONIC}, {}, "chronic-rate-critical"),
        ({"indication": CHRONIC}, {"place": "225746001 Ward"}, "rate-critical"),
        ({"indication": [CHRONIC, "pain"]}, {}, "rate-critical"),
    ],
)
def test_a_limit_counts_only_where_its_rule_could_fire(
    knowledge: Knowledge, order: dict[str, Any], place: dict[str, Any], critical: str
) -> None:
    (scale,) = _scales(knowledge, {"rate": "0.6 mg/kg/h", **order}, **place)
    assert scale.marks[-1].limit.id == critical


def test_a_bolus_is_held_against_the_limits_of_a_dose(knowledge: Knowledge) -> None:
    (scale,) = [each for each in _scales(knowledge, {"dose": "28 mg", "over": "10 min"}) if each.unit == "mg/kg"]
    numbers = [mark.number for mark in scale.marks]
    assert numbers == sorted(numbers)
    assert [mark.severity for mark in scale.marks] == ["info", "warning", "critical"]
    assert float(scale.figure or 0) == 0.35


def test_esketamine_has_its_own_limits(knowledge: Knowledge) -> None:
    (scale,) = _scales(knowledge, {"rate": "0.2 mg/kg/h", "drug": "esketamine"})
    assert {mark.limit.drug for mark in scale.marks} == {"esketamine"}


def test_without_a_weight_a_dose_per_kg_is_shown_and_no_total(knowledge: Knowledge) -> None:
    (shown,) = _gauges(knowledge, {"rate": "0.6 mg/kg/h"}, weight="none")
    assert shown.actual is not None
    assert (shown.actual.says, shown.ideal) == ("0.6 mg/kg/h", None)
    assert {tick.in_all for tick in shown.ticks} == {""}


def test_both_weights_are_shown_where_the_ideal_one_is_known(knowledge: Knowledge) -> None:
    (shown,) = _gauges(knowledge, {"rate": "0.3 mg/kg/h"}, weight="148 kg", height="165 cm", sex="female")
    assert shown.actual is not None
    assert shown.ideal is not None
    assert shown.actual.says == "0.3 mg/kg/h at 148 kg"
    assert shown.ideal.says.endswith("at ideal weight 57 kg")
    assert shown.ideal.place > shown.actual.place


@pytest.mark.parametrize("rate", ["0.1 mg/kg/h", "0.6 mg/kg/h", "50 mg/kg/h", "800 mg/h"])
def test_everything_lies_within_the_bar_and_the_zones_fill_it(knowledge: Knowledge, rate: str) -> None:
    (shown,) = _gauges(knowledge, {"rate": rate})
    assert shown.actual is not None
    assert 0 <= shown.actual.place <= 100
    assert sum(zone.width for zone in shown.zones) == pytest.approx(100, abs=0.1)
    assert [zone.severity for zone in shown.zones] == ["good", "warning", "critical"]
    assert shown.actual.beyond is (rate in ("50 mg/kg/h", "800 mg/h"))


def test_each_mark_says_where_its_number_comes_from(knowledge: Knowledge) -> None:
    (shown,) = _gauges(knowledge, {"rate": "0.6 mg/kg/h"})
    for tick in shown.ticks:
        assert tick.sources
        assert all(shown.sources[name] for name in tick.sources)


def test_an_order_of_which_no_dose_can_be_read_has_no_gauge(knowledge: Knowledge) -> None:
    assert _gauges(knowledge, {"text": "as discussed"}) == []
