"""Repairing an order: the smallest edits after which no dosing rule objects, tried on the order itself."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec

from cds_service import bounds, units
from cds_service.fhir import lenient, outgoing
from cds_service.fhir.bundles import Item
from cds_service.fhir.resources import MedicationRequest
from cds_service.lazy import kept
from cds_service.orders import text, words
from cds_service.orders.dosage import Amount
from cds_service.orders.draft import read_steps
from cds_service.orders.measure import COUNT_DIMENSIONS, DOSE_DIMENSIONS, RATE_DIMENSIONS
from cds_service.orders.proposal import Edit, SetAmount, SetCap, SetMinutes, floored, make_edits
from cds_service.orders.regimen import FIGURES, MINUTES_PER_HOUR, Step, mass
from cds_service.protocol.model import CAP_TO, KEEP_TO_CAP, LOWER_TO, LOWER_TO_LIMIT, SLOW_TO, Protocol
from cds_service.rules.ahead import mg_per_hour_beside
from cds_service.rules.case import Case
from cds_service.rules.ceiling import NOTHING, Ceiling
from cds_service.rules.dose_finding import MINUTES, Finding, Measured
from cds_service.rules.dosing_weight import reading, steps_at_every_weight

log = logging.getLogger("ketamine_cds")

MAX_ROUNDS = 8
"""A repair that needs more rounds than this is not offered."""
ALL = Fraction(1)


class Objection(msgspec.Struct, frozen=True):
    """What speaks against a dose, the edits that end it, and how many times its limit the dose is."""

    edits: tuple[Edit, ...] = ()
    times: Fraction = ALL

    @property
    def kept(self) -> Fraction:
        """The part of the dose that the edits leave."""
        parts = [e.written / e.amount.written for e in self.edits if isinstance(e, SetAmount) and e.amount.written]
        return min([ALL, *parts])


Object = Callable[[Case], Sequence[Objection]]
"""All that speaks against a case's dose and that a repair must end."""


def repaired(case: Case, objections: Object) -> Case | None:
    """The case after the mildest edits that leave no objection, or None where no edits do that."""
    for _ in range(MAX_ROUNDS):
        left = objections(case)
        if not left:
            return case
        mildest = sorted((each for each in left if each.edits), key=lambda each: -each.kept)
        tried = (with_edits(case, each.edits) for each in mildest)
        changed = next((each for each in tried if each is not None), None)
        if changed is None:
            return None
        case = changed
    return None


def with_edits(case: Case, edits: Sequence[Edit]) -> Case | None:
    """The case with its order changed, read again from JSON as it would come back.

    None where that fails, where the order is too long to be sent back or says another dosage than is given, and where
    the changed one would contradict itself: by floored figures that no longer fit each other, or by what it said
    before. Raises Late: every offer that has to be tried passes here.
    """
    case.deadline.check("offer")
    if case.order.draft.is_charted or len(memoryview(case.order.draft.item.raw)) > bounds.COPY:
        return None
    try:
        resource = lenient.untyped(case.order.draft.item.raw)
        make_edits(resource, edits)
        raw = lenient.encode(resource)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, msgspec.MsgspecError) as error:
        # Its JSON is too broken; a fault of ours would look the same, and take offers away without a sound.
        log.warning("an order is not changed, since its JSON could not be edited: %s", type(error).__name__)
        return None
    read = lenient.decode(raw)
    if not isinstance(read.resource, MedicationRequest):
        return None
    written = read_steps(
        read.resource, case.valuesets, case.chart.zone, counted=bool(case.order.mg_in), deadline=case.deadline
    )
    draft = dataclasses.replace(case.order.draft, request=read.resource, item=Item(read, raw))
    order = dataclasses.replace(case.order, draft=draft, written=written)
    companions = [order if other is case.order else other for other in case.companions]
    changed = dataclasses.replace(case, order=order, companions=companions)
    return None if any(step.contradictions for step in steps_at_every_weight(changed)) else changed


def changed_order(case: Case, after: Case) -> dict[str, Any] | None:
    """The changed order to send back; None where it is no valid R4, or was ordered otherwise than it is given.

    A dosage whose text went with its old figures gets the new ones in words.
    """
    if case.order.draft.is_charted:
        return None
    resource: dict[str, Any] = lenient.untyped(after.order.draft.item.raw)
    given = resource.get("dosageInstruction")
    instructions = [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, dict)]
    for before, now, instruction in zip(case.order.written, after.order.written, instructions, strict=False):
        if before.text and "text" not in instruction:
            instruction["text"] = "; ".join((words.written_out(words.dosage(now)), *text.maxima(before.text)))
    return sendable(case, resource)


