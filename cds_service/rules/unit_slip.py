"""A number that fits another unit. It reads the writing, so it may differ for the same dose on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from cds_service.chart.facts import Fact
from cds_service.orders.dosage import Amount
from cds_service.orders.regimen import Step
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.dosing_weight import dosing_weight, steps_as
from cds_service.rules.reads import asks
from cds_service.rules.running import previous_rate

IN_MG_PER_KG_PER_H = "mg/kg/h"
IN_UG_PER_KG_PER_MIN = "ug/kg/min"
_SAME_AS_MG_PER_KG_PER_H = ("mg/kg/h", "mg/(kg.h)", "mg.kg-1.h-1")
_IN_MICROGRAMS = ("ug/kg/min", "ug/(kg.min)", "ug/kg/h")


def usual_rate(case: Case, otherwise: Fraction) -> Fraction:
    """The rate (mg/kg/h) up to which a number is right for what the order is for: of several reasons, the least."""
    indication, known = case.order.indication, case.terms.indications
    reasons = [*indication.mapped, *([indication.contexts] if indication.contexts else [])]
    if indication.unmapped or not reasons:
        reasons.append(frozenset())
    named = [[known[name].usual_rate for name in kinds] for kinds in reasons]
    rates = [[case.number(name) if name is not None else otherwise for name in each] for each in named]
    return min(max(each, default=otherwise) for each in rates)


@dataclass(frozen=True, slots=True)
class Slip:
    """`meant` is the unit that the number would fit; None where only the ratio to the rate before looks odd."""

    tier: str
    step: Step
    amount: Amount
    meant: str | None = None
    fact: Fact | None = None
    ratio: Fraction | None = None


@asks(
    "bodySize",
    "patient",
    "administrations",
    limits=("rate above", "number high", "rate below", "number low", "ratio of minutes", "ratio of hours"),
    tiers=("fits micrograms", "fits milligrams", "odd against the rate before"),
)
def slips(case: Case, rule: Rule) -> Iterator[Slip]:
    """The continuous steps whose number looks like a slip of units."""
    limits, body = RuleLimits(case, rule), dosing_weight(case).bodies[0]
    before = previous_rate(case, body)
    usual = usual_rate(case, limits.number("rate above"))
    for step in steps_as(case, body, False):
        rate, amount = step.mg_per_kg_per_hour, step.rate
        if step.kind != "continuous" or amount is None:
            continue
        if step.route.kind not in limits.limit("rate above").routes:
            continue
        ratio = before.times(step) if before is not None else None
        if before is not None and before.running and ratio is not None and ratio < 1:
            continue  # a step down is meant
        if amount.unit in _SAME_AS_MG_PER_KG_PER_H and rate is not None and rate > usual:
            low, high = limits.numbers("number high")
            if low <= amount.written <= high:
                yield Slip(rule.tier_of["fits micrograms"], step, amount, IN_UG_PER_KG_PER_MIN)
                continue
        if amount.unit in _IN_MICROGRAMS and rate is not None and rate < limits.number("rate below"):
            low, high = limits.numbers("number low")
            if low <= amount.written <= high:
                yield Slip(rule.tier_of["fits milligrams"], step, amount, IN_MG_PER_KG_PER_H)
                continue
        if before is not None and ratio is not None:
            for name in ("ratio of minutes", "ratio of hours"):
                low, high = limits.numbers(name)
                if low <= ratio <= high:
                    tier = rule.tier_of["odd against the rate before"]
                    yield Slip(tier, step, amount, fact=before.fact, ratio=ratio)
                    break
