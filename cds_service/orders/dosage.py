"""One dosage instruction as it was written: dose, rate, times, cap and route, in exact units, with what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from fractions import Fraction
from typing import Literal, NoReturn

from cds_service import units
from cds_service.fhir.datatypes import CodeableConcept, Dosage, DoseAndRate, Quantity, Range, Ratio, Timing
from cds_service.orders import measure, often, text, timing
from cds_service.orders import route as routes
from cds_service.orders.dosage_words import WORDS
from cds_service.orders.measure import COUNT_DIMENSIONS, DOSE_DIMENSIONS, RATE_DIMENSIONS
from cds_service.orders.route import Route
from cds_service.orders.text import AMOUNT, NOTHING, Spoken
from cds_service.orders.timing import Problem, Repeat
from cds_service.orders.titration import is_open_ended
from cds_service.says import Said, Says
from cds_service.says import orders as says
from cds_service.terminology.valuesets import ValueSets

_PER_TIME = {
    "mass": "mass_per_time",
    "mass_per_bodymass": "mass_per_bodymass_time",
    "volume": "volume_per_time",
}
TYPES: dict[str, str] = {word: kind for kind, words in WORDS["type"].items() for word in words}

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Amount:
    """A dose or a rate. The upper bound is judged; with only a lower one the order is open upwards.

    `value` and `low` are in the dimension's canonical unit (mg, mg/kg, mL, mg/h, mg/kg/h, mL/h, mL/kg/h); a count
    is a number of `unit`.
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
    words: tuple[str, ...] = ()
    """All that is said of it in words, its text first."""
    contradictions: tuple[Said, ...] = ()
    """What it says in two ways, without a look at the patient's weight."""
    at_most: Amount | None = None
    """maxDosePerAdministration."""
    said: Spoken = NOTHING
    """The amounts in its words."""

    @property
    def has_amount(self) -> bool:
        return bool(self.dose or self.rate)


class _Refused(Exception):
    pass


