"""A changed order, ready to send back: the whole resource, in the unit that the clinician used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, assert_never

from cds_service import bounds
from cds_service.orders import often
from cds_service.orders.dosage import Amount, Path
from cds_service.orders.text import maxima, states_an_amount
from cds_service.says import Says
from cds_service.terminology.systems import UCUM

ActionType = Literal["create", "update", "delete"]
_RELATIVE = re.compile(r"[A-Za-z]+/[^\s/?#]+")


@dataclass(frozen=True, slots=True)
class Action:
    """One step of a proposal. `resource` for create and update, `resource_id` ("Type/id") for delete."""

    type: ActionType
    resource: Mapping[str, Any] | None = None
    resource_id: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a suggestion does. `kind` names its words in the card texts, `values` fill them."""

    kind: str
    actions: tuple[Action, ...]
    values: Mapping[str, Says] = field(default_factory=dict)

    @property
    def place(self) -> int:
        """Where it stands among the suggestions of a card: another dose first, the removal of an order last."""
        return 0 if self.kind in DOSE_CHANGES else 2 if self.kind == REMOVAL else 1


CHANGE, CEILING, USUAL, UNIT = "change", "ceiling", "usual", "unit"
"""Another dose: the only one that is offered; or the highest that may be, beside the usual start or the unit that the
number fits."""
DOSE_CHANGES = (CHANGE, CEILING, USUAL, UNIT)
REMOVAL = "delete"


def deletion(reference: str, name: str) -> list[Proposal]:
    """Offer to remove an order; nothing if the client could not find it by its id."""
    if not _RELATIVE.fullmatch(reference) or not reference.isprintable() or len(reference) > bounds.REFERENCE:
        return []
    return [Proposal(REMOVAL, (Action("delete", resource_id=reference),), {"order": name})]


@dataclass(frozen=True, slots=True)
class SetAmount:
    """Replace a dose or rate by `written`, in the unit it was written in, or in `unit`."""

    index: int
    amount: Amount
    written: Fraction
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class SetRate:
    """One rate, `written` `unit`, in the place of `amount`, however that was written (a range, a ratio)."""

    index: int
    amount: Amount
    written: Fraction
    unit: str


@dataclass(frozen=True, slots=True)
class SetMinutes:
    """Give over `minutes`, no longer by push."""

    index: int
    minutes: Fraction
    was_push: bool = False


@dataclass(frozen=True, slots=True)
class SetRepeat:
    """Give `frequency` times in `period` `unit` (UCUM)."""

    index: int
    frequency: int
    period: int
    unit: str


@dataclass(frozen=True, slots=True)
class SetCap:
    """At most `mg` in an hour, or in the period of the order's own cap."""

    index: int
    mg: Fraction
    keeps_period: bool = False


@dataclass(frozen=True, slots=True)
class SetProduct:
    """Another product of the same drug: (system, code, display) and its name."""

    codings: Sequence[tuple[str, str, str]]
    text: str


@dataclass(frozen=True, slots=True)
class SetReason:
    """An indication: (system, code, display) and its name."""

    codings: Sequence[tuple[str, str, str]]
    text: str


@dataclass(frozen=True, slots=True)
class SetEnd:
    """Stop so many hours after its start."""

    index: int
    hours: Fraction
    start: datetime | None = None
    """Counted from here instead, which becomes its start."""


Edit = SetAmount | SetRate | SetMinutes | SetRepeat | SetCap | SetProduct | SetReason | SetEnd


