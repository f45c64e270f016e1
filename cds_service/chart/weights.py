"""Weights as they were measured, stated or estimated, each with why it cannot be used."""

from __future__ import annotations

from collections.abc import Iterable

from cds_service import units
from cds_service.chart.facts import Measurement, Weight, value_of
from cds_service.fhir.datatypes import Quantity

PRELIMINARY = "it is preliminary"


def by_date(weights: Iterable[Weight]) -> list[Weight]:
    lightest_first = sorted(weights, key=lambda weight: weight.kg or 0)
    return sorted(lightest_first, key=lambda weight: weight.when.placed, reverse=True)


def written(quantity: Quantity | None) -> str:
    """A quantity as it was written, for a card."""
    if quantity is None or quantity.value is None:
        return "no value"
    unit = units.said(quantity.unit_text) if quantity.unit_text else "(no unit)"
    return f"{quantity.comparator or ''}{quantity.value} {unit}".rstrip()


def read_weight(measurement: Measurement, basis: str, is_preliminary: bool) -> Weight:
    quantity = measurement.quantity
    kg = problem = None
    if is_preliminary:
        problem = PRELIMINARY
    elif quantity is None or quantity.value is None:
        problem = "it has no value" if value_of(measurement.part) is None else "it is not a number with a unit"
    elif quantity.comparator:
        problem = "it is not an exact value"
    else:
        try:
            kg = units.quantity(quantity.value, quantity.unit_text or "", "body_weight").value
        except units.UnitError as error:
            problem = str(error)
        if kg is not None and kg <= 0:
            kg, problem = None, "it is not above zero"
    said = value_of(measurement.part) or "no value"
    return Weight(kg, basis, measurement.when, measurement.reference, said, problem)  # type: ignore[arg-type]