@dataclass(slots=True)
class _Reader:
    may_be_zero: bool = False
    counts: tuple[str, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    contradictions: list[Said] = field(default_factory=list)

    def quantities(self, given: Quantity | None, where: str, dimensions: Sequence[str]) -> tuple[units.Quantity, ...]:
        """No amount without a value; two, the code's first, if unit and code disagree.

        Raises _Refused for a value that cannot be read.
        """
        if given is None or (given.value is None and not given.unit_text):
            return ()
        try:
            found, against = measure.read(given, dimensions, self.may_be_zero)
        except units.UnitError as error:
            self.refuse(where, error.says)
        if against:
            self.contradictions.append(says.IN_ITS_PART(where, against))
        return found

    def largest(self, given: Quantity | None, where: str, dimensions: Sequence[str]) -> units.Quantity | None:
        """As `quantities`; the larger where there are two of one dimension."""
        found = self.quantities(given, where, dimensions)
        alike = [each for each in found if each.dimension == found[0].dimension]
        return max(alike, key=lambda each: each.value, default=None)

    def refuse(self, where: str, why: Says) -> NoReturn:
        self.problems.append(Problem(where, why))
        raise _Refused


def read(
    dosage: Dosage,
    index: int,
    valuesets: ValueSets,
    zone: tzinfo,
    notes: Sequence[str] = (),
    counted: bool = False,
) -> Written:
    """The dosage as written, with the order's `notes` beside it; `counted`: of a product of which one is an amount.

    Never raises: what cannot be read is in `problems`, what it says in two ways in `contradictions`. Its words
    may take tens of milliseconds, so whoever reads several looks at the deadline before each.
    """
    reader = _Reader(counts=COUNT_DIMENSIONS if counted else ())
    dose, rate, container, rate_refused = _doses_and_rates(list(_entries(dosage)), reader)
    words = _words(dosage, notes, reader)
    in_words = (often.of_doses(each, AMOUNT) for each in words)
    times = timing.read(
        dosage.timing or Timing(), min((each for each in in_words if each is not None), default=None), zone
    )
    own_words = _own_words(dosage)
    route = routes.held_against(routes.read(dosage.route, valuesets), own_words, AMOUNT)
    method = dosage.method.codes if dosage.method else ()
    said = text.read("; ".join(words), alone=not (dose or rate), counted=counted)
    return Written(
        index=index,
        sequence=dosage.sequence,
        dose=dose,
        rate=rate,
        container=container,
        minutes=times.minutes,
        bounds_minutes=times.bounds_minutes,
        start=times.start,
        repeat=times.repeat,
        as_needed=bool(dosage.as_needed_boolean)
        or dosage.as_needed_codeable_concept is not None
        or (dosage.as_needed_boolean is None and bool(dose) and not rate and any(map(often.is_as_needed, own_words))),
        cap=_cap(dosage.max_dose_per_period, reader),
        route=route,
        push=route.push or valuesets.member(valuesets.roles.push_by_method, method) is not None,
        titrate=not (said.most or (said.ends and not (dose or rate))) and any(map(is_open_ended, words)),
        text=dosage.text,
        said=said,
        at_most=_at_most(dosage.max_dose_per_administration, reader),
        problems=(*reader.problems, *times.problems),
        rate_refused=rate_refused,
        words=words,
        contradictions=tuple(dict.fromkeys((*reader.contradictions, *times.contradictions))),
    )


_MOST_CHARACTERS = 10_000
"""Of the words of an instruction."""


def _words(dosage: Dosage, notes: Sequence[str], reader: _Reader) -> tuple[str, ...]:
    given = [dosage.text, dosage.patient_instruction, *(w for c in dosage.additional_instruction for w in c.words)]
    if dosage.as_needed_codeable_concept is not None:
        given += dosage.as_needed_codeable_concept.words
    if dosage.method is not None:
        given += dosage.method.words
    words = tuple(dict.fromkeys(each for each in (*given, *notes) if each))
    if sum(map(len, words)) <= _MOST_CHARACTERS:
        return words
    reader.problems.append(Problem("text", says.FIRST_CHARACTERS(str(_MOST_CHARACTERS))))
    return ("; ".join(words)[:_MOST_CHARACTERS],)


def _own_words(dosage: Dosage) -> list[str]:
    """The words of the instruction alone; the notes of an order speak of other medicines too."""
    additional = [word for concept in dosage.additional_instruction for word in concept.words]
    return [each[:_MOST_CHARACTERS] for each in (dosage.text, dosage.patient_instruction, *additional) if each]


def read_rate(quantity: Quantity | None, ratio: Ratio | None) -> Amount | None:
    """The rate of an administration, zero if it was halted; None without a readable rate."""
    entry = _Entry("untyped", DoseAndRate(rate_quantity=quantity, rate_ratio=ratio), ())
    try:
        return next(iter(_rates(entry, _Reader(may_be_zero=True))), None)
    except _Refused:
        return None


def read_dose(quantity: Quantity | None) -> Amount | None:
    """The dose of an administration; None without one that can be read."""
    try:
        found = _Reader().quantities(quantity, "dose", DOSE_DIMENSIONS)
    except _Refused:
        return None
    return _amount(found[0], ()) if found else None


@dataclass(frozen=True, slots=True)
class _Entry:
    type: str
    given: DoseAndRate | Dosage
    path: Path


def _entries(dosage: Dosage) -> Iterator[_Entry]:
    """The doseAndRate entries, then the dosage's own dose and rate (the form of STU3) as an untyped entry."""
    for i, entry in enumerate(dosage.dose_and_rate):
        yield _Entry(_type(entry.type), entry, ("doseAndRate", i))
    if any((dosage.dose_quantity, dosage.dose_range, dosage.rate_quantity, dosage.rate_range, dosage.rate_ratio)):
        yield _Entry("untyped", dosage, ())


def _type(concept: CodeableConcept | None) -> str:
    if concept is None or not (concept.codes or concept.words):
        return "untyped"
    words = [c.code for c in concept.coding if c.code] + concept.words
    return next((TYPES[w.lower()] for w in words if w.lower() in TYPES), "other")


_TRUSTED = ("ordered", "untyped", "calculated")
"""In the order in which they count. Other types are read only if none of these can be."""


def _doses_and_rates(
    entries: list[_Entry], reader: _Reader
) -> tuple[tuple[Amount, ...], tuple[Amount, ...], bool, bool]:
    """(doses, rates, container, whether a rate was refused)."""
    for types in (_TRUSTED, ("other",)):
        of_types = [entry for wanted in types for entry in entries if entry.type == wanted]
        doses = _each(of_types, _doses, reader)
        before = len(reader.problems)
        rates = _each(of_types, _rates, reader)
        refused = not rates and len(reader.problems) > before
        rates += tuple(amount for amount in doses if amount.dimension in RATE_DIMENSIONS)
        doses = tuple(amount for amount in doses if amount.dimension not in RATE_DIMENSIONS)
        container = any(_is_container(entry.given.dose_quantity) for entry in of_types)
        if container and not (doses or rates or refused):
            reader.problems.append(Problem("doseQuantity", says.CONTAINER))
        if doses or rates or container or refused:
            return doses, rates, container, refused
    return (), (), False, False


def _each(
    entries: list[_Entry], read_one: Callable[[_Entry, _Reader], list[Amount]], reader: _Reader
) -> tuple[Amount, ...]:
    found: list[Amount] = []
    for entry in entries:
        try:
            found += read_one(entry, reader)
        except _Refused:
            continue
    return tuple(found)


def _is_container(given: Quantity | None) -> bool:
    return given is not None and measure.is_container(given)


def _doses(entry: _Entry, reader: _Reader) -> list[Amount]:
    """The doses of an entry, including a rate that was written in the place of a dose."""
    given, where = entry.given, _dotted(entry.path)
    dimensions = (*DOSE_DIMENSIONS, *RATE_DIMENSIONS, *reader.counts)
    found = _range(given.dose_range, where + "doseRange", dimensions, (*entry.path, "doseRange"), reader)
    if not _is_container(given.dose_quantity):
        read_here = reader.quantities(given.dose_quantity, where + "doseQuantity", dimensions)
        found += [_amount(each, (*entry.path, "doseQuantity")) for each in read_here]
    for amount in found:
        if amount.dimension in RATE_DIMENSIONS:
            reader.contradictions.append(says.RATE_AS_DOSE(amount.unit))
    return found


def _rates(entry: _Entry, reader: _Reader) -> list[Amount]:
    given, where = entry.given, _dotted(entry.path)
    found = _range(given.rate_range, where + "rateRange", RATE_DIMENSIONS, (*entry.path, "rateRange"), reader)
    if given.rate_ratio is not None:
        found += _ratio(given.rate_ratio, where + "rateRatio", (*entry.path, "rateRatio"), reader)
    read_here = reader.quantities(given.rate_quantity, where + "rateQuantity", RATE_DIMENSIONS)
    return found + [_amount(each, (*entry.path, "rateQuantity")) for each in read_here]


def _amount(quantity: units.Quantity, path: Path) -> Amount:
    return Amount(quantity.dimension, quantity.value, quantity.unit.code, quantity.written, "quantity", path)


def _range(given: Range | None, where: str, dimensions: Sequence[str], path: Path, reader: _Reader) -> list[Amount]:
    """One amount, and further ones where the ends contradict each other or themselves."""
    if given is None:
        return []
    highs = reader.quantities(given.high, f"{where}.high", dimensions)
    lows = reader.quantities(_unless_zero(given.low), f"{where}.low", dimensions)
    if not highs:
        return [
            Amount(
                each.dimension, each.value, each.unit.code, each.written, "range", path, each.value, open_ended=True
            )
            for each in lows
        ]
    high, low = highs[0], lows[0] if lows else None
    others = [_amount(each, path) for each in (*highs[1:], *lows[1:])]
    if low is not None and low.dimension != high.dimension:
        reader.contradictions.append(says.ENDS_OF_TWO_KINDS(where))
        others.append(_amount(low, path))
        low = None
    elif low is not None and low.value > high.value:
        reader.contradictions.append(says.ENDS_CROSSED(where))
        high, low = low, high
    low_value = low.value if low else None
    return [Amount(high.dimension, high.value, high.unit.code, high.written, "range", path, low_value), *others]


def _unless_zero(low: Quantity | None) -> Quantity | None:
    """The low end of a range may be zero."""
    return None if low is not None and low.value == 0 else low


def _ratio(given: Ratio, where: str, path: Path, reader: _Reader) -> list[Amount]:
    numerators = reader.quantities(given.numerator, f"{where}.numerator", DOSE_DIMENSIONS)
    denominators = reader.quantities(given.denominator, f"{where}.denominator", ("time",))
    if not numerators and not denominators:
        return []
    if not numerators or not denominators or any(each.value == 0 for each in denominators):
        reader.refuse(where, says.NO_AMOUNT_IN_TIME)
    return [
        Amount(
            dimension=_PER_TIME[numerator.dimension],
            value=numerator.value * 60 / denominator.value,
            unit=numerator.unit.code,
            written=numerator.written,
            shape="ratio",
            path=path,
            per_minutes=denominator.value,
        )
        for numerator in numerators
        for denominator in denominators
    ]


def _cap(given: Ratio | None, reader: _Reader) -> Cap | None:
    if given is None:
        return None
    where = "maxDosePerPeriod"
    try:
        numerator = reader.largest(given.numerator, f"{where}.numerator", (*DOSE_DIMENSIONS, *reader.counts))
        denominator = reader.largest(given.denominator, f"{where}.denominator", ("time",))
        if numerator is None or denominator is None:
            reader.refuse(where, says.NO_AMOUNT_IN_TIME)
    except _Refused:
        return None
    return Cap(_amount(numerator, (where, "numerator")), denominator.value)


def _at_most(given: Quantity | None, reader: _Reader) -> Amount | None:
    where = "maxDosePerAdministration"
    try:
        quantity = reader.largest(given, where, (*DOSE_DIMENSIONS, *reader.counts))
    except _Refused:
        return None
    return _amount(quantity, (where,)) if quantity else None


def _dotted(path: Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text[1:]}." if text else ""
