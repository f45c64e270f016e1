"""The closed table of units: exact arithmetic on quantities, and refusal of every unit that is not in it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from importlib import resources

import msgspec

from cds_service import bounds
from cds_service.errors import CdsError
from cds_service.says import Says
from cds_service.says.orders import NO_NUMBER, NOT_IN_TABLE, NOT_IN_TABLE_OF_UNITS, NUMBER_TOO_LONG
from cds_service.writings import Factors, Writings


class UnitError(CdsError, ValueError):
    """A quantity that cannot be read."""

    @property
    def says(self) -> Says:
        """What a clinician is told of it."""
        says: Says = self.args[0]
        return says


class UnknownUnit(UnitError):
    """A unit that is neither in the closed table nor an alias, or not of the dimensions that were asked for."""

    def __init__(self, text: str, dimensions: Sequence[str]) -> None:
        super().__init__(text, dimensions)
        self.text, self.dimensions = text, dimensions

    def __str__(self) -> str:
        return f"unit {self.text!r} is not in the table of {' or '.join(self.dimensions) or 'units'}"

    @property
    def says(self) -> Says:
        if not self.dimensions:
            return NOT_IN_TABLE_OF_UNITS(repr(self.text))
        return NOT_IN_TABLE(repr(self.text), " or ".join(self.dimensions))


class UnreadableNumber(UnitError):
    """A number that is not finite, or far outside anything that a person writes."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit: its UCUM code, its dimension, and the exact factor to the dimension's canonical unit."""

    code: str
    dimension: str
    factor: Fraction


class Quantity(msgspec.Struct, frozen=True):
    """An exact amount. `value` is in the dimension's canonical unit; `unit` is the one it was written in."""

    value: Fraction
    unit: Unit

    @property
    def dimension(self) -> str:
        return self.unit.dimension

    @property
    def written(self) -> Fraction:
        """The number as it was written, in `unit`."""
        return self.value / self.unit.factor


_TABLE = tomllib.loads(resources.files("cds_service").joinpath("units.toml").read_text("utf-8"))
_SAID: dict[str, str] = _TABLE["said"]
_ANNOTATION = re.compile(r"\{[^{}]*\}")


def said(unit: str) -> str:
    """A unit as a clinician reads it: `mmHg` for `mm[Hg]`, `/min` for `{beats}/min`, nothing for `{score}`."""
    return _SAID.get(unit) or _ANNOTATION.sub("", unit)


def _load() -> tuple[dict[str, tuple[Unit, ...]], dict[str, str], dict[str, Unit], Writings]:
    table = _TABLE
    by_code: dict[str, tuple[Unit, ...]] = {}
    canonical: dict[str, Unit] = {}
    for dimension, units in table["dimensions"].items():
        for code, factor in units.items():
            unit = Unit(code, dimension, Fraction(factor))
            by_code[code] = (*by_code.get(code, ()), unit)
            if unit.factor == 1:
                canonical.setdefault(dimension, unit)
    times = {code: Fraction(factor) for code, factor in table["dimensions"]["time"].items()}
    return by_code, dict(table["aliases"]), canonical, Writings(table["parts"], table["joints"], times)


_UNITS, ALIASES, CANONICAL, WRITINGS = _load()
DIMENSIONS = tuple(CANONICAL)
_WRITTEN_BY_PARTS = re.compile(
    "mass|mass_per_(bodymass|time|bodymass_time)|volume(_per_.*)?|concentration|body_weight|time"
)


def _by_factors() -> dict[Factors, str]:
    """The code of each combination of parts that is in the table; of several codes the first."""
    found: dict[Factors, str] = {}
    for code, entries in _UNITS.items():
        factors = WRITINGS.factors(code)
        if factors is not None and any(_WRITTEN_BY_PARTS.fullmatch(unit.dimension) for unit in entries):
            found.setdefault(factors, code)
    return found


_BY_FACTORS = _by_factors()


def codes() -> tuple[str, ...]:
    """Every code of the table."""
    return tuple(_UNITS)


@lru_cache(maxsize=1024)
def _written(text: str) -> tuple[Unit, ...]:
    """The units that `text` may mean: by code, by alias, or by its parts."""
    code = text if text in _UNITS else ALIASES.get(text)
    if code is None and (factors := WRITINGS.factors(text)) is not None:
        code = _BY_FACTORS.get(factors)
    return _UNITS.get(code or "", ())


def find(text: str, *dimensions: str) -> Unit:
    """The unit written as `text` in one of `dimensions` (any when none is named).

    Raises UnknownUnit. Codes such as `g` and `mg/L` belong to two dimensions; the first one named wins.
    """
    units = _written(text)
    if not dimensions and units:
        return units[0]
    for dimension in dimensions:
        for unit in units:
            if unit.dimension == dimension:
                return unit
    raise UnknownUnit(text, dimensions)


def dimensions_of(text: str) -> tuple[str, ...]:
    """The dimensions in which `text` is a unit; none for an unknown one."""
    return tuple(unit.dimension for unit in _written(text))


def writings_of(*dimensions: str) -> tuple[str, ...]:
    """The codes and aliases of the dimensions' units."""
    return tuple(text for text in (*_UNITS, *ALIASES) if is_of(text, *dimensions))


def is_of(text: str, *dimensions: str) -> bool:
    """Whether `text` is a unit of one of the dimensions."""
    try:
        find(text, *dimensions)
    except UnknownUnit:
        return False
    return True


def exact(number: Decimal | int | str) -> Fraction:
    """The number without loss. Raises UnreadableNumber when it is not finite or absurdly long."""
    try:
        value = Decimal(number)
    except InvalidOperation as error:
        raise UnreadableNumber(NO_NUMBER(repr(number))) from error
    if not value.is_finite():
        raise UnreadableNumber(NO_NUMBER(str(number)))
    if not bounds.is_figure(value):
        raise UnreadableNumber(NUMBER_TOO_LONG)
    return Fraction(value)


def quantity(number: Decimal | int | str, text: str, *dimensions: str) -> Quantity:
    """The quantity `number` `text`, e.g. quantity(Decimal("8.33"), "mcg/kg/min", "mass_per_bodymass_time")."""
    if isinstance(number, Decimal) and number.is_snan():  # nothing that remembers can hold it
        raise UnreadableNumber(NO_NUMBER(repr(str(number))))
    return _quantity(number, text, *dimensions)


@lru_cache(maxsize=4096)
def _quantity(number: Decimal | int | str, text: str, *dimensions: str) -> Quantity:
    unit = find(text, *dimensions)
    return Quantity(exact(number) * unit.factor, unit)
