"""The fields of the order form as a MedicationRequest, and back where they say all that an order says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

import msgspec

from cds_service.console.words import say
from cds_service.fhir.datatypes import CodeableConcept
from cds_service.figures import show
from cds_service.knowledge import Knowledge
from cds_service.orders import route
from cds_service.orders.carried import Amount, Carried
from cds_service.orders.words import duration
from cds_service.sandbox import orders
from cds_service.sandbox.charts import coded
from cds_service.sandbox.orders import UnreadableOrder
from cds_service.terminology.valuesets import ValueSets
from cds_service.units import exact

Order = dict[str, Any]


class _Misplaced(UnreadableOrder):
    """What stands in the one field belongs into the other; the message says so in the language of the page."""


@dataclass(frozen=True)
class Choice:
    """An entry of a list: its value in the form, what people read, and the FHIR element that it stands for."""

    value: str
    label: str
    concept: Mapping[str, Any]


@dataclass(frozen=True)
class Choices:
    """What the form's lists hold: the words of the sandbox, and the products that the protocols offer."""

    products: Sequence[Choice]
    routes: Sequence[Choice]
    reasons: Sequence[Choice]

    @staticmethod
    def of(knowledge: Knowledge) -> Choices:
        drugs, routes, reasons = (_words(kind) for kind in ("drugs", "routes", "reasons"))
        offered = [
            Choice(name, each.title, _concept(each))
            for part in knowledge.parts
            for name, each in part.protocol.orderables.items()
            if each.kind == "product"
        ]
        return Choices([*drugs, *offered], routes, reasons)


@dataclass(frozen=True)
class Fields:
    """The form as it was sent: texts, as a person typed and chose them."""

    product: str = ""
    route: str = ""
    bolus: str = ""
    rate: str = ""
    duration: str = ""
    reason: str = ""
    prn: bool = False

    @staticmethod
    def sent(form: Mapping[str, str]) -> Fields:
        texts = {each.name: form.get(each.name, "").strip() for each in fields(Fields) if each.name != "prn"}
        return Fields(**texts, prn="prn" in form)

    @property
    def has_dose(self) -> bool:
        return bool(self.bolus or self.rate)


@dataclass(frozen=True)
class Written:
    """The order that fields say, or by field why they say none."""

    order: Order | None
    faults: Mapping[str, str] = field(default_factory=dict)


def write(given: Fields, choices: Choices, patient: str, order_id: str) -> Written:
    """The draft of the fields. Nothing is guessed: what is not understood is said at its field."""
    faults: dict[str, str] = {}
    dosages = []
    asked = [(name, text) for name, text in (("bolus", given.bolus), ("rate", given.rate)) if text]
    for number, (name, text) in enumerate(asked, 1):
        try:
            # What goes on for a time is the infusion; without one it is the doses.
            dosages.append(_instruction(name, text, given.duration if number == len(asked) else ""))
        except _Misplaced as error:
            faults[name] = str(error)
        except UnreadableOrder as error:
            faults[name] = say("not-understood", text=text, says=error)
    product = _chosen(choices.products, given.product)
    if faults or product is None or not dosages:
        return Written(None, faults)
    route = _chosen(choices.routes, given.route)
    for each in dosages:
        if route is not None:
            each["route"] = route.concept
        if given.prn:
            each["asNeededBoolean"] = True
    made: Order = {
        "resourceType": "MedicationRequest",
        "id": order_id,
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": product.concept,
        "subject": {"reference": f"Patient/{patient}"},
    }
    reason = _chosen(choices.reasons, given.reason)
    if reason is not None:
        made["reasonCode"] = [reason.concept]
    return Written(made | {"dosageInstruction": dosages})


def read(order: Mapping[str, Any], choices: Choices) -> Fields | None:
    """The fields that would write this very order; None where it says more, or other things, than they can."""
    try:
        given = _read(order, choices)
        patient = str(order["subject"]["reference"]).removeprefix("Patient/")
        written = write(given, choices, patient, str(order["id"]))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, ArithmeticError):
        return None
    return given if written.order == dict(order) else None


