"""Repairing an order: the smallest edits after which no dosing rule objects, tried on the order itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import msgspec

from cds_service import units
from cds_service.fhir import lenient, outgoing
from cds_service.fhir.bundles import Item
from cds_service.fhir.resources import MedicationRequest
from cds_service.lazy import kept
from cds_service.orders import words
from cds_service.orders.dosage import Amount
from cds_service.orders.draft import read_steps
from cds_service.orders.measure import DOSE_DIMENSIONS, RATE_DIMENSIONS
from cds_service.orders.proposal import Edit, SetAmount, SetCap, SetMinutes, floored, make_edits
from cds_service.orders.regimen import MINUTES_PER_HOUR, Step, mass
from cds_service.protocol.model import CAP_TO, KEEP_TO_CAP, LOWER_TO, LOWER_TO_LIMIT, SLOW_TO, Protocol
from cds_service.rules.case import Case
from cds_service.rules.dose_finding import Finding, Measured
from cds_service.rules.dosing_weight import reading, steps_at_every_weight

MAX_ROUNDS = 6
"""A repair that needs more rounds than this is not offered."""

Judge = Callable[[Case], Sequence[Finding]]
"""The dosing findings of a case that a repair must remove, worst first."""


def repaired(case: Case, judge: Judge) -> Case | None:
    """The case after edits that leave no finding, or None where no edits do that."""
    for _ in range(MAX_ROUNDS):
        left = judge(case)
        if not left:
            return case
        edits = next((edits for finding in left if (edits := edits_for(case, finding))), None)
        changed = with_edits(case, edits) if edits else None
        if changed is None:
            return None
        case = changed
    return None


def with_edits(case: Case, edits: Sequence[Edit]) -> Case | None:
    """The case with its order changed, read again from JSON as it would come back.

    None where that fails, and where the changed order would contradict itself: by floored figures that no longer
    fit each other, or by what it said before. Raises Late: every offer that has to be tried passes here.
    """
    case.deadline.check("offer")
    try:
        resource = lenient.untyped(case.order.draft.item.raw)
        make_edits(resource, edits)
        raw = lenient.encode(resource)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError, msgspec.MsgspecError):
        return None  # the order's JSON is too broken to be edited
    read = lenient.decode(raw)
    if not isinstance(read.resource, MedicationRequest):
        return None
    written = read_steps(read.resource, case.valuesets, case.chart.zone)
    draft = dataclasses.replace(case.order.draft, request=read.resource, item=Item(read, raw))
    order = dataclasses.replace(case.order, draft=draft, written=written)
    companions = [order if other is case.order else other for other in case.companions]
    changed = dataclasses.replace(case, order=order, companions=companions)
    return None if any(step.contradictions for step in steps_at_every_weight(changed)) else changed


def changed_order(case: Case, after: Case) -> dict[str, Any] | None:
    """The changed order to send back; None where it is no valid R4.

    A dosage whose text went with its old figures gets the new ones in words.
    """
    resource: dict[str, Any] = lenient.untyped(after.order.draft.item.raw)
    given = resource.get("dosageInstruction")
    instructions = [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, dict)]
    for before, now, instruction in zip(case.order.written, after.order.written, instructions, strict=False):
        if before.text and "text" not in instruction:
            instruction["text"] = words.dosage(now)
    return outgoing.medication_request(resource, case.chart.patient_id, case.now)


def edits_for(case: Case, finding: Finding) -> list[Edit] | None:
    """What brings one finding within its limit, by what its tier or its rule suggests; None where nothing does."""
    step = finding.amount.step
    is_of_several = finding.amount.how == "repeats" or (finding.amount.how == "sum" and len(finding.amount.steps) > 1)
    if is_of_several or step.spoken or step.contradictions:
        return None
    rule = case.protocol.rules[finding.rule]
    tried = (_suggested(case, finding.amount, name) for name in (*rule.tier(finding.tier).suggests, *rule.suggests))
    return next((edits for edits in tried if edits), None)


def _suggested(case: Case, amount: Measured, name: str) -> list[Edit] | None:
    if name == LOWER_TO_LIMIT:
        return _lowered(case, amount, amount.limit) if amount.limit is not None else None
    if name == KEEP_TO_CAP:
        return _within_cap(case, amount)
    if name.startswith(LOWER_TO):
        return _lowered(case, amount, name.removeprefix(LOWER_TO))
    if name.startswith(SLOW_TO):
        return _slower(case, amount.step, case.number(name.removeprefix(SLOW_TO)))
    if name.startswith(CAP_TO):
        return _capped(case, amount.step, case.number(name.removeprefix(CAP_TO)))
    return None


def _lowered(case: Case, amount: Measured, limit: str) -> list[Edit] | None:
    """The written figures brought down in proportion, so that the time stays as it is; of a range without an upper
    end, the rate.
    """
    step = amount.step
    if amount.figure:
        return _amounts(case, step, given_by(step), case.number(limit) / amount.figure)
    if step.rate is None or not step.rate.open_ended or not step.mg_per_kg_per_hour:
        return None
    return _amounts(case, step, [step.rate], case.number(limit) / step.mg_per_kg_per_hour)


def given_by(step: Step) -> list[Amount]:
    """The written amounts that make up what is given: the dose, the rate, or a dose at a rate."""
    if not step.finite:
        return [step.rate] if step.rate else []
    if step.dose is None or step.rate is None:
        return [amount for amount in (step.dose, step.rate) if amount is not None]
    is_container = step.dose.dimension == "volume" and step.written.minutes is not None
    return [step.rate] if is_container else [step.dose, step.rate]


def _amounts(case: Case, step: Step, amounts: Sequence[Amount], factor: Fraction) -> list[Edit] | None:
    edits: list[Edit] = []
    for amount in amounts:
        size = pump_step(case, amount)
        value = floored(amount.written * factor, size) if size else None
        if not value:
            return None
        edits.append(SetAmount(step.written.index, amount, value))
    return edits or None


def pump_step(case: Case, amount: Amount) -> Fraction | None:
    """The step of the unit that the clinician used, however it is spelt, from the protocol's conventions."""
    name = kept(case.protocol, "steps of pumps", _steps_of_pumps).get(_measure(amount.unit))
    return case.number(name) if name is not None else None


