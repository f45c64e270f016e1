"""The dose of an order on its way to the SMART app: figures, units, drug and route, to the letter or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.advise import advice
from cds_service.console.form import Choices, Fields, filled
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from cds_service.orders.carried import carried, carry
from tests.scenarios.build import NOW, hook_request


def _carried(knowledge: Knowledge, **order: Any) -> str | None:
    """What the link of a card of this order carries."""
    request = parse(lenient.encode(hook_request({"hook": "order-sign", "order": order})), "order-sign")
    (judged,) = advice(request, True, knowledge, NoSource(), NOW).judged
    return carry(judged.drug, judged.steps)


def _filled(text: str | None, knowledge: Knowledge) -> Fields | None:
    given = carried(text)
    return filled(given, Choices.of(knowledge), knowledge.valuesets) if given is not None else None


@pytest.mark.parametrize(
    ("order", "bolus", "rate", "duration"),
    [
        ({"rate": "0.8 mg/kg/h", "for": "24 h"}, "", "0.8 mg/kg/h", "24 h"),
        ({"rate": "13.3 ug/kg/min"}, "", "13.3 ug/kg/min", ""),
        ({"rate": "56 mg/h", "for": "90 min"}, "", "56 mg/h", "90 min"),
        ({"rate": "0.1 to 0.6 mg/kg/h"}, "", "0.6 mg/kg/h", ""),
        ({"dose": "25 mg", "over": "10 min"}, "25 mg over 10 min", "", ""),
        ({"dose": "0.3 mg/kg", "over": "15 min", "every": "4 h"}, "0.3 mg/kg over 15 min every 4 h", "", ""),
        ({"rate": "35 mL/h", "strength": "1 mg per 1 mL"}, "", "35 mg/h", ""),
        (
            {"steps": [{"dose": "25 mg", "over": "10 min"}, {"rate": "0.2 mg/kg/h", "for": "2 d"}]},
            "25 mg over 10 min",
            "0.2 mg/kg/h",
            "2 d",
        ),
    ],
)
def test_the_fields_of_the_app_say_what_the_order_says(
    order: dict[str, Any], bolus: str, rate: str, duration: str, knowledge: Knowledge
) -> None:
    fields = _filled(_carried(knowledge, **order), knowledge)
    assert fields is not None
    assert (fields.bolus, fields.rate, fields.duration) == (bolus, rate, duration)
    assert fields.product == "ketamine"
    assert fields.reason == ""


@pytest.mark.parametrize(
    "order",
    [
        {"steps": [{"rate": "0.2 mg/kg/h"}, {"rate": "0.3 mg/kg/h"}]},
        {"rate": "from 0.1 mg/kg/h"},
        {"text": "0.2 mg/kg/h as discussed"},
        {"dose": "25 mg", "every": "4 h", "count": 3},
        {},
    ],
    ids=["two rates", "no highest rate", "in words", "so many doses", "nothing"],
)
def test_what_the_fields_cannot_say_is_not_carried(order: dict[str, Any], knowledge: Knowledge) -> None:
    assert _carried(knowledge, **order) is None


def test_as_needed_and_the_route_come_along(knowledge: Knowledge) -> None:
    fields = _filled(_carried(knowledge, **{"dose": "35 mg", "route": "intramuscular", "as needed": True}), knowledge)
    assert fields == Fields(product="ketamine", route="im", bolus="35 mg", prn=True)


def test_it_carries_figures_and_units_and_nothing_of_a_patient(knowledge: Knowledge) -> None:
    text = _carried(knowledge, rate="0.8 mg/kg/h")
    assert text == '{"drug":"ketamine","route":"intravenous","rate":{"value":"0.8","unit":"mg/kg/h"}}'


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "{",
        "[]",
        "{}",
        "\ud800",
        "[" * 400,
        " " * 501,
        '{"drug":"<b>","route":"iv"}',
        '{"drug":"ketamine","route":"iv","rate":{"value":"0.8 mg","unit":"mg/kg/h"}}',
        '{"drug":"ketamine","route":"iv","rate":{"value":0.8,"unit":"mg/kg/h"}}',
        '{"drug":"ketamine","route":"iv","rate":{"value":"-1","unit":"mg/kg/h"}}',
        '{"drug":"ketamine","route":"iv","rate":{"value":"1","unit":"call 555"}}',
    ],
)
def test_what_this_service_never_wrote_is_no_dose(text: object) -> None:
    assert carried(text) is None
