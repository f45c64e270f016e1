"""One dosage instruction as it was written: dose, rate, times, cap and route, in exact units, with what is wrong."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from typing import Literal

from cds_service import units
from cds_service.fhir import dates
from cds_service.fhir.resources import (
    CodeableConcept,
    Dosage,
    DoseAndRate,
    Quantity,
    Range,
    Ratio,
    Timing,
    TimingRepeat,
)
from cds_service.orders import route as routes
from cds_service.orders.route import Route
from cds_service.terminology.valuesets import ValueSets

DOSE_DIMENSIONS = ("mass", "mass_per_bodymass", "volume")
RATE_DIMENSIONS = ("mass_per_time", "mass_per_bodymass_time", "volume_per_time", "volume_per_bodymass_time")
_PER_TIME = {
    "mass": "mass_per_time",
    "mass_per_bodymass": "mass_per_bodymass_time",
    "volume": "volume_per_time",
}
_DATA = tomllib.loads(resources.files(__package__).joinpath("dosage.toml").read_text("utf-8"))
_TYPES: dict[str, str] = {word: kind for kind, words in _DATA["type"].items() for word in words}
_CONTAINERS = frozenset(_DATA["containers"]["units"])
_TITRATION = re.compile(r"\b(?:" + "|".join(_DATA["titration"]["words"]) + r")\b", re.IGNORECASE)
_TIMING_CODES = {code.upper(): entry for code, entry in _DATA["timing"].items()}

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something of a dosage cannot be read; `where` is its FHIR path below the dosage."""

    where: str
    says: str


@dataclass(frozen=True, slots=True)
class Amount:
    """A dose or a rate. The upper bound is judged; with only a lower one the order is open upwards.

    `value` and `low` are in the dimension's canonical unit (mg, mg/kg, mL, mg/h, mg/kg/h, mL/h, mL/kg/h).
    """

    dimension: str
    value: Fraction
    unit: str
    written: Fraction
    shape: Literal["quantity", "range", "ratio"]
    path: Path
    low: Fraction | None = None
    open_ended: bool = False
    per_minutes: Fraction | None = None
    """For a ratio: the minutes of its denominator."""


@dataclass(frozen=True, slots=True)
class Cap:
    """maxDosePerPeriod: an amount (mg, mg/kg or mL) in so many minutes."""

    amount: Amount
    minutes: Fraction


@dataclass(frozen=True, slots=True)
class Repeat:
    """How often a dose is repeated: `interval` minutes between doses, `per_week` doses in seven days."""

    interval: Fraction | None = None
    count: int | None = None
    unreadable: bool = False

    @property
    def per_week(self) -> Fraction | None:
        return Fraction(7 * 1440) / self.interval if self.interval else None


@dataclass(frozen=True, slots=True)
class Written:
    """A dosage instruction. `dose` and `rate` hold the one that counts first, then the others that restate it."""

    index: int
    sequence: int | None
    dose: tuple[Amount, ...]
    rate: tuple[Amount, ...]
    container: bool
    minutes: Fraction | None
    bounds_minutes: Fraction | None
    start: datetime | None
    repeat: Repeat
    as_needed: bool
    cap: Cap | None
    route: Route
    push: bool
    titrate: bool
    text: str | None
    problems: tuple[Problem, ...]
    rate_refused: bool = False

    @property
    def has_amount(self) -> bool:
        return bool(self.dose or self.rate)


class _Refused(Exception):
    pass


@dataclass(slots=True)
class _Reader:
    zone: tzinfo
    problems: list[Problem] = field(default_factory=list)

    def quantity(self, quantity: Quantity | None, where: str, dimensions: Sequence[str]) -> units.Quantity | None:
        """None where there is no value; raises _Refused where there is one that cannot be read."""
        if quantity is None or (quantity.value is None and not quantity.unit_text):
            return None
        try:
            if quantity.value is None:
                raise units.UnitError("it has a unit and no value")
            if quantity.comparator:
                raise units.UnitError(f"{quantity.comparator} {quantity.value} is not an exact value")
            if not quantity.unit_text:
                raise units.UnitError(f"{quantity.value} has no unit")
            if dimensions is DOSE_DIMENSIONS and units.is_of(quantity.unit_text, *RATE_DIMENSIONS):
                raise units.UnitError(f"{quantity.unit_text} is a rate and stands as a dose")
            read = units.quantity(quantity.value, quantity.unit_text, *dimensions)
            if read.value < 0:
                raise units.UnitError(f"{quantity.value} is below zero")
        except units.UnitError as error:
            self.refuse(where, str(error))
        return read

    def refuse(self, where: str, says: str) -> None:
        self.problems.append(Problem(where, says))
        raise _Refused

    def minutes(self, value: object, unit: str | None, where: str) -> Fraction | None:
        if value is None:
            return None
        try:
            return units.quantity(str(value), unit or "", "time").value
        except units.UnitError as error:
            self.problems.append(Problem(where, str(error)))
            return None