def _steps_of_pumps(protocol: Protocol) -> dict[tuple[str, Fraction], str]:
    """The limit that is the step of each measure."""
    found: dict[tuple[str, Fraction], str] = {}
    for name in protocol.conventions.pump_steps:
        found.setdefault(_measure(protocol.limits[name].unit), name)
    return found


def _measure(unit: str) -> tuple[str, Fraction]:
    """The dimension of a unit, and its factor."""
    found = units.find(unit, *DOSE_DIMENSIONS, *RATE_DIMENSIONS)
    return found.dimension, found.factor


def _slower(case: Case, step: Step, minutes: Fraction) -> list[Edit] | None:
    """The same dose over a longer time: by its duration, by its rate, or by both."""
    set_minutes = SetMinutes(step.written.index, minutes, was_push=step.is_push)
    if step.rate is None or not step.finite:
        return [set_minutes]
    if step.minutes is None:
        return None
    slower_rate = _amounts(case, step, [step.rate], step.minutes / minutes)
    if slower_rate is None:
        return None
    timed_by_rate = step.written.minutes is None and step.dose is not None
    return slower_rate if timed_by_rate else [*slower_rate, set_minutes]


def _capped(case: Case, step: Step, hour: Fraction) -> list[Edit] | None:
    """A maximum that keeps the worst hour to so many mg/kg."""
    kg = _kg(step)
    if kg is None:
        return None
    times = 1 if step.written.cap is None else math.ceil(MINUTES_PER_HOUR / step.written.cap.minutes)
    mg = floored(hour * kg / times, case.number(case.protocol.conventions.milligrams))
    return [SetCap(step.written.index, mg, keeps_period=step.written.cap is not None)] if mg > 0 else None


def _within_cap(case: Case, amount: Measured) -> list[Edit] | None:
    """The rate that keeps to the order's own maximum: of the two the lower one is offered."""
    step, cap = amount.step, amount.step.written.cap
    if cap is None:
        return None
    caps = mass(cap.amount, reading(case, case.order, amount.body))
    for rate, most in zip((step.mg_per_hour, step.mg_per_kg_per_hour), caps, strict=True):
        if rate and most is not None:
            return _amounts(case, step, given_by(step), most * MINUTES_PER_HOUR / cap.minutes / rate)
    return None


def _kg(step: Step) -> Fraction | None:
    """The weight at which the step was computed."""
    for mg, mg_per_kg in ((step.mg, step.mg_per_kg), (step.mg_per_hour, step.mg_per_kg_per_hour)):
        if mg is not None and mg_per_kg:
            return mg / mg_per_kg
    return None
