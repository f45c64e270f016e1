"""`verdict` and the outcomes of the dose: what a regimen passes, and how the worst of each rule is reported."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from msgspec.structs import replace

from cds_service.knowledge import Knowledge
from cds_service.orders.regimen import Body
from cds_service.protocol.model import Tier
from cds_service.rules.dose_finding import Finding, Measured, worst
from cds_service.rules.dose_outcomes import DoseVerdict, verdict
from tests.rules.build import case, outcome
from tests.said import said


def _verdict(knowledge: Knowledge, **scenario: Any) -> DoseVerdict:
    return verdict(case(knowledge, **scenario))


@pytest.mark.parametrize(
    ("rate", "rules"),
    [
        ("0.5 mg/kg/h", set()),
        ("0.51 mg/kg/h", {"rate-exceeds-protocol-max"}),
        ("1 mg/kg/h", {"rate-exceeds-protocol-max"}),
        ("1.01 mg/kg/h", {"rate-exceeds-ceiling"}),
    ],
)
def test_a_rate_equal_to_a_limit_passes_and_one_above_it_does_not(
    rate: str, rules: set[str], knowledge: Knowledge
) -> None:
    of_rates = {"rate-exceeds-protocol-max", "rate-exceeds-ceiling"}
    assert of_rates & set(_verdict(knowledge, order={"rate": rate}).found) == rules


def test_a_finding_says_the_figure_the_limit_and_the_weight(knowledge: Knowledge) -> None:
    amount = _verdict(knowledge, order={"rate": "42 mg/h"}).found["rate-exceeds-protocol-max"].amount
    assert (amount.figure, amount.unit, amount.limit) == (Fraction(3, 5), "mg/kg/h", "rate-warn")
    assert amount.body == Body.of(Fraction(70))


def test_a_weight_halved_doubles_the_figure(knowledge: Knowledge) -> None:
    found = _verdict(knowledge, order={"rate": "42 mg/h"}, patient={"weight": "35 kg"}).found
    assert found["rate-exceeds-ceiling"].amount.figure == Fraction(6, 5)


def test_without_a_weight_mg_per_hour_is_a_doubt_and_mg_per_kg_per_hour_is_judged(knowledge: Knowledge) -> None:
    nobody = {"weight": "none"}
    unknown = _verdict(knowledge, order={"rate": "42 mg/h"}, patient=nobody)
    assert unknown.found == {}
    assert unknown.doubts["rate-exceeds-protocol-max"]
    known = _verdict(knowledge, order={"rate": "0.6 mg/kg/h"}, patient=nobody)
    assert "rate-exceeds-protocol-max" in known.found


def test_doses_together_are_a_finding_of_their_sum(knowledge: Knowledge) -> None:
    steps = [{"dose": "0.26 mg/kg"}, {"dose": "0.25 mg/kg"}]
    amount = _verdict(knowledge, order={"steps": steps}).found["bolus-exceeds-protocol-max"].amount
    assert (amount.how, amount.figure) == ("sum", Fraction("0.51"))
    assert len(amount.steps) == 2


def test_pain_and_depression_together_are_judged_as_both(knowledge: Knowledge) -> None:
    def uses(indication: Any) -> list[str]:
        order = {"dose": "0.5 mg/kg", "over": "40 min", "indication": indication}
        return [use.name for use in case(knowledge, order=order).order.indication.uses]

    assert uses(["pain", "depression"]) == ["analgesic", "depression"]
    assert uses("depression") == ["depression"]


def test_of_one_rule_the_gravest_then_the_largest_finding_counts(knowledge: Knowledge) -> None:
    tiers = [Tier(name="grave", severity="critical"), Tier(name="mild", severity="warning")]
    rule = replace(knowledge.protocol.rules["rate-exceeds-protocol-max"], tiers=tiers)

    def finding(tier: str, figure: int) -> Finding:
        return Finding(rule.id, tier, Measured(Fraction(figure), "mg/kg", None, ()))

    least, most, grave = finding("mild", 1), finding("mild", 2), finding("grave", 1)
    assert worst([least, most], rule) == most
    assert worst([most, grave, least], rule) == grave


def test_an_outcome_says_the_arithmetic_and_the_limit(knowledge: Knowledge) -> None:
    found = outcome(knowledge, "rate-exceeds-protocol-max", order={"rate": "0.6 mg/kg/h"})
    assert (found.status, found.severity) == ("fired", "warning")
    assert (found.values["figure"], found.values["limit"]) == ("0.6", "0.5")
    assert "0.6 mg/kg/h x 70 kg = 42 mg/h" in found.values["arithmetic"]
    assert found.limits[0].id == "rate-warn"


def test_a_figure_just_above_its_limit_is_never_shown_as_the_limit(knowledge: Knowledge) -> None:
    found = outcome(knowledge, "rate-exceeds-protocol-max", order={"rate": "0.5000001 mg/kg/h"})
    assert found.status == "fired"
    assert Fraction(found.values["figure"]) > Fraction(found.values["limit"])


def test_an_order_without_a_dose_could_not_be_told(knowledge: Knowledge) -> None:
    found = outcome(knowledge, "rate-exceeds-protocol-max", order={})
    assert found.status == "could-not-tell"
    assert [said(reason.says) for reason in found.reasons] == ["the order has no dose that can be read"]


def test_labelled_nasal_esketamine_is_clear_of_the_limits_of_other_products(knowledge: Knowledge) -> None:
    spray = {"drug": "2201625 Spravato", "dose": "84 mg", "route": "nasal", "indication": "depression"}
    found = outcome(knowledge, "bolus-exceeds-protocol-max", order=spray)
    assert (found.status, said(found.because or "")) == ("clear", "the labelled nasal product has rules of its own")