def sendable(case: Case, resource: Mapping[str, Any]) -> dict[str, Any] | None:
    """The order as valid R4, where a client could say which one it is."""
    if not case.order.draft.may_be_changed:
        return None
    return outgoing.medication_request(resource, case.chart.patient_id, case.now)


def objection(case: Case, finding: Finding) -> Objection:
    """What a finding of the dose rules speaks against, and what its tier or its rule offers against it."""
    amount, times = finding.amount, ALL
    if amount.figure and amount.unit != MINUTES and amount.how != "cap":
        lowest = min(filter(None, _lowest_of(case, finding)), default=amount.figure)
        times = amount.figure / lowest
    return Objection(tuple(edits_for(case, finding) or ()), times)


def _lowest_of(case: Case, finding: Finding) -> Iterator[Fraction]:
    """The limit that was passed, and those that the dose would be brought down to."""
    rule = case.protocol.rules[finding.rule]
    if finding.amount.limit is not None:
        yield case.number(finding.amount.limit)
    for name in (*rule.tier(finding.tier).suggests, *rule.suggests):
        target = name.removeprefix(LOWER_TO)
        if name.startswith(LOWER_TO) and name != LOWER_TO_LIMIT and case.limit(target).unit == finding.amount.unit:
            yield case.number(target)


def edits_for(case: Case, finding: Finding) -> list[Edit] | None:
    """What brings one finding within its limit, by what its tier or its rule suggests; None where nothing does."""
    step = finding.amount.step
    if step.spoken or step.contradictions:
        return None
    rule = case.protocol.rules[finding.rule]
    tried = (_suggested(case, finding.amount, name) for name in (*rule.tier(finding.tier).suggests, *rule.suggests))
    return next((edits for edits in tried if edits), None)


def edits_within(case: Case, step: Step, part: Fraction) -> list[Edit] | None:
    """What leaves no more than a part of a step; None where nothing does."""
    if step.spoken or step.contradictions:
        return None
    return _amounts(case, step, given_by(step), part)


def _suggested(case: Case, amount: Measured, name: str) -> list[Edit] | None:
    if name == LOWER_TO_LIMIT:
        return _lowered(case, amount, amount.limit) if amount.limit is not None else None
    if name == KEEP_TO_CAP:
        return _within_cap(case, amount)
    if name.startswith(LOWER_TO):
        return _lowered(case, amount, name.removeprefix(LOWER_TO))
    if name.startswith(SLOW_TO):
        return slower(case, amount.step, case.number(name.removeprefix(SLOW_TO)))
    if name.startswith(CAP_TO):
        return _capped(case, amount, name.removeprefix(CAP_TO))
    return None


def _lowered(case: Case, amount: Measured, limit: str) -> list[Edit] | None:
    """The written figures brought down in proportion, so that the time stays as it is; of a range without an upper
    end, the rate. All parts of a sum come down alike.
    """
    step, routes = amount.step, case.limit(limit).routes
    if routes and step.route.kind not in routes:
        return None
    if amount.figure:
        part = part_left(case, amount, case.number(limit))
        parts = [edits_within(case, own, part) for own in own_steps(case, amount)] if part is not None else []
        return [edit for edits in parts for edit in edits or ()] if parts and all(parts) else None
    if step.rate is None or not step.rate.open_ended or not step.mg_per_kg_per_hour:
        return None
    return _amounts(case, step, [step.rate], case.number(limit) / step.mg_per_kg_per_hour, may_rise=True)


def given_by(step: Step) -> list[Amount]:
    """The written amounts that make up what is given: the dose, the rate, or a dose at a rate."""
    if not step.finite:
        return [step.rate] if step.rate else []
    if step.dose is None or step.rate is None:
        return [amount for amount in (step.dose, step.rate) if amount is not None]
    is_container = step.dose.dimension == "volume" and step.written.minutes is not None
    return [step.rate] if is_container else [step.dose, step.rate]


