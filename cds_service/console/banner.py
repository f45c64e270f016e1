"""The patient banner: who it is and what everybody who orders looks at, from the chart as the service reads it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

from cds_service.chart.chart import Chart
from cds_service.chart.facts import Measurement, Weight, on, value_of
from cds_service.console.words import say as ours
from cds_service.says import Says

_READINGS = 8
_SEXES = ("female", "male", "other", "unknown")


@dataclass(frozen=True)
class Point:
    """A reading of the pressure, with its place in the plot in per cent of its width and height."""

    at: str
    systolic: float
    diastolic: float
    x: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Banner:
    """What stands in it, as texts."""

    name: str
    age: str
    sex: str
    born: str
    weight: str
    weighed: str
    height: str
    allergies: Sequence[str]
    allergies_asked: bool
    problems: Sequence[str]
    pressure: Sequence[Point]
    unread: frozenset[str]
    """Which of weight, allergies, problems and vitals did not come whole: of these nothing is said to be absent."""


def banner(chart: Chart, patient: Mapping[str, Any], say: Callable[[Says], str]) -> Banner:
    """`patient` is the resource as it came: the service itself reads no name."""
    weight = next(iter(chart.weights), None)
    height = next(iter(chart.measurements(_sets()["height"])), None)
    age, no_allergy = chart.age_years, chart.valuesets.roles.no_allergy
    return Banner(
        name=_name(patient),
        age=ours("age", years=age) if age is not None else ours("age-not-known"),
        sex=_sex(patient.get("gender")),
        born=str(patient.get("birthDate") or ""),
        weight=say(weight.written) if weight is not None else "",
        weighed=_weighed(weight, chart.now, say) if weight is not None else "",
        height=say(value_of(height.part) or "") if height is not None else "",
        allergies=[say(each.name) for each in chart.allergies if no_allergy not in each.members],
        allergies_asked=chart.has_allergy_list,
        problems=[say(each.name) for each in chart.problems if each.active or each.assumed_active],
        pressure=_points(chart),
        unread=frozenset(what for what, key in _lists(chart).items() if chart.gap(key) is not None),
    )


def _lists(chart: Chart) -> dict[str, str]:
    """What is shown -> the list that it is read from."""
    return {
        "weight": chart.query_of(chart.valuesets.roles.weight_measured),
        "vitals": chart.query_of(_sets()["systolic"]),
        "allergies": "allergies",
        "problems": "conditions",
    }


def _weighed(weight: Weight, now: datetime, say: Callable[[Says], str]) -> str:
    """When, and where it was not measured, or cannot be used, that too."""
    basis = "" if weight.basis == "measured" else f", {ours(f'basis-{weight.basis}')}"
    said = f"{_since(weight.when.latest, now, say(on(weight.when, now)))}{basis}"
    return f"{said}: {say(weight.problem)}" if weight.problem else said


def _sets() -> Mapping[str, str]:
    shows: Mapping[str, str] = table()["shows"]
    return shows


@cache
def table() -> Mapping[str, Any]:
    """desk.toml."""
    return tomllib.loads(resources.files(__package__).joinpath("desk.toml").read_text("utf-8"))


def _sex(gender: object) -> str:
    """The code of FHIR in words; one that is none as it stands."""
    return ours(f"sex-{gender}") if gender in _SEXES else str(gender or ours("sex-not-known"))


def _name(patient: Mapping[str, Any]) -> str:
    for each in patient.get("name") or ():
        if isinstance(each, dict):
            parts = [*(each.get("given") or ()), each.get("family")]
            written = each.get("text") or " ".join(str(part) for part in parts if part)
            if written:
                return str(written)
    return ours("no-name")


def _since(then: datetime, now: datetime, otherwise: str) -> str:
    """How long ago, in the words in which one says it; the date where it is long ago."""
    ago = now - then
    if ago < timedelta(hours=1):
        return ours("this-hour")
    if ago < timedelta(days=2):
        return ours("hours-ago", hours=ago // timedelta(hours=1))
    return ours("days-ago", date=otherwise, days=ago.days)


def _points(chart: Chart) -> list[Point]:
    """The newest readings that have both pressures, from the oldest."""
    names = _sets()
    low = {(each.when.latest, each.reference): each for each in chart.measurements(names["diastolic"])}
    pairs = [
        (each.when.latest, upper, lower)
        for each in chart.measurements(names["systolic"])
        if (other := low.get((each.when.latest, each.reference))) is not None
        if (upper := _number(each)) is not None and (lower := _number(other)) is not None
    ][:_READINGS][::-1]
    if not pairs:
        return []
    first, span = pairs[0][0], (pairs[-1][0] - pairs[0][0]).total_seconds()
    most, least = max(pair[1] for pair in pairs), min(pair[2] for pair in pairs)
    height = (most - least) or 1.0
    return [
        Point(
            at=_since(at, chart.now, at.date().isoformat()),
            systolic=upper,
            diastolic=lower,
            x=round(10 + 80 * (at - first).total_seconds() / span, 2) if span else 50.0,
            top=round(12 + 76 * (most - upper) / height, 2),
            bottom=round(12 + 76 * (most - lower) / height, 2),
        )
        for at, upper, lower in pairs
    ]


def _number(measurement: Measurement) -> float | None:
    quantity = measurement.quantity
    return float(quantity.value) if quantity is not None and quantity.value is not None else None
