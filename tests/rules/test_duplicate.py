"""The duplicate rule, other orders and doses of the family: what counts as another one, and what is this one."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.knowledge import Knowledge
from cds_service.rules.duplicate import judge
from cds_service.rules.outcome import Outcome
from tests.rules.build import case, cases, outcome

RULE = "duplicate-ketamine-esketamine"
RATE = {"rate": "0.2 mg/kg/h"}


def _outcome(knowledge: Knowledge, order: dict[str, Any] = RATE, **patient: Any) -> Outcome:
    found = case(knowledge, order=order, patient=patient)
    return judge(found, knowledge.protocol.rules[RULE])[0]


@pytest.mark.parametrize(
    ("patient", "status", "tier"),
    [
        ({}, "clear", None),
        ({"medicines": [{"drug": "ketamine", "rate": "10 mg/h"}]}, "fired", "active"),
        ({"medicines": [{"drug": "2201625 Spravato", "dose": "84 mg", "route": "nasal"}]}, "fired", "active"),
        ({"medicines": [{"drug": "7052 morphine", "dose": "5 mg"}]}, "clear", None),
        ({"given": [{"status": "completed", "dose": "10 mg", "when": "2 hours ago"}]}, "fired", "panel"),
        ({"given": [{"status": "completed", "dose": "10 mg", "when": "9 days ago"}]}, "clear", None),
        ({"missing": ["administrations"]}, "could-not-tell", None),
    ],
)
def test_another_order_or_dose(patient: dict[str, Any], status: str, tier: str | None, knowledge: Knowledge) -> None:
    found = _outcome(knowledge, **patient)
    assert (found.status, found.tier) == (status, tier)


def test_what_the_order_replaces_is_not_another_one(knowledge: Knowledge) -> None:
    old = {"id": "old", "drug": "ketamine", "rate": "10 mg/h"}
    assert _outcome(knowledge, medicines=[old]).status == "fired"
    assert _outcome(knowledge, {**RATE, "replaces": "old"}, medicines=[old]).status == "clear"


def test_a_running_infusion_of_this_order_is_this_order(knowledge: Knowledge) -> None:
    def running(order: str) -> Outcome:
        return _outcome(knowledge, given=[{"status": "in-progress", "rate": "10 mg/h", "order": order}])

    assert running("o1").status == "clear"
    assert running("elsewhere").tier == "active"


def test_a_bolus_beside_an_infusion_is_one_plan_and_two_infusions_are_not(knowledge: Knowledge) -> None:
    def status(*orders: dict[str, Any]) -> list[str]:
        rule = knowledge.protocol.rules[RULE]
        return [judge(each, rule)[0].status for each in cases({"orders": list(orders)}, knowledge)]

    assert status({"dose": "0.2 mg/kg"}, RATE) == ["clear", "clear"]
    assert status(RATE, RATE) == ["fired", "fired"]


def test_what_fires_asks_for_the_draft_to_be_removed(knowledge: Knowledge) -> None:
    found = outcome(knowledge, RULE, order=RATE, patient={"medicines": [{"drug": "ketamine", "rate": "10 mg/h"}]})
    assert (found.status, found.removes) == ("fired", True)
    assert [action.resource_id for offer in found.proposals for action in offer.actions] == ["MedicationRequest/o1"]
