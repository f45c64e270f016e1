"""The sum behind an amount that is past its limit, written out so that a pharmacist can check it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from cds_service.figures import show
from cds_service.orders import words
from cds_service.orders.dosage import Amount
from cds_service.orders.regimen import Body, Step
from cds_service.rules.dose_finding import Measured
from cds_service.says import Says, listed
from cds_service.says import findings as says


def lines(amount: Measured, mg_per_ml: Fraction | None) -> list[Says]:
    """`35 mL/h x 2 mg/mL = 70 mg/h`, `70 mg/h / 70 kg = 1 mg/kg/h`, and what was added up.

    Of an amount in mg, whatever the weight is: `3 devices = 84 mg`, `2 doses x 56 mg = 112 mg`.
    """
    if amount.unit == "mg":
        return list(dict.fromkeys(_in_mg(amount, mg_per_ml)))
    written = [line for step in amount.steps for line in _step(step, amount.body, mg_per_ml)]
    if amount.how in ("sum", "repeats") and amount.figure is not None:
        parts = [_per_kg(step) for step in amount.steps]
        if amount.how == "repeats" and parts[0]:
            count = amount.figure / parts[0]
            written.append(
                says.DOSES_IN_AN_HOUR(
                    show(count), f"{show(parts[0])} mg/kg", says.ONE_HOUR, f"{show(amount.figure)} mg/kg/h"
                )
            )
        elif all(part is not None for part in parts):
            total = " + ".join(show(part) for part in parts if part is not None)
            written.append(says.TOGETHER(total, f"{show(amount.figure)} {amount.unit}"))
    return list(dict.fromkeys(written))


def _in_mg(amount: Measured, mg_per_ml: Fraction | None) -> Iterator[Says]:
    for step in amount.steps:
        if step.dose is not None and step.mg is not None and step.dose.unit != "mg":
            times = f" x {show(mg_per_ml)} mg/mL" if step.dose.dimension == "volume" and mg_per_ml is not None else ""
            yield listed((words.amount(step.dose), f"{times} = {show(step.mg)} mg"), "")
    parts = [step.mg for step in amount.steps if step.mg]
    if amount.how != "sum" or amount.figure is None:
        return
    if len(parts) == 1:
        total = f"{show(amount.figure)} mg"
        yield says.DOSES_TIMES(show(amount.figure / parts[0]), f"{show(parts[0])} mg", total)
    else:
        yield says.TOGETHER(f"{' + '.join(map(show, parts))} mg", f"{show(amount.figure)} mg")


def _per_kg(step: Step) -> Fraction | None:
    return step.mg_per_kg if step.kind in ("bolus", "short") else step.mg_per_kg_per_hour


def _step(step: Step, body: Body, mg_per_ml: Fraction | None) -> list[Says]:
    found: list[Says] = []
    by_rate = step.rate is not None and step.dose is None and step.kind == "continuous"
    if step.rate is not None:
        weighed = by_rate or not step.finite
        found += _amount(step.rate, step.mg_per_hour, step.mg_per_kg_per_hour, body, mg_per_ml, "/h", weighed)
    if step.dose is not None and (step.finite or step.rate is None):
        found += _amount(step.dose, step.mg, step.mg_per_kg, body, mg_per_ml, "", step.rate is None)
    if step.finite and step.minutes is not None and step.mg_per_kg is not None and not by_rate:
        speed = f" = {show(step.mg_per_kg_per_hour)} mg/kg/h" if step.mg_per_kg_per_hour is not None else ""
        over = says.AMOUNT_OVER(f"{show(step.mg_per_kg)} mg/kg", words.duration(step.minutes))
        found.append(listed((over, speed), "") if speed else over)
    return found


def _amount(
    amount: Amount,
    mg: Fraction | None,
    mg_per_kg: Fraction | None,
    body: Body,
    mg_per_ml: Fraction | None,
    per: str,
    with_weight: bool,
) -> list[Says]:
    said = words.amount(amount)
    found: list[Says] = []
    if amount.dimension.startswith("volume") and mg_per_ml is not None:
        converted = show(amount.value * mg_per_ml)
        unit = f"mg/kg{per}" if "bodymass" in amount.dimension else f"mg{per}"
        found.append(listed((said, f" x {show(mg_per_ml)} mg/mL = {converted} {unit}"), ""))
        said = f"{converted} {unit}"
    elif amount.shape == "ratio" or amount.unit not in (f"mg{per}", f"mg/kg{per}", "mg", "mg/kg"):
        unit = f"mg/kg{per}" if "bodymass" in amount.dimension else f"mg{per}"
        found.append(listed((said, f" = {show(amount.value)} {unit}"), ""))
        said = f"{show(amount.value)} {unit}"
    if not with_weight or mg is None or mg_per_kg is None:
        return found
    if "bodymass" in amount.dimension and body.given_by is not None:
        found.append(listed((said, f" x {show(body.given_by)} kg = {show(mg)} mg{per}"), ""))
        if body.judged_by is not None and body.judged_by != body.given_by:
            found.append(f"{show(mg)} mg{per} / {show(body.judged_by)} kg = {show(mg_per_kg)} mg/kg{per}")
    elif body.judged_by is not None:
        found.append(listed((said, f" / {show(body.judged_by)} kg = {show(mg_per_kg)} mg/kg{per}"), ""))
    return found
