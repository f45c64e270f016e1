"""How a card says a measurement that a clause holds by."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from cds_service import units
from cds_service.chart import kinds
from cds_service.chart.account import in_words
from cds_service.chart.chart import Chart
from cds_service.chart.facts import Fact, Measurement, Used, coded, in_words_of, on
from cds_service.chart.weights import written
from cds_service.figures import show
from cds_service.says import Says
from cds_service.says import findings as says
from cds_service.says.entries import AS_CODED


def fact(m: Measurement, chart: Chart, unit: str | None) -> Fact:
    """A panel is said as one, as 150/102. The figure for a summary is in `unit`, that of the limit it was held to."""
    title: Says
    said: Says
    title, parts = _whole(m, chart)
    if not parts:
        title, said, parts = _name(m, chart), _value(m, chart), (m,)
    else:
        written = "/".join(str(part.quantity.value) for part in parts if part.quantity)
        given = m.quantity.unit_text if m.quantity else None
        said = f"{written} {units.said(given)}" if given else written
    figures = [figure for part in parts if (figure := _figure(part, unit)) is not None]
    told = says.MEASURED(title, said, on(m.when, chart.now))
    return Fact(told, m.reference, "/".join(figures) or None, _used(m, parts, chart))


def _used(m: Measurement, parts: Sequence[Measurement], chart: Chart) -> Used:
    """The reading as it may be kept: of an answer only one that a value set holds."""
    members = {name: each for part in parts for name, each in chart.valuesets.members_of(*part.code).items()}
    used = coded("reading", members, m.when)
    quantity = m.quantity
    if quantity is not None and quantity.value is not None:
        numbers = [part.quantity.value for part in parts if part.quantity is not None]
        written = "/".join(map(str, numbers)) or str(quantity.value)
        figure = f"{quantity.comparator or ''}{written}"
        if not quantity.unit_text:
            return msgspec.structs.replace(used, value=figure)
        with suppress(units.UnitError):
            return msgspec.structs.replace(used, value=figure, unit=units.find(quantity.unit_text).code)
        return used  # a number in a unit that nobody knows says nothing, and the unit may be any words
    answers = [each for answer in m.answers for each in chart.valuesets.members_of(*answer).values()]
    value = str(m.number) if m.number is not None else answers[0].code if answers else None
    return msgspec.structs.replace(used, value=value)


def _figure(m: Measurement, unit: str | None) -> str | None:
    """The number alone; in another unit than it was written in, rounded."""
    if m.quantity is None or m.quantity.value is None:
        return None
    written = units.exact(m.quantity.value)
    for dimension in units.dimensions_of(unit) if unit else ():
        with suppress(units.UnitError):
            value = units.quantity(m.quantity.value, m.quantity.unit_text or "", dimension).value
            found = value / units.find(unit or "", dimension).factor
            return show(found) if found != written else str(m.quantity.value)
    return str(m.quantity.value)


def _whole(m: Measurement, chart: Chart) -> tuple[Says, Sequence[Measurement]]:
    """(title, parts) of the panel of which this is a part, as 150/102; no parts where one is missing."""
    panel = kinds.panel_of(chart.valuesets.members_of(*m.code))
    if panel is None or m.quantity is None:
        return "", ()
    title, sets = panel
    found: list[Measurement] = []
    for name in sets:
        parts = [other for other in _at_once(m, chart.measurements(name)) if _is_beside(other, m)]
        parts = [each for each in parts if each.quantity and not each.quantity.comparator]
        if len({str(each.quantity.value) for each in parts if each.quantity}) != 1:
            return title, ()
        found.append(parts[0])
    return title, found


def _at_once(m: Measurement, others: Sequence[Measurement]) -> list[Measurement]:
    """Those that were read in the same observation, or at the same moment."""
    if m.when.is_coarse:
        return [other for other in others if other.reference == m.reference]
    moment = m.when.placed
    return [other for other in others if other.reference == m.reference or other.when.placed == moment]


def _is_beside(other: Measurement, m: Measurement) -> bool:
    """Whether both are values in one unit."""
    if other.quantity is None or m.quantity is None or other.quantity.value is None:
        return False
    return other.quantity.unit_text == m.quantity.unit_text


def _name(m: Measurement, chart: Chart) -> str:
    """What was measured, in words: a bare code says nothing to a clinician."""
    words = next(iter(m.part.code.words if m.part.code else ()), None)
    return words or in_words_of(chart.valuesets.members_of(*m.code)) or m.name


def _value(m: Measurement, chart: Chart) -> Says:
    if m.quantity is not None:
        return written(m.quantity)
    if m.number is not None:
        return str(m.number)
    if (date := chart.when(m.date)) is not None:
        return date.text
    return in_words(m.words[0]) if m.words else AS_CODED
