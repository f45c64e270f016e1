"""`findings` and `outcomes`: what a regimen passes at one weight, and how the worst of each rule is reported."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cds_service.knowledge import Knowledge
from cds_service.orders.regimen import Body
from cds_service.rules import dose
from cds_service.rules.dose_finding import Finding, uses, worst
from tests.rules.build import case, outcome

KG = Body.of(Fraction(70))


def _found(knowledge: Knowledge, body: Body = KG, **scenario: Any) -> dict[str, Finding]:
    """The findings of the one order, the last of each rule."""
    return {each.rule: each for each in dose.findings(case(knowledge, **scenario), body)[0]}


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
    assert of_rates & set(_found(knowledge, order={"rate": rate})) == rules


def test_a_finding_says_the_figure_the_limit_and_the_weight(knowledge: Knowledge) -> None:
    found = _found(knowledge, order={"rate": "42 mg/h"})["rate-exceeds-protocol-max"]
    assert (found.figure, found.unit, found.limit) == (Fraction(3, 5), "mg/kg/h", "rate-warn")
    assert found.body == KG


def test_a_weight_halved_doubles_the_figure(knowledge: Knowledge) -> None:
    half = Body.of(Fraction(35))
    found = _found(knowledge, half, order={"rate": "42 mg/h"})
    assert found["rate-exceeds-ceiling"].figure == Fraction(6, 5)


def test_without_a_weight_mg_per_hour_is_a_doubt_and_mg_per_kg_per_hour_is_judged(knowledge: Knowledge) -> None:
    nobody = Body.of(None)
    found, doubts = dose.findings(case(knowledge, order={"rate": "42 mg/h"}), nobody)
    assert found == []
    assert "rate-exceeds-protocol-max" in {doubt.rule for doubt in doubts}
    assert "rate-exceeds-protocol-max" in _found(knowledge, nobody, order={"rate": "0.6 mg/kg/h"})


def test_doses_together_are_a_finding_of_their_sum(knowledge: Knowledge) -> None:
    steps = [{"dose": "0.26 mg/kg"}, {"dose": "0.25 mg/kg"}]
    found = _found(knowledge, order={"steps": steps})["bolus-exceeds-protocol-max"]
    assert (found.how, found.figure) == ("sum", Fraction("0.51"))
    assert len(found.steps) == 2


def test_pain_and_depression_together_are_judged_as_both(knowledge: Knowledge) -> None:
    both = case(knowledge, order={"dose": "0.5 mg/kg", "over": "40 min", "indication": ["pain", "depression"]})
    assert uses(both.order) == ["analgesic", "depression"]
    alone = case(knowledge, order={"dose": "0.5 mg/kg", "over": "40 min", "indication": "depression"})
    assert uses(alone.order) == ["depression"]


def test_of_one_rule_the_gravest_then_the_largest_finding_counts() -> None:
    def finding(tier: str, figure: int) -> Finding:
        return Finding("r", tier, Fraction(figure), "mg/kg", None, ())

    least, most, grave = finding("warning", 1), finding("warning", 2), finding("critical", 1)
    severity: Any = lambda each: each.tier  # noqa: E731
    assert worst([least, most], severity) == {"r": most}
    assert worst([most, grave, least], severity) == {"r": grave}


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
    assert [reason.says for reason in found.reasons] == ["the order has no dose that can be read"]


def test_labelled_nasal_esketamine_is_clear_of_these_limits(knowledge: Knowledge) -> None:
    spray = {"drug": "2201625 Spravato", "dose": "84 mg", "route": "nasal", "indication": "depression"}
    found = outcome(knowledge, "bolus-exceeds-protocol-max", order=spray)
    assert (found.status, found.because) == ("clear", "labelled nasal esketamine is not judged by these limits")
