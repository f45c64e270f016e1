"""Whether an order has one plain dose or rate, as the published library reads it; all else it cannot tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cds_service import units
from cds_service.orders import dosage, often, unread
from tests.oracle.cases import Case

_DOSES, _RATES = ("mass", "mass_per_bodymass"), ("mass_per_time", "mass_per_bodymass_time")
_ASKED = "indication-missing"
_TIMES = ("s", "min", "h", "d", "wk")
_AMOUNT = re.compile("[0-9]|" + "|".join(re.escape(mark.lower()) for mark in unread.MARKS))
"""As the library looks for one: anywhere, so that "unwell" has a French one in it."""


_UNEVEN = ("frequencyMax", "periodMax", "countMax", "dayOfWeek", "timeOfDay", "when")


def is_not_plain(case: Case) -> bool:
    """Several instructions or none, an amount in words, a range, a volume, a count, a time that is not exact, or
    statements of which one may contradict another; an order of a group, or one whose meaning is changed."""
    order = order_of(case)
    if any(name in order for name in ("groupIdentifier", "modifierExtension", "implicitRules")):
        return True
    if any(entry["resource"]["resourceType"] == "RequestGroup" for entry in case.bundle["entry"]):
        return True
    instructions = order.get("dosageInstruction") or []
    if len(instructions) != 1 or any(_AMOUNT.search(text.lower()) for text in _words(order)):
        return True
    entries = instructions[0].get("doseAndRate") or []
    repeat = (instructions[0].get("timing") or {}).get("repeat") or {}
    return len(entries) != 1 or not (_is_plain(entries[0], repeat) and _is_timed(repeat))


def is_not_evenly_timed(case: Case) -> bool:
    """How often it is given stands in words, or by days, moments, ranges, or a period of no length that is read."""
    order = order_of(case)
    if any(_words(order)):
        return True
    for each in order.get("dosageInstruction") or ():
        timing = each.get("timing") or {}
        repeat = timing.get("repeat") or {}
        code = timing.get("code") or {}
        if any(name in repeat for name in _UNEVEN) or len(timing.get("event") or ()) > 1:
            return True
        if (code.get("text") or code.get("coding")) and not _is_one_known_code(code, repeat):
            return True
        if "period" not in repeat and not code and ("frequency" in repeat or "count" in repeat):
            return True
    return False


def _is_one_known_code(code: Mapping[str, Any], repeat: Mapping[str, Any]) -> bool:
    said = {code.get("text")} | {
        text for each in code.get("coding") or () for text in (each.get("code"), each.get("display"))
    }
    return "period" not in repeat and {str(each).upper() for each in said if each} <= often.CODES.keys()


def order_of(case: Case) -> Mapping[str, Any]:
    """The one that is judged, empty where it is not among the resources."""
    orders = [entry["resource"] for entry in case.bundle["entry"]]
    own = (each for each in orders if each["resourceType"] == "MedicationRequest" and each.get("id") == case.order)
    return next(own, {})


def _words(order: Mapping[str, Any]) -> Iterator[str]:
    yield from (note.get("text", "") for note in order.get("note") or ())
    for each in order.get("dosageInstruction") or ():
        concepts = [*(each.get("additionalInstruction") or ()), each.get("asNeededCodeableConcept") or {}]
        yield from (each.get("text") or "", each.get("patientInstruction") or "")
        yield from (concept.get("text", "") for concept in concepts)


def _is_plain(entry: Mapping[str, Any], repeat: Mapping[str, Any]) -> bool:
    if "doseRange" in entry or "rateRange" in entry or not _is_believed(entry.get("type") or {}):
        return False
    if {"doseQuantity", "rateQuantity"} <= entry.keys() and "duration" in repeat:
        return False  # two of them say the third
    ratio = entry.get("rateRatio") or {}
    if repeat and "duration" not in repeat and (ratio.get("denominator") or {}).get("value") not in (None, 1):
        return False  # a dose that is repeated, or a speed
    amounts = [
        (entry.get("doseQuantity"), _DOSES),
        (ratio.get("numerator"), _DOSES),
        (entry.get("rateQuantity"), _RATES),
    ]
    return all(_is_exact(each, dimensions) for each, dimensions in amounts if each is not None)


def _is_believed(kind: Mapping[str, Any]) -> bool:
    """The type of a dose, if it has one, is one that is read like any other."""
    said = [kind.get("text"), *(each.get(name) for each in kind.get("coding") or () for name in ("code", "display"))]
    return all(each.lower() in dosage.TYPES for each in said if each)


def _is_exact(quantity: Mapping[str, Any], dimensions: Sequence[str]) -> bool:
    """A number above zero of eight places at most, in a unit as UCUM writes it, and no other one beside it."""
    written = {text for text in (quantity.get("code"), quantity.get("unit")) if text}
    value = quantity.get("value", 0)
    is_number = not isinstance(value, str) and bool(re.fullmatch(r"\d+(\.\d{1,8})?", str(value))) and value > 0
    is_unit = len(written) == 1 and all(text in units.codes() and units.is_of(text, *dimensions) for text in written)
    return is_number and is_unit and "comparator" not in quantity


def _is_timed(repeat: Mapping[str, Any]) -> bool:
    is_long = repeat.get("duration", 1) > 0 and repeat.get("durationUnit", "min") in _TIMES
    return "durationMax" not in repeat and is_long


def has_reason_that_no_code_tells(case: Case, systems: Collection[str]) -> bool:
    """A reason in words, or of a problem that was not sent; or one that the service asks about."""
    order = order_of(case)
    concepts = [*(order.get("reasonCode") or ())]
    resources = [entry["resource"] for entry in case.bundle["entry"]]
    problems = {f"Condition/{each.get('id')}": each for each in resources if each["resourceType"] == "Condition"}
    for reference in order.get("reasonReference") or ():
        problem = problems.get(reference.get("reference", ""))
        if problem is None:
            return True
        concepts.append(problem.get("code") or {})
    if not concepts:
        return any(_words(order))
    return case.verdicts[_ASKED].status == "fired" or not all(has_known_code(each, systems) for each in concepts)


def has_known_code(concept: Mapping[str, Any], systems: Collection[str]) -> bool:
    """Whether one of its codes is of a system that the value sets use."""
    return any(each.get("system") in systems and each.get("code") for each in concept.get("coding") or ())
