"""Where a dose lies among the limits that the rules hold it against: for a picture of it, not for a verdict.

The limits are those of the rules' own clauses. One counts here if its rule could fire for this order and this patient
at another amount: the rest of its line of logic holds, or cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import msgspec

from cds_service.orders.regimen import FIGURES, Step
from cds_service.protocol import model
from cds_service.protocol.references import each_clause
from cds_service.rules.case import Case
from cds_service.rules.changes import changed_severity
from cds_service.rules.clauses import evaluate
from cds_service.rules.clauses.amounts import limit_of
from cds_service.rules.dose_finding import MINUTES, View, views
from cds_service.rules.dosing_weight import dosing_weight, ideal_weight

_HOLDS, _FAILS = model.All(of=[]), model.Any(of=[])


class Mark(msgspec.Struct, frozen=True):
    """A limit, in the unit of its scale, and the severity of what is said beyond it."""

    limit: model.Limit
    number: Fraction
    severity: model.Severity
    rule: model.Rule


class Scale(msgspec.Struct, frozen=True):
    """One step of an order in one unit. `figure` is None where it cannot be computed."""

    step: Step
    unit: str
    figure: Fraction | None
    marks: tuple[Mark, ...]
    """From the lowest, each with something worse beyond it than the one before."""
    kg: Fraction | None
    """The dosing weight."""
    on_ideal: Fraction | None = None
    """The figure at the ideal body weight, of a unit per kg."""
    ideal_kg: Fraction | None = None
    usual: tuple[model.Limit, Fraction] | None = None
    """How the use is usually started."""


def scales(case: Case) -> list[Scale]:
    """A scale for every step and unit for which the protocol has a limit, at the weight that counts first."""
    body = dosing_weight(case).bodies[0]
    seen = [here for here in views(case) if here.body == body]
    found: dict[tuple[int, str], Scale] = {}
    for here in seen:
        for number, each in enumerate(here.own):
            for unit, marks in _marks(case, here, each.step).items():
                key = (number, unit)
                known = found[key].marks if key in found else ()
                made = _scale(case, here, each.step, unit)
                found[key] = msgspec.structs.replace(made, marks=_rising([*known, *marks]))
    return [found[key] for key in sorted(found, key=lambda key: key[0])]


def _scale(case: Case, here: View, step: Step, unit: str) -> Scale:
    figure, kg = FIGURES[unit](step), here.body.judged_by
    made = Scale(step, unit, figure, (), kg, usual=_usual(case, here, unit))
    if kg is None or "/kg" not in unit:
        return made
    ideal = ideal_weight(case, kg).kg
    on_ideal = figure * kg / ideal if figure is not None and ideal else None
    return msgspec.structs.replace(made, on_ideal=on_ideal, ideal_kg=ideal)


def _usual(case: Case, here: View, unit: str) -> tuple[model.Limit, Fraction] | None:
    usual = case.protocol.uses[here.use.name].usual
    names = (usual.rate, usual.dose) if usual is not None else ()
    name = next((name for name in names if case.limit(name).unit == unit), None)
    return (case.limit(name), case.number(name)) if name is not None else None


def _marks(case: Case, here: View, step: Step) -> dict[str, list[Mark]]:
    """By unit, the limits above which a rule of the dose would say something."""
    found: dict[str, list[Mark]] = {}
    for rule in case.protocol.rules.values():
        if rule.off or rule.judge != "amounts":
            continue
        for tier in rule.tiers:
            for clause, limit, number in _limits(case, tier, here, step):
                severity = changed_severity(rule, tier.name, case).severity
                if severity is not None:
                    found.setdefault(clause.figure, []).append(Mark(limit, number, severity, rule))
    return found


def _limits(
    case: Case, tier: model.Tier, here: View, step: Step
) -> Iterator[tuple[model.AmountIs, model.Limit, Fraction]]:
    assert tier.when is not None
    for clause in each_clause([tier.when]):
        if not isinstance(clause, model.AmountIs) or clause.figure == MINUTES or clause.weight != "dosing":
            continue
        name = limit_of(clause, case, here, step)
        if name is not None and evaluate(_as_if(tier.when, clause), case).holds is not False:
            part = case.number(clause.part) if clause.part is not None else 1
            yield clause, case.limit(name), case.number(name) * part


def _as_if(clause: model.Clause, holding: model.AmountIs) -> model.Clause:
    """The clause as if this amount were past its limit, and no other."""
    if isinstance(clause, model.AmountIs):
        return _HOLDS if clause is holding else _FAILS
    if isinstance(clause, model.Any | model.All | model.Not | model.Unless):
        return msgspec.structs.replace(clause, of=[_as_if(each, holding) for each in clause.of])
    return clause


def _rising(marks: list[Mark]) -> tuple[Mark, ...]:
    """From the lowest, those beyond which something worse is said than before."""
    found: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.number, model.SEVERITIES.index(mark.severity))):
        if not found or model.SEVERITIES.index(mark.severity) < model.SEVERITIES.index(found[-1].severity):
            found.append(mark)
    return tuple(found)