def read(dosage: Dosage, index: int, valuesets: ValueSets, zone: tzinfo) -> Written:
    """The dosage as written. Never raises: what cannot be read is in `problems`."""
    reader = _Reader(zone)
    entries = list(_entries(dosage))
    dose, rate, container, rate_refused = _doses_and_rates(entries, reader)
    timing = dosage.timing or Timing()
    repeat = timing.repeat or TimingRepeat()
    bounds, start = _bounds(repeat, reader)
    if start is None and timing.event:
        event = dates.parse(timing.event[0], zone)
        start = event.earliest if event else None
    route = routes.read(dosage.route, valuesets)
    method = dosage.method.codes if dosage.method else ()
    instructions = [dosage.text, *(w for c in dosage.additional_instruction for w in c.words)]
    return Written(
        index=index,
        sequence=dosage.sequence,
        dose=dose,
        rate=rate,
        container=container,
        minutes=_duration(repeat, reader),
        bounds_minutes=bounds,
        start=start,
        repeat=_repeat(timing, repeat, reader),
        as_needed=bool(dosage.as_needed_boolean) or dosage.as_needed_codeable_concept is not None,
        cap=_cap(dosage.max_dose_per_period, reader),
        route=route,
        push=route.push or valuesets.member("method_bolus", method) is not None,
        titrate=any(text and _TITRATION.search(text) for text in instructions),
        text=dosage.text,
        problems=tuple(reader.problems),
        rate_refused=rate_refused,
    )


def read_rate(quantity: Quantity | None, ratio: Ratio | None, zone: tzinfo) -> Amount | None:
    """The rate of an administration; None where there is none that can be read."""
    entry = _Entry("untyped", DoseAndRate(rate_quantity=quantity, rate_ratio=ratio), ())
    try:
        return _rate(entry, _Reader(zone))
    except _Refused:
        return None


@dataclass(frozen=True, slots=True)
class _Entry:
    type: str
    given: DoseAndRate | Dosage
    path: Path


def _entries(dosage: Dosage) -> Iterator[_Entry]:
    """The doseAndRate entries, and the STU3 form that stands on the dosage itself, as an untyped one."""
    for i, entry in enumerate(dosage.dose_and_rate):
        yield _Entry(_type(entry.type), entry, ("doseAndRate", i))
    if any((dosage.dose_quantity, dosage.dose_range, dosage.rate_quantity, dosage.rate_range, dosage.rate_ratio)):
        yield _Entry("untyped", dosage, ())


def _type(concept: CodeableConcept | None) -> str:
    if concept is None or not (concept.codes or concept.words):
        return "untyped"
    words = [c.code for c in concept.coding if c.code] + concept.words
    return next((_TYPES[w.lower()] for w in words if w.lower() in _TYPES), "other")


_TRUSTED = ("ordered", "untyped", "calculated")
"""In the order in which they count. Other types are read only if none of these can be."""


def _doses_and_rates(
    entries: list[_Entry], reader: _Reader
) -> tuple[tuple[Amount, ...], tuple[Amount, ...], bool, bool]:
    """(doses, rates, container, whether a rate was refused)."""
    for types in (_TRUSTED, ("other",)):
        of_types = [entry for wanted in types for entry in entries if entry.type == wanted]
        doses = _each(of_types, _dose, reader)
        before = len(reader.problems)
        rates = _each(of_types, _rate, reader)
        refused = not rates and len(reader.problems) > before
        container = any(
            e.given.dose_quantity is not None and e.given.dose_quantity.unit_text in _CONTAINERS for e in of_types
        )
        if doses or rates or container or refused:
            return doses, rates, container, refused
    return (), (), False, False


def _each(
    entries: list[_Entry], read_one: Callable[[_Entry, _Reader], Amount | None], reader: _Reader
) -> tuple[Amount, ...]:
    found: list[Amount] = []
    for entry in entries:
        try:
            amount = read_one(entry, reader)
        except _Refused:
            continue
        if amount is not None:
            found.append(amount)
    return tuple(found)


def _dose(entry: _Entry, reader: _Reader) -> Amount | None:
    given, where = entry.given, _dotted(entry.path)
    if given.dose_quantity is not None and given.dose_quantity.unit_text in _CONTAINERS:
        return None
    if given.dose_range is not None:
        return _range(given.dose_range, where + "doseRange", DOSE_DIMENSIONS, (*entry.path, "doseRange"), reader)
    quantity = reader.quantity(given.dose_quantity, where + "doseQuantity", DOSE_DIMENSIONS)
    return _amount(quantity, (*entry.path, "doseQuantity"))


def _rate(entry: _Entry, reader: _Reader) -> Amount | None:
    given, where = entry.given, _dotted(entry.path)
    if given.rate_range is not None:
        return _range(given.rate_range, where + "rateRange", RATE_DIMENSIONS, (*entry.path, "rateRange"), reader)
    if given.rate_ratio is not None:
        return _ratio(given.rate_ratio, where + "rateRatio", (*entry.path, "rateRatio"), reader)
    quantity = reader.quantity(given.rate_quantity, where + "rateQuantity", RATE_DIMENSIONS)
    return _amount(quantity, (*entry.path, "rateQuantity"))


