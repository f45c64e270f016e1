"""Weights as they were measured, stated or estimated, each with why it cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import groupby
from operator import attrgetter

from cds_service import units
from cds_service.chart.facts import Measurement, Weight, amount_of, value_of
from cds_service.fhir.datatypes import Quantity
from cds_service.says import Says
from cds_service.says import entries as says

_PLACED = attrgetter("when.placed")


def by_date(weights: Iterable[Weight]) -> list[Weight]:
    """Newest first, and of one moment the lightest first."""
    by_moment = groupby(sorted(weights, key=_PLACED, reverse=True), key=_PLACED)
    return [weight for _, found in by_moment for weight in sorted(found, key=lambda weight: weight.kg or 0)]


def written(quantity: Quantity | None) -> Says:
    """A quantity as it was written, for a card."""
    if quantity is None or quantity.value is None:
        return says.NO_VALUE
    return amount_of(quantity, quantity.value)


def read_weight(measurement: Measurement, basis: str, is_preliminary: bool) -> Weight:
    quantity = measurement.quantity
    kg: Fraction | None = None
    problem: Says | None = None
    if is_preliminary:
        problem = says.PRELIMINARY
    elif quantity is None or quantity.value is None:
        problem = says.HAS_NO_VALUE if value_of(measurement.part) is None else says.NO_NUMBER_WITH_UNIT
    elif quantity.comparator:
        problem = says.NO_EXACT_VALUE
    else:
        try:
            kg = units.quantity(quantity.value, quantity.unit_text or "", "body_weight").value
        except units.UnitError as error:
            problem = error.says
        if kg is not None and kg <= 0:
            kg, problem = None, says.NOT_ABOVE_ZERO
    said = value_of(measurement.part) or says.NO_VALUE
    return Weight(kg, basis, measurement.when, measurement.reference, said, problem)  # type: ignore[arg-type]