def floored(value: Fraction, step: Fraction) -> Fraction:
    """The largest multiple of `step` that is not above `value`."""
    return (value // step) * step


def decimal(value: Fraction) -> Decimal:
    """The exact decimal of a number that has one, without an exponent."""
    number = (Decimal(value.numerator) / Decimal(value.denominator)).normalize()
    return Decimal(f"{number:f}")


def make_edits(order: dict[str, Any], edits: Sequence[Edit]) -> None:
    """Make the edits in a MedicationRequest (exact decimals).

    The words that state a dosage go when its figures change: they would contradict them. Raises KeyError, IndexError
    or TypeError where the order's JSON is too broken to be edited.
    """
    restated: list[tuple[dict[str, Any], dict[str, Any], str]] = []
    for edit in edits:
        match edit:
            case SetProduct():
                _set_product(order, edit)
            case SetReason():
                order["reasonCode"] = [_concept(edit.codings, edit.text)]
            case SetCap():
                dosage = _dosage(order, edit.index)
                _set_cap(dosage, edit)
            case SetAmount():
                dosage = _dosage(order, edit.index)
                entry = _follow(dosage, edit.amount.path[:-1])
                _set_amount(entry, edit)
                restated.append((dosage, entry, str(edit.amount.path[-1])))
                _drop_words(dosage)
            case SetRate():
                dosage = _dosage(order, edit.index)
                entry = _follow(dosage, edit.amount.path[:-1])
                entry.pop(str(edit.amount.path[-1]), None)
                entry["rateQuantity"] = _quantity(decimal(edit.written), edit.unit)
                restated.append((dosage, entry, "rateQuantity"))
                _drop_words(dosage)
            case SetMinutes() | SetRepeat():
                dosage = _dosage(order, edit.index)
                _set_timing(dosage, edit)
                if isinstance(edit, SetMinutes) and edit.was_push:
                    dosage.pop("method", None)
                _drop_words(dosage)
            case SetEnd():
                dosage = _dosage(order, edit.index)
                _set_end(dosage, edit)
            case _:
                assert_never(edit)
    for dosage, entry, element in restated:
        _drop_restatements(dosage, entry, element)


def _drop_words(dosage: dict[str, Any]) -> None:
    """Remove words that state the old figures."""
    dosage.pop("text", None)
    if _states_a_dose(str(dosage.get("patientInstruction", ""))):
        del dosage["patientInstruction"]
    given = dosage.get("additionalInstruction")
    if given is not None:
        kept = [each for each in (given if isinstance(given, list) else [given]) if not _tells_a_dose(each)]
        dosage["additionalInstruction"] = kept
        if not kept:
            del dosage["additionalInstruction"]


def _states_a_dose(text: str) -> bool:
    """Whether a text would contradict other figures. A maximum without an amount would not."""
    return states_an_amount(text) or (often.interval(text) is not None and not maxima(text))


def _tells_a_dose(concept: Any) -> bool:
    if not isinstance(concept, dict):
        return _states_a_dose(str(concept))
    codings = concept.get("coding") or []
    shown = [each.get("display") for each in codings if isinstance(each, dict)] if isinstance(codings, list) else []
    return any(_states_a_dose(str(text)) for text in (concept.get("text"), *shown) if text)


def _set_product(order: dict[str, Any], edit: SetProduct) -> None:
    """A contained medication goes with the reference to it: R4 allows none that nothing refers to (dom-3)."""
    reference = order.pop("medicationReference", None) or {}
    order["medicationCodeableConcept"] = _concept(edit.codings, edit.text)
    gone = str(reference.get("reference")).lstrip("#")
    kept = [each for each in order.pop("contained", []) if str(each.get("id")).lstrip("#") != gone]
    if kept:
        order["contained"] = kept


def _concept(codings: Sequence[tuple[str, str, str]], text: str) -> dict[str, Any]:
    concept: dict[str, Any] = {"text": text}
    if codings:
        concept["coding"] = [{"system": s, "code": c, "display": d} for s, c, d in codings]
    return concept


def _quantity(value: Decimal, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def _dosage(order: dict[str, Any], index: int) -> dict[str, Any]:
    """The dosage that was read as number `index`. Reading skips entries that are not objects, so count as it does."""
    dosages = order["dosageInstruction"]
    dosages = dosages if isinstance(dosages, list) else [dosages]
    dosage: dict[str, Any] = [d for d in dosages if isinstance(d, dict)][index]
    return dosage


def _set_cap(dosage: dict[str, Any], edit: SetCap) -> None:
    period = dosage["maxDosePerPeriod"]["denominator"] if edit.keeps_period else _quantity(Decimal(1), "h")
    dosage["maxDosePerPeriod"] = {"numerator": _quantity(decimal(edit.mg), "mg"), "denominator": period}


def _set_timing(dosage: dict[str, Any], edit: SetMinutes | SetRepeat) -> None:
    timing = dosage.setdefault("timing", {})
    repeat = timing.setdefault("repeat", {})
    gone: tuple[str, ...]
    new: dict[str, Any]
    if isinstance(edit, SetMinutes):
        gone = ("durationMax", *_bounds_as_run_time(dosage, repeat))
        new = {"duration": decimal(edit.minutes), "durationUnit": "min"}
        if "boundsPeriod" in gone and (start := repeat["boundsPeriod"].get("start")):
            new["boundsPeriod"] = {"start": start}
    else:
        gone = ("frequencyMax", "periodMax", "dayOfWeek", "timeOfDay", "when")
        new = {"frequency": edit.frequency, "period": edit.period, "periodUnit": edit.unit}
        timing.pop("code", None)
        timing.pop("event", None)
    for key in gone:
        repeat.pop(key, None)
    repeat |= new


def _set_end(dosage: dict[str, Any], edit: SetEnd) -> None:
    """Bounds from the start that is written, else from whenever it is started."""
    repeat = dosage.setdefault("timing", {}).setdefault("repeat", {})
    period = repeat.pop("boundsPeriod", None) or {}
    for name in ("boundsDuration", "boundsRange"):
        repeat.pop(name, None)
    _drop_words(dosage)
    if edit.start is not None:
        period = {"start": edit.start.isoformat(timespec="seconds")}
    try:
        start = datetime.fromisoformat(str(period.get("start")))
    except ValueError:
        repeat["boundsDuration"] = _quantity(decimal(edit.hours), "h")
    else:
        end = start + timedelta(hours=float(edit.hours))
        repeat["boundsPeriod"] = {"start": period["start"], "end": end.isoformat()}


def _bounds_as_run_time(dosage: Mapping[str, Any], repeat: Mapping[str, Any]) -> list[str]:
    """The bounds of a rate alone, which are its run time. Beside a dose or a duration they end the repeats."""
    entries = dosage.get("doseAndRate", [])
    given = [dosage, *(entries if isinstance(entries, list) else [entries])]
    has_dose = any(key.startswith("dose") and key != "doseAndRate" for entry in given for key in entry)
    if has_dose or repeat.keys() & {"duration", "durationMax"}:
        return []
    return [key for key in ("boundsDuration", "boundsPeriod", "boundsRange") if key in repeat]


def _set_amount(entry: dict[str, Any], edit: SetAmount) -> None:
    element = str(edit.amount.path[-1])
    value = decimal(edit.written)
    quantity = entry[element]
    if isinstance(quantity, list):
        quantity = entry[element] = quantity[0]
    if edit.amount.shape == "ratio":
        quantity = quantity["numerator"]
    elif edit.amount.shape == "range":
        low = quantity.get("low")
        high = quantity["high"] = dict(quantity.get("high") or low)
        if edit.amount.low is not None and edit.amount.low * edit.amount.written > edit.amount.value * edit.written:
            quantity["low"] = {**high, "value": value}
        elif edit.unit is not None and low is not None:
            del quantity["low"]
            if (low.get("code"), low.get("unit")) == (high.get("code"), high.get("unit")):
                quantity["low"] = _quantity(low["value"], edit.unit)
        quantity = high
    if edit.unit is not None:
        quantity.clear()
        quantity |= _quantity(value, edit.unit)
    quantity["value"] = value


def _drop_restatements(dosage: dict[str, Any], kept: dict[str, Any], element: str) -> None:
    """Remove the changed amount from the other entries, which would contradict it."""
    what = "dose" if element.startswith("dose") else "rate"
    entries = dosage.get("doseAndRate")
    if not isinstance(entries, list):
        return
    remaining = []
    for entry in entries:
        if entry is not kept and isinstance(entry, dict):
            for key in [k for k in entry if k.startswith(what)]:
                del entry[key]
            if not any(key.startswith(("dose", "rate")) for key in entry):
                continue
        remaining.append(entry)
    dosage["doseAndRate"] = remaining


def _follow(dosage: dict[str, Any], path: Path) -> dict[str, Any]:
    here: Any = dosage
    for part in path:
        if isinstance(part, int):
            here = [item for item in here if isinstance(item, dict)][part] if isinstance(here, list) else here
        else:
            here = here[part]
    found: dict[str, Any] = here
    return found