def _amount(quantity: units.Quantity | None, path: Path) -> Amount | None:
    if quantity is None:
        return None
    return Amount(quantity.dimension, quantity.value, quantity.unit.code, quantity.written, "quantity", path)


def _range(given: Range, where: str, dimensions: Sequence[str], path: Path, reader: _Reader) -> Amount | None:
    high = reader.quantity(given.high, f"{where}.high", dimensions)
    low = reader.quantity(given.low, f"{where}.low", dimensions if high is None else (high.dimension,))
    if high is None:
        if low is None:
            return None
        return Amount(low.dimension, low.value, low.unit.code, low.written, "range", path, low.value, open_ended=True)
    low_value = low.value if low else None
    return Amount(high.dimension, high.value, high.unit.code, high.written, "range", path, low_value)


def _ratio(given: Ratio, where: str, path: Path, reader: _Reader) -> Amount | None:
    numerator = reader.quantity(given.numerator, f"{where}.numerator", DOSE_DIMENSIONS)
    denominator = reader.quantity(given.denominator, f"{where}.denominator", ("time",))
    if numerator is None and denominator is None:
        return None
    if numerator is None or denominator is None or denominator.value == 0:
        reader.refuse(where, "it is not an amount in a time")
        return None
    per_hour = numerator.value * 60 / denominator.value
    return Amount(
        dimension=_PER_TIME[numerator.dimension],
        value=per_hour,
        unit=numerator.unit.code,
        written=numerator.written,
        shape="ratio",
        path=path,
        per_minutes=denominator.value,
    )


def _duration(repeat: TimingRepeat, reader: _Reader) -> Fraction | None:
    value = repeat.duration if repeat.duration is not None else repeat.duration_max
    minutes = reader.minutes(value, repeat.duration_unit, "timing.repeat.duration")
    return minutes if minutes is None or minutes > 0 else None


def _bounds(repeat: TimingRepeat, reader: _Reader) -> tuple[Fraction | None, datetime | None]:
    """(minutes, start). A period without an end is open."""
    duration = repeat.bounds_duration or (repeat.bounds_range.high if repeat.bounds_range else None)
    minutes = None
    if duration is not None and duration.value is not None:
        minutes = reader.minutes(duration.value, duration.unit_text, "timing.repeat.bounds[x]")
    period = repeat.bounds_period
    start = dates.parse(period.start, reader.zone) if period else None
    end = dates.parse(period.end, reader.zone) if period else None
    if minutes is None and start and end and end.latest > start.earliest:
        minutes = Fraction(round((end.latest - start.earliest).total_seconds()), 60)
    return minutes, start.earliest if start else None


def _repeat(timing: Timing, repeat: TimingRepeat, reader: _Reader) -> Repeat:
    count = repeat.count_max or repeat.count
    frequency = repeat.frequency_max or repeat.frequency
    if repeat.period is not None:
        period = reader.minutes(repeat.period, repeat.period_unit, "timing.repeat.period")
        if period is None or period <= 0:
            return Repeat(count=count, unreadable=True)
        return Repeat(period / max(frequency or 1, 1), count)
    if timing.code is not None:
        words = [c.code for c in timing.code.coding if c.code] + timing.code.words
        known = next((_TIMING_CODES[w.upper()] for w in words if w.upper() in _TIMING_CODES), None)
        if known is None:
            return Repeat(count=count, unreadable=bool(words))
        period = units.quantity(known["period"], known["unit"], "time").value
        return Repeat(period / known["frequency"], count)
    if repeat.time_of_day:
        return Repeat(Fraction(1440, len(repeat.time_of_day)), count)
    if repeat.day_of_week:
        return Repeat(Fraction(7 * 1440, len(repeat.day_of_week)), count)
    if len(timing.event) > 1:
        return _events(timing.event, reader.zone)
    return Repeat(count=count)


def _events(events: Sequence[str], zone: tzinfo) -> Repeat:
    """Named times: the shortest gap between two of them counts."""
    times = sorted(when.earliest for text in events if (when := dates.parse(text, zone)))
    if len(times) < len(events):
        return Repeat(count=len(events), unreadable=True)
    gap = min((later - earlier).total_seconds() for earlier, later in pairwise(times))
    return Repeat(Fraction(max(round(gap), 1), 60), count=len(times))


def _cap(given: Ratio | None, reader: _Reader) -> Cap | None:
    if given is None:
        return None
    where = "maxDosePerPeriod"
    try:
        numerator = reader.quantity(given.numerator, f"{where}.numerator", DOSE_DIMENSIONS)
        denominator = reader.quantity(given.denominator, f"{where}.denominator", ("time",))
    except _Refused:
        return None
    amount = _amount(numerator, (where, "numerator"))
    if amount is None or denominator is None or denominator.value == 0:
        return None
    return Cap(amount, denominator.value)


def _dotted(path: Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text[1:]}." if text else ""
