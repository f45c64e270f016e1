"""An order as a person types it, `ketamine 0.6 mg/kg/h IV for 24 h for pain`, as a MedicationRequest with codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib import resources

from cds_service import units
from cds_service.errors import CdsError
from cds_service.orders.measure import DOSE_DIMENSIONS, RATE_DIMENSIONS
from cds_service.protocol.parsing import parse_yaml
from cds_service.sandbox.charts import Resource, coded, quantity

_NUMBER = r"(\d{1,6}(?:\.\d{1,6})?)"
_TIME = rf"{_NUMBER} ?(min|h|d|wk)"
_AMOUNT = re.compile(rf"{_NUMBER} ?([^\s\d]\S*)")
_OVER = re.compile(rf"over {_TIME}\b", re.IGNORECASE)
_FOR = re.compile(rf"for {_TIME}\b", re.IGNORECASE)
_EVERY = re.compile(rf"every {_TIME}\b", re.IGNORECASE)
_DOSE = '"AMOUNT UNIT over N min, every N h, for N h"'
_FORM = '"DRUG AMOUNT UNIT ROUTE over N min, every N h, for N h, for REASON"; AMOUNT and UNIT are needed'


class UnreadableOrder(CdsError):
    """What was typed is no order; the message says what is not understood and what would be."""


def read(text: str, patient: str, order_id: str) -> Resource:
    """The draft that `text` says. Every word must be understood. Raises UnreadableOrder.

    Without a drug it is ketamine, without a reason there is none.
    """
    rest = _Rest(text)
    repeat = _repeat(rest)
    reason = rest.word("reasons", before="for ")
    route = rest.word("routes")
    amount = _amount(rest)
    drug = rest.word("drugs") or vocabulary()["drugs"]["ketamine"]
    if rest.left:
        raise UnreadableOrder(f"{rest.left!r} is not understood in the order; it may say {_FORM}; {_known()}")
    dosage = _dosage(amount, repeat)
    if route:
        dosage["route"] = coded(route)
    made: Resource = {
        "resourceType": "MedicationRequest",
        "id": order_id,
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": coded(drug),
        "subject": {"reference": f"Patient/{patient}"},
    }
    if reason:
        made["reasonCode"] = [coded(reason)]
    return made | {"dosageInstruction": [dosage]}


def instruction(text: str) -> Resource:
    """The dosageInstruction that `AMOUNT UNIT over N min, every N h, for N h` says. Raises UnreadableOrder."""
    rest = _Rest(text)
    repeat = _repeat(rest)
    amount = _amount(rest)
    if rest.left:
        raise UnreadableOrder(f"{rest.left!r} is not understood; it may say {_DOSE}")
    return _dosage(amount, repeat)


def _dosage(amount: Resource, repeat: Resource) -> Resource:
    return {"doseAndRate": [amount], **({"timing": {"repeat": repeat}} if repeat else {})}


class _Rest:
    """The words that are not understood yet."""

    def __init__(self, text: str) -> None:
        self.left = " ".join(text.split())

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.search(self.left)
        if found:
            self.left = " ".join((self.left[: found.start()] + " " + self.left[found.end() :]).split(" ")).strip(" ,")
            self.left = " ".join(self.left.split())
        return found

    def word(self, kind: str, before: str = "") -> str | None:
        """The shorthand of the first word of that kind."""
        known = vocabulary()[kind]
        found = self.take(re.compile(rf"(?<!\S){before}({'|'.join(known)})(?![^\s,])", re.IGNORECASE))
        return known[found[1].lower()] if found else None


def _repeat(rest: _Rest) -> Resource:
    made: Resource = {}
    if over := rest.take(_OVER):
        made |= {"duration": Decimal(over[1]), "durationUnit": over[2]}
    if bounds := rest.take(_FOR):
        made["boundsDuration"] = quantity(bounds[1], bounds[2])
    if every := rest.take(_EVERY):
        made |= {"frequency": 1, "period": Decimal(every[1]), "periodUnit": every[2]}
    return made


def _amount(rest: _Rest) -> Resource:
    found = rest.take(_AMOUNT)
    if found is None:
        raise UnreadableOrder(f"the order names no amount; it may say {_FORM}")
    number, unit = found[1], found[2].rstrip(",")
    for element, dimensions in (("rateQuantity", RATE_DIMENSIONS), ("doseQuantity", DOSE_DIMENSIONS)):
        if units.is_of(unit, *dimensions):
            return {element: quantity(number, units.find(unit, *dimensions).code)}
    raise UnreadableOrder(f"{unit!r} is no unit of a dose or a rate, such as mg, mg/kg, mg/h or mg/kg/h")


@cache
def vocabulary() -> Mapping[str, Mapping[str, str]]:
    """The shorthand of every word that may be said: drugs, routes, reasons."""
    text = resources.files(__package__).joinpath("orders.yaml").read_text("utf-8")
    known: Mapping[str, Mapping[str, str]] = parse_yaml(text, "orders.yaml")
    return known


def _known() -> str:
    return "; ".join(f"{kind}: {', '.join(words)}" for kind, words in vocabulary().items())