def filled(given: Carried, choices: Choices, valuesets: ValueSets) -> Fields:
    """The fields of a dose that a link carried. A drug or a route that no list has stays open."""
    routes = (each.value for each in choices.routes if _kind(each, valuesets) == given.route)
    dose, rate = given.dose, given.rate
    last = rate or dose
    return Fields(
        product=given.drug if any(each.value == given.drug for each in choices.products) else "",
        route=next(routes, ""),
        bolus=_amount_in_words(dose, dose is not last),
        rate=_amount_in_words(rate, False),
        duration=_time(last.until) if last is not None and last.until is not None else "",
        prn=given.prn,
    )


def _kind(choice: Choice, valuesets: ValueSets) -> str:
    return route.read(msgspec.convert(choice.concept, CodeableConcept), valuesets).kind


def _amount_in_words(given: Amount | None, with_end: bool) -> str:
    if given is None:
        return ""
    times = (("over", given.over), ("every", given.every), ("for", given.until if with_end else None))
    return " ".join([f"{given.value} {given.unit}", *(f"{word} {_time(time)}" for word, time in times if time)])


def _time(minutes: str) -> str:
    return duration(Fraction(minutes))


def _read(order: Mapping[str, Any], choices: Choices) -> Fields:
    texts = {"bolus": "", "rate": "", "duration": ""}
    dosages = order.get("dosageInstruction") or []
    for number, each in enumerate(dosages, 1):
        (amount,) = each["doseAndRate"]
        kind = "rate" if "rateQuantity" in amount else "bolus"
        repeat = (each.get("timing") or {}).get("repeat") or {}
        bounds = repeat.get("boundsDuration")
        says = _quantity(amount.get("rateQuantity") or amount["doseQuantity"])
        if "duration" in repeat:
            says += f" over {_number(repeat['duration'])} {repeat['durationUnit']}"
        if "period" in repeat:
            says += f" every {_number(repeat['period'])} {repeat['periodUnit']}"
        if bounds is not None and number == len(dosages):
            texts["duration"] = _quantity(bounds)
        elif bounds is not None:
            says += f" for {_quantity(bounds)}"
        texts[kind] = says
    reasons = order.get("reasonCode") or [None]
    return Fields(
        product=_value(choices.products, order.get("medicationCodeableConcept")),
        route=_value(choices.routes, dosages[0].get("route")),
        reason=_value(choices.reasons, reasons[0]),
        prn=dosages[0].get("asNeededBoolean") is True,
        **texts,
    )


def _instruction(name: str, text: str, duration: str) -> Order:
    """One dosageInstruction. Raises UnreadableOrder."""
    made: Order = orders.instruction(f"{text} for {duration}" if duration else text)
    is_rate = "rateQuantity" in made["doseAndRate"][0]
    if is_rate is not (name == "rate"):
        raise _Misplaced(say("that-is-a-rate" if is_rate else "a-rate-has-a-time"))
    return made


def _chosen(choices: Sequence[Choice], value: str) -> Choice | None:
    return next((each for each in choices if each.value == value), None)


def _value(choices: Sequence[Choice], concept: Any) -> str:
    return next((each.value for each in choices if each.concept == concept), "")


def _quantity(given: Mapping[str, Any]) -> str:
    return f"{_number(given['value'])} {given['unit']}"


def _number(value: Any) -> str:
    return show(exact(value))


def _words(kind: str) -> list[Choice]:
    found = []
    for word, shorthand in orders.vocabulary()[kind].items():
        concept = coded(shorthand)
        display = str(concept["coding"][0].get("display", word))
        found.append(Choice(word, display[:1].upper() + display[1:], concept))
    return found


def _concept(product: Any) -> Mapping[str, Any]:
    codings = [{"system": each.system, "code": each.code, "display": each.display} for each in product.codings]
    return {"coding": codings, "text": product.title}
