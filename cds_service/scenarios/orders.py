"""A scenario's orders as MedicationRequests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cds_service.scenarios.coded import (
    CODES,
    DRUGS,
    NOW,
    PATIENT,
    REASONS,
    ROUTES,
    RXNORM,
    coded,
    concept,
    moment,
    quantity,
    refuse_rest,
)

STEP_KEYS = {
    "dose", "rate", "over", "over at most", "for", "from", "until", "every", "times", "timing", "on days", "push",
    "as needed", "as needed for", "at most", "text", "also", "sequence", "route", "entries", "raw", "starts", "count",
}  # fmt: skip
ORDER_KEYS = STEP_KEYS | {
    "steps", "drug", "id", "status", "intent", "subject", "indication", "strength", "diluent", "supply", "group",
    "replaces",
}  # fmt: skip


def _amount(kind: str, text: Any) -> dict[str, Any]:
    """A quantity, a range (`0.1 to 0.6 mg/kg/h`, `from 0.1 mg/kg/h`) or a ratio (`500 mg per 24 h`)."""
    if isinstance(text, dict):
        return {f"{kind}Quantity": text}
    text = str(text)
    if " per " in text:
        above, below = text.split(" per ")
        return {"rateRatio": {"numerator": quantity(above), "denominator": quantity(below)}}
    if text.startswith("from "):
        return {f"{kind}Range": {"low": quantity(text.removeprefix("from "))}}
    if " to " in text:
        low, high = text.split(" to ")
        unit = quantity(high)["unit"]
        return {f"{kind}Range": {"low": quantity(f"{low} {unit}"), "high": quantity(high)}}
    return {f"{kind}Quantity": quantity(text)}


def _repeat(step: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    repeat: dict[str, Any] = {}
    if "over" in step:
        over = quantity(step["over"])
        repeat |= {"duration": over["value"], "durationUnit": over["unit"]}
    if "over at most" in step:
        longest = quantity(step["over at most"])
        repeat |= {"durationMax": longest["value"], "durationUnit": longest["unit"]}
    if "for" in step:
        repeat["boundsDuration"] = quantity(step["for"])
    if "from" in step or "until" in step:
        bounds = {"start": step.get("from"), "end": step.get("until")}
        repeat["boundsPeriod"] = {name: moment(text, now) for name, text in bounds.items() if text is not None}
    if "every" in step:
        every = quantity(step["every"])
        repeat |= {"frequency": 1, "period": every["value"], "periodUnit": every["unit"]}
    if "times" in step:
        frequency, period = str(step["times"]).split(" per ")
        every = quantity(period)
        repeat |= {"frequency": int(frequency), "period": every["value"], "periodUnit": every["unit"]}
    if "count" in step:
        repeat["count"] = step["count"]
    if "on days" in step:
        repeat["dayOfWeek"] = step["on days"]
    return repeat


def dosage(step: Mapping[str, Any], now: datetime = NOW) -> dict[str, Any]:
    """One dosageInstruction."""
    refuse_rest(step.keys() - STEP_KEYS, "a step", STEP_KEYS)
    made: dict[str, Any] = {}
    entry: dict[str, Any] = {}
    for kind in ("dose", "rate"):
        if kind in step:
            entry |= _amount(kind, step[kind])
    if entry:
        made["doseAndRate"] = [entry]
    if "entries" in step:
        made["doseAndRate"] = [
            ({"type": {"text": each["type"]}} if "type" in each else {})
            | {k: v for kind in ("dose", "rate") if kind in each for k, v in _amount(kind, each[kind]).items()}
            for each in step["entries"]
        ]
    timing: dict[str, Any] = {}
    if repeat := _repeat(step, now):
        timing["repeat"] = repeat
    if "timing" in step:
        timing["code"] = {"text": step["timing"]}
    if "starts" in step:
        starts = step["starts"] if isinstance(step["starts"], list) else [step["starts"]]
        timing["event"] = [moment(each, now) for each in starts]
    if timing:
        made["timing"] = timing
    route = step.get("route", "intravenous")
    if route != "unstated":
        made["route"] = coded(route, ROUTES)
    if step.get("push"):
        made["method"] = concept(*CODES.sent(CODES.push))
    if step.get("as needed"):
        made["asNeededBoolean"] = True
    if "as needed for" in step:
        made["asNeededCodeableConcept"] = {"text": step["as needed for"]}
    if "also" in step:
        made["additionalInstruction"] = [{"text": step["also"]}]
    if "at most" in step:
        most, period = str(step["at most"]).split(" per ")
        made["maxDosePerPeriod"] = {"numerator": quantity(most), "denominator": quantity(period)}
    for key in ("text", "sequence"):
        if key in step:
            made[key] = step[key]
    return {**made, **step.get("raw", {})}


def medication_request(order: Mapping[str, Any], number: int, now: datetime = NOW) -> dict[str, Any]:
    """One draft. `steps` are dosage instructions; an order with one step may name its parts directly."""
    order = dict(order)
    step_keys = {key for key in order if key in STEP_KEYS and key != "raw"}
    steps = order.pop("steps", None)
    if steps is None:
        steps = [{key: order.pop(key) for key in step_keys}] if step_keys else []
    drug = order.pop("drug", CODES.usual_drug)
    made: dict[str, Any] = {
        "resourceType": "MedicationRequest",
        "id": order.pop("id", f"o{number}"),
        "status": order.pop("status", "draft"),
        "intent": order.pop("intent", "order"),
        "subject": {"reference": order.pop("subject", f"Patient/{PATIENT}")},
        "dosageInstruction": [dosage(step, now) for step in steps],
    }
    if not made["dosageInstruction"]:
        del made["dosageInstruction"]
    reasons = order.pop("indication", CODES.usual_reason)
    reasons = reasons if isinstance(reasons, list) else [reasons]
    if reasons != ["none"]:
        made["reasonCode"] = [coded(reason, REASONS) for reason in reasons]
    strength, diluent = order.pop("strength", None), order.pop("diluent", None)
    if strength is None:
        made["medicationCodeableConcept"] = coded(drug, DRUGS, RXNORM)
    else:
        made["medicationReference"] = {"reference": "#m"}
        made["contained"] = [_medication(drug, strength, diluent)]
    supply = order.pop("supply", "24 h")
    if supply != "none":
        made["dispenseRequest"] = {"expectedSupplyDuration": quantity(supply)}
    if "group" in order:
        made["groupIdentifier"] = {"system": "urn:example:groups", "value": str(order.pop("group"))}
    if "replaces" in order:
        made["priorPrescription"] = {"reference": f"MedicationRequest/{order.pop('replaces')}"}
    made |= order.pop("raw", {})
    refuse_rest(order, "an order", ORDER_KEYS)
    return made


def _medication(drug: Any, strength: str, diluent: bool | None) -> dict[str, Any]:
    above, _, below = str(strength).partition(" per ")
    ratio = {"numerator": quantity(above), "denominator": quantity(below or "1 mL")}
    if not below:
        amount = quantity(above)
        mass, volume = amount["unit"].split("/")
        ratio = {"numerator": quantity(f"{amount['value']} {mass}"), "denominator": quantity(f"1 {volume}")}
    ingredients = [{"itemCodeableConcept": coded(drug, DRUGS, RXNORM), "strength": ratio}]
    if diluent:
        ingredients.append({"itemCodeableConcept": concept(*CODES.sent(CODES.diluent))})
    return {"resourceType": "Medication", "id": "m", "code": {"text": "infusion"}, "ingredient": ingredients}
