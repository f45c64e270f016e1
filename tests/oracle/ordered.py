"""Whether an order has one plain dose or rate, as the published library reads it; all else it cannot tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cds_service import units
from tests.oracle.cases import Case

_DOSES, _RATES = ("mass", "mass_per_bodymass"), ("mass_per_time", "mass_per_bodymass_time")
_TIMES = ("s", "min", "h", "d", "wk")


def is_not_plain(case: Case) -> bool:
    """Several instructions or none, an amount in words, a range, a volume, a count, or a time that is not exact; or
    an order of a group, or one whose meaning is changed."""
    orders = [entry["resource"] for entry in case.bundle["entry"]]
    own = (each for each in orders if each["resourceType"] == "MedicationRequest" and each.get("id") == case.order)
    order: Mapping[str, Any] = next(own, {})
    if "groupIdentifier" in order or "modifierExtension" in order or "implicitRules" in order:
        return True
    instructions = order.get("dosageInstruction") or []
    if len(instructions) != 1 or any(re.search(r"\d", text) for text in _words(order)):
        return True
    entries = instructions[0].get("doseAndRate") or []
    return len(entries) != 1 or not _is_plain(entries[0]) or not _is_timed(instructions[0].get("timing") or {})


def _words(order: Mapping[str, Any]) -> Iterator[str]:
    yield from (note.get("text", "") for note in order.get("note") or ())
    for each in order.get("dosageInstruction") or ():
        concepts = [*(each.get("additionalInstruction") or ()), each.get("asNeededCodeableConcept") or {}]
        yield from (each.get("text") or "", each.get("patientInstruction") or "")
        yield from (concept.get("text", "") for concept in concepts)


def _is_plain(entry: Mapping[str, Any]) -> bool:
    if "doseRange" in entry or "rateRange" in entry:
        return False
    ratio = (entry.get("rateRatio") or {}).get("numerator")
    amounts = [(entry.get("doseQuantity"), _DOSES), (ratio, _DOSES), (entry.get("rateQuantity"), _RATES)]
    return all(_is_exact(each, dimensions) for each, dimensions in amounts if each is not None)


def _is_exact(quantity: Mapping[str, Any], dimensions: Sequence[str]) -> bool:
    """A number above zero of eight places at most, in a unit as UCUM writes it."""
    written = {text for text in (quantity.get("code"), quantity.get("unit")) if text}
    number = str(quantity.get("value"))
    is_number = bool(re.fullmatch(r"\d+(\.\d{1,8})?", number)) and float(number) > 0
    return is_number and any(text in units.codes() and units.is_of(text, *dimensions) for text in written)


def _is_timed(timing: Mapping[str, Any]) -> bool:
    repeat = timing.get("repeat") or {}
    return "durationMax" not in repeat and repeat.get("durationUnit", "min") in _TIMES