def ceilings_of(case: Case, amounts: Sequence[Measured]) -> tuple[Ceiling, ...]:
    """What amounts that are past their limits leave of the order's own parts.

    Nothing where others alone are too much. What doses come to in an hour because they are repeated binds the dose.
    """
    found: dict[tuple[int, str], Fraction] = {}
    for amount in amounts:
        if amount.most is None:
            continue
        part = part_left(case, amount, amount.most)
        for step in own_steps(case, amount):
            for unit in (amount.unit, amount.unit.removesuffix("/h")):
                figure = FIGURES[unit](step)
                if figure is not None:
                    key, most = (step.written.index, unit), NOTHING if part is None else figure * part
                    found[key] = min(most, found.get(key, most))
                    break
    return tuple(Ceiling(index, unit, most) for (index, unit), most in found.items())


def own_steps(case: Case, amount: Measured) -> list[Step]:
    """The steps of an amount that are the order's own; a sum may hold others of its group."""
    return [step for step in amount.steps if any(step.written is own for own in case.order.written)]


def part_left(case: Case, amount: Measured, most: Fraction) -> Fraction | None:
    """What part of each of its own steps may stay, so that the amount comes down to `most`.

    All own steps of a sum come down alike, and bear what the steps of other orders are too much. None where nothing
    may stay, or that cannot be told.
    """
    if not amount.figure:
        return None
    own = own_steps(case, amount)
    if len(own) == len(amount.steps):
        return most / amount.figure
    figures = [FIGURES[amount.unit](step) for step in own]
    known = [figure for figure in figures if figure is not None]
    if not known or len(known) < len(figures):
        return None
    part = 1 - (amount.figure - most) / sum(known)
    return part if part > 0 else None


def _amounts(
    case: Case, step: Step, amounts: Sequence[Amount], factor: Fraction, may_rise: bool = False
) -> list[Edit] | None:
    """Amounts times a factor, floored to the step of the pump. Only a range that was open may get a higher end."""
    if factor >= 1 and not may_rise:
        return None
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
    found = units.find(unit, *DOSE_DIMENSIONS, *RATE_DIMENSIONS, *COUNT_DIMENSIONS)
    return found.dimension, found.factor


def slower(case: Case, step: Step, minutes: Fraction) -> list[Edit] | None:
    """The same dose over a longer time: by its duration, by its rate, or by both.

    None where the next dose would begin before that.
    """
    interval = step.written.repeat.interval
    if interval is not None and interval < minutes:
        return None
    set_minutes = SetMinutes(step.written.index, minutes, was_push=step.is_push)
    if step.rate is None or not step.finite:
        return [set_minutes]
    if step.minutes is None:
        return None
    slower_rate = _amounts(case, step, [step.rate], step.minutes / minutes)
    if slower_rate is None:
        return None
    if step.written.minutes is not None or step.dose is None:
        return [*slower_rate, set_minutes]
    if not step.is_push:
        return slower_rate
    # With a time of its own a volume would be the bag, and no longer the dose.
    return None if step.dose.dimension == "volume" else [*slower_rate, set_minutes]


def _capped(case: Case, amount: Measured, limit: str) -> list[Edit] | None:
    """A maximum that keeps the worst hour, with what runs beside it, to so many mg/kg. It never allows more than that
    hour comes to without it, nor than a maximum that is written.
    """
    step = amount.step
    kg, cap = _kg(step), step.written.cap
    if kg is None:
        return None
    hour = amount.most if amount.most is not None else case.number(limit)
    beside = mg_per_hour_beside(case, tuple(case.limit(limit).routes))
    read = reading(case, case.order, amount.body)
    most = [hour * kg - beside, *([amount.figure * kg] if amount.figure is not None else [])]
    for said in step.written.said.most:
        mg_per_hour, _ = mass(Amount(said.dimension, said.value, said.unit.code, said.written, "quantity", ()), read)
        most.append(mg_per_hour or Fraction(0))
    times = 1 if cap is None else math.ceil(MINUTES_PER_HOUR / cap.minutes)
    mg = floored(min(most) / times, case.number(case.protocol.conventions.milligrams))
    written, _ = mass(cap.amount, read) if cap is not None else (None, None)
    if mg <= 0 or (cap is not None and (written is None or mg >= written)):
        return None
    hours = 0 if cap is None else math.ceil(cap.minutes / MINUTES_PER_HOUR)
    if hours > 1 and written is not None and mg * hours <= written:
        return [SetCap(step.written.index, mg)]  # hour after hour it never passes the longer maximum
    return [SetCap(step.written.index, mg, keeps_period=cap is not None)]


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
