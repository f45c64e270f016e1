"""The first offer of a response, taken: what is wrong with the order that it leads to."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any

from cds_service.advise import Advice
from cds_service.cards.model import Action
from cds_service.orders.dosage import Cap
from cds_service.orders.regimen import FIGURES
from cds_service.rules.judged import Judged
from cds_service.rules.outcome import Outcome

OF_THE_DOSE = {"dose", "frequency"}
"""Categories of rules that another dose ends …"""
AND_TIERS = {
    ("age-older-adult", "high-dose"),
    ("liver-moderate-labs", "above-part"),
    ("restart-rate-too-high", "not-lower"),
    ("restart-rate-too-high", "above-maximum"),
}
"""… and the tiers of other rules that one ends too. A symptom stays until somebody has looked at it."""
Ask = Callable[[Mapping[str, Any]], Advice]


def faults(request: Mapping[str, Any], made: Advice, ask: Ask) -> list[str]:
    """All that is wrong with what is offered, and with the order after its first offer was taken.

    `ask` judges a request again. What a chart is told when it is opened is no draft, and cannot be sent again.
    """
    found = list(_in_wrong_number(made))
    orders = {each.order: each for each in made.judged}
    touching = (action for action in _actions(made) if _touched(action) in orders)
    first = next(touching, None)
    if first is None or first.resource is None or "draftOrders" not in request["context"]:
        return found
    changed = dict(first.resource)
    taken = copy.deepcopy(dict(request))
    (entry,) = (e for e in taken["context"]["draftOrders"]["entry"] if e["resource"].get("id") == changed["id"])
    changes_the_dose = _doses(entry["resource"]) != _doses(changed)
    entry["resource"] = changed
    before = orders[_touched(first)]
    (after,) = (each for each in ask(taken).judged if each.order == before.order)
    if changes_the_dose:
        found += [f"{each.rule.id} is left" for each in after.outcomes if _objects(each)]
    return found + list(_raised(before, after))


def _doses(order: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The amounts and times of an order but for when it ends: an end leaves the dose as it is."""
    doses = []
    given = order.get("dosageInstruction") or []
    for each in [given] if isinstance(given, dict) else given:
        repeat = dict((each.get("timing") or {}).get("repeat") or {})
        for end in ("boundsDuration", "boundsPeriod", "boundsRange"):
            repeat.pop(end, None)
        doses.append({name: each.get(name) for name in ("doseAndRate", "maxDosePerPeriod")} | {"repeat": repeat})
    return doses


def _actions(made: Advice) -> Iterator[Action]:
    for card in made.response.cards:
        for suggestion in card.suggestions or ():
            yield from suggestion.actions


def _touched(action: Action) -> str:
    """The order, as Type/id."""
    return action.resource_id or f"MedicationRequest/{(action.resource or {}).get('id')}"


def _objects(outcome: Outcome) -> bool:
    if outcome.status != "fired" or outcome.severity not in ("warning", "critical"):
        return False
    return outcome.rule.category in OF_THE_DOSE or (outcome.rule.id, outcome.tier) in AND_TIERS


def _in_wrong_number(made: Advice) -> Iterator[str]:
    """Of each order at most two other doses, and its removal once and last."""
    kinds: dict[str, list[str]] = {}
    for card in made.response.cards:
        for suggestion in card.suggestions or ():
            for action in suggestion.actions:
                if action.type == "delete":
                    kinds.setdefault(str(action.resource_id), []).append("removal")
                elif action.type == "update" and suggestion.label.startswith("Change to"):
                    resource = action.resource or {}
                    kinds.setdefault(f"MedicationRequest/{resource['id']}", []).append("change")
    for order, offered in kinds.items():
        if offered.count("change") > 2 or "removal" in offered[:-1]:
            yield f"{order} is offered {offered}"


def _raised(before: Judged, after: Judged) -> Iterator[str]:
    """The figures that are higher than before. A range that had no upper end gets one."""
    for old, new in zip(before.steps, after.steps, strict=True):
        if any(amount is not None and amount.open_ended for amount in (old.dose, old.rate)):
            continue
        for unit, figure in FIGURES.items():
            then, now = figure(old), figure(new)
            is_told = unit.endswith("/h") is not old.finite
            if is_told and now is not None and (then is None or now > then):
                yield f"{now} {unit} are more than {then}"
        if old.written.cap is not None and not _is_kept(old.written.cap, new.written.cap):
            yield f"a maximum of {old.written.cap} became {new.written.cap}"


def _is_kept(old: Cap, new: Cap | None) -> bool:
    """Whether a maximum is still there and allows no more; one in mL or mg/kg may have become one in mg.

    One for a shorter time allows as much as its periods that the longer time touches.
    """
    if new is None:
        return False
    if new.amount.dimension != old.amount.dimension:
        return new.minutes >= old.minutes
    return new.amount.value * ceil(old.minutes / new.minutes) <= old.amount.value
