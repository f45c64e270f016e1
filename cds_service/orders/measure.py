"""The amount that a Quantity of an order states: its unit and its code held against each other."""

from __future__ import annotations

from collections.abc import Sequence

from cds_service import units
from cds_service.fhir.datatypes import Quantity
from cds_service.orders.dosage_words import WORDS
from cds_service.says import Said
from cds_service.says import orders as says
from cds_service.terminology.systems import UCUM, canonical_system
from cds_service.units import Unit

DOSE_DIMENSIONS = ("mass", "mass_per_bodymass", "volume")
COUNT_DIMENSIONS = tuple(dimension for dimension in units.DIMENSIONS if dimension.startswith("count"))
"""Of a product of which the protocol says how much is in one."""
RATE_DIMENSIONS = ("mass_per_time", "mass_per_bodymass_time", "volume_per_time", "volume_per_bodymass_time")
_CONTAINERS = frozenset(WORDS["containers"]["units"])


def is_container(given: Quantity) -> bool:
    """Whether it counts bags or vials, and neither its unit nor its code is an amount."""
    texts = [text for text in (given.code, given.unit) if text]
    return any(text in _CONTAINERS for text in texts) and not any(units.dimensions_of(text) for text in texts)


def read(
    given: Quantity, dimensions: Sequence[str], may_be_zero: bool = False
) -> tuple[tuple[units.Quantity, ...], Said | None]:
    """(the amount, what its unit says against its code). Two amounts where both can be read and differ.

    A code is believed alone, and so is a unit beside the code of another system. Raises UnitError.
    """
    if given.value is None:
        raise units.UnitError(says.UNIT_WITHOUT_VALUE)
    if given.comparator:
        raise units.UnitError(says.INEXACT(given.comparator, str(given.value)))
    if not given.unit_text:
        raise units.UnitError(says.WITHOUT_UNIT(str(given.value)))
    number = units.exact(given.value)
    if number < 0:
        raise units.UnitError(says.BELOW_ZERO(str(given.value)))
    if number == 0 and not may_be_zero:
        raise units.UnitError(says.NO_AMOUNT(str(given.value), given.unit_text))
    known, against = _units(given, dimensions)
    return tuple(units.Quantity(number * unit.factor, unit) for unit in known), against


def _units(given: Quantity, dimensions: Sequence[str]) -> tuple[list[Unit], Said | None]:
    code, unit = (_find(text, dimensions) for text in (given.code, given.unit))
    if code is not None and unit is not None:
        larger_of_two = says.UNIT_AND_CODE_LARGER(given.unit or "", given.code or "")
        return ([code], None) if _same(code, unit) else ([code, unit], larger_of_two)
    against = says.UNIT_AND_CODE(str(given.unit), str(given.code))
    if code is not None:
        meant = _find((given.unit or "").lower(), (*DOSE_DIMENSIONS, *RATE_DIMENSIONS, *dimensions))
        if not given.unit or (meant is not None and _same(code, meant)):
            return [code], None
        larger = [meant] if meant is not None and meant.dimension in dimensions else []
        return [code, *larger], against
    if unit is not None:
        meant = _find((given.code or "").lower(), units.DIMENSIONS)
        opaque = meant is None and given.system is not None and canonical_system(given.system) != UCUM
        return [unit], None if not given.code or opaque or (meant and _same(unit, meant)) else against
    return [units.find(given.unit_text or "", *dimensions)], None


def _find(text: str | None, dimensions: Sequence[str]) -> Unit | None:
    if not text:
        return None
    try:
        return units.find(text, *dimensions)
    except units.UnknownUnit:
        return None


def _same(a: Unit, b: Unit) -> bool:
    return (a.dimension, a.factor) == (b.dimension, b.factor)
