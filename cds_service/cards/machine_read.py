"""What a card says to machines, in its extension: rules, limits, the regimen as it was judged, the weight."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from cds_service import bounds
from cds_service.cards.texts import plain
from cds_service.chart.facts import Weight
from cds_service.figures import show
from cds_service.lazy import kept
from cds_service.orders.regimen import Step
from cds_service.protocol.limits import as_written
from cds_service.protocol.model import SEVERITIES, Limit, Severity
from cds_service.rules.judged import Judged
from cds_service.rules.outcome import Outcome


def severity_of(outcome: Outcome) -> int:
    """To sort by: the worst first."""
    return SEVERITIES.index(outcome.severity) if outcome.severity else len(SEVERITIES)


def extension(outcomes: Sequence[Outcome], judged: Sequence[Judged], day: date) -> dict[str, Any]:
    """The rules that fired, their limits on this day, and regimen and weight of the first of the orders."""
    limits = {limit.id: limit for outcome in outcomes for limit in outcome.limits}
    rules: dict[str, Severity | None] = {}
    for outcome in sorted(outcomes, key=severity_of):
        rules.setdefault(outcome.rule.id, outcome.severity)
    leading = judged[0] if judged else None
    data: dict[str, Any] = {
        "rules": [{"id": rule, "severity": severity} for rule, severity in rules.items()],
        "limits": [_limit(limit, day) for limit in limits.values()],
    }
    return data if leading is None else data | kept(leading, "for machines", _of_order)


def _of_order(judged: Judged) -> dict[str, Any]:
    """What each of its cards says alike."""
    data: dict[str, Any] = {
        "order": plain(judged.order, bounds.REFERENCE),
        "regimen": [_step(number, step) for number, step in enumerate(judged.steps, 1)],
    }
    return data if judged.weight is None else data | {"weight": _weight(judged.weight)}


def _limit(limit: Limit, day: date) -> dict[str, Any]:
    return {
        "id": limit.id,
        "value": as_written(limit, day),
        "unit": limit.unit,
        "sources": list(limit.sources),
        "site": limit.site is not None,
    }


def _step(number: int, step: Step) -> dict[str, Any]:
    figures = {
        "mg": step.mg if step.finite else None,
        "mgPerKg": step.mg_per_kg if step.finite else None,
        "mgPerHour": step.mg_per_hour,
        "mgPerKgPerHour": step.mg_per_kg_per_hour,
        "minutes": step.minutes,
    }
    shown = {name: None if figure is None else show(figure) for name, figure in figures.items()}
    return {"step": number, "kind": step.kind, **shown}


def _weight(weight: Weight) -> dict[str, Any]:
    return {
        "kg": show(weight.kg) if weight.kg is not None else None,
        "basis": weight.basis,
        "date": weight.when.latest.date().isoformat(),
        "reference": plain(weight.reference, bounds.REFERENCE),
    }
