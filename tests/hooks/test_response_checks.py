"""The checks of an answer find what is broken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.invariants import VIOLATIONS
from tests.hooks.client import Service, updates
from tests.hooks.conformance import INVARIANTS, faults
from tests.scenarios.build import hook_request

# The checks themselves ---------------------------------------------------------------------------------------------


def _good(service: Service) -> dict[str, Any]:
    """Two cards; update and delete actions, alternatives, override reasons."""
    scenario = {"orders": [{"rate": "1.2 mg/kg/h"}, {"dose": "100 mg"}], "patient": {"missing": ["allergies"]}}
    return service.call(hook_request(scenario))


Breaking = Callable[[dict[str, Any]], object]
BROKEN: dict[str, tuple[str, Breaking]] = {
    "no cards": ("74", lambda a: a.pop("cards")),
    "cards of another type": ("74", lambda a: a.update(cards={})),
    "an element that is unknown": ("74", lambda a: a.update(other=1)),
    "empty systemActions": ("3", lambda a: a.update(systemActions=[])),
    "a null": ("3", lambda a: a["cards"][0].update(detail=None)),
    "an empty list": ("3", lambda a: a["cards"][0].update(links=[])),
    "a null in a resource": ("3", lambda a: _first(a, "update")["resource"].update(note=None)),
    "no uuid": ("80", lambda a: a["cards"][0].pop("uuid")),
    "a uuid that is none": ("80", lambda a: a["cards"][0].update(uuid="1")),
    "one uuid twice": ("80", lambda a: a["cards"][0].update(uuid=a["cards"][1]["uuid"])),
    "a long summary": ("83", lambda a: a["cards"][0].update(summary="x" * 140)),
    "a summary of two lines": ("83", lambda a: a["cards"][0].update(summary="a\nb")),
    "no detail": ("85", lambda a: a["cards"][0].pop("detail")),
    "another indicator": ("88", lambda a: a["cards"][0].update(indicator="hard-stop")),
    "no source": ("105", lambda a: a["cards"][0].pop("source")),
    "a relative source url": ("107", lambda a: a["cards"][0]["source"].update(url="/protocol/x")),
    "no topic": ("115", lambda a: a["cards"][0]["source"].pop("topic")),
    "a topic of many words": ("contract", lambda a: a["cards"][0]["source"]["topic"].update(code="a b")),
    "no selectionBehavior": ("93", lambda a: a["cards"][0].pop("selectionBehavior")),
    "two changes of one order, any of them": ("95", lambda a: a["cards"][0].update(selectionBehavior="any")),
    "no suggestions": ("96", lambda a: a["cards"][0].pop("suggestions")),
    "no label": ("117", lambda a: a["cards"][0]["suggestions"][0].pop("label")),
    "no suggestion uuid": ("119", lambda a: a["cards"][0]["suggestions"][0].pop("uuid")),
    "no actions": ("124", lambda a: a["cards"][0]["suggestions"][0].pop("actions")),
    "another action": ("127", lambda a: _first(a, "update").update(type="UPDATE")),
    "no description": ("128", lambda a: _first(a, "update").pop("description")),
    "a resource as text": ("130", lambda a: _first(a, "update").update(resource="{}")),
    "an invalid resource": ("130", lambda a: _first(a, "update")["resource"].update(category={"text": "a"})),
    "a number as text": ("130", lambda a: _rate(a).update(value="0.5")),
    "an update without an id": ("132", lambda a: _first(a, "update")["resource"].pop("id")),
    "a delete with a resource": ("133", lambda a: _first(a, "delete").update(resource={"resourceType": "Basic"})),
    "a delete of nothing": ("134", lambda a: _first(a, "delete").update(resourceId="MedicationRequest")),
    "an update with a resourceId": ("135", lambda a: _first(a, "update").update(resourceId="MedicationRequest/o1")),
    "no override reasons": ("contract", lambda a: a["cards"][0].pop("overrideReasons")),
    "a reason without display": ("100", lambda a: a["cards"][0]["overrideReasons"][0].pop("display")),
    "a reason twice": ("98", lambda a: a["cards"][0]["overrideReasons"].append(a["cards"][0]["overrideReasons"][0])),
    "a link without label": ("138", lambda a: a["cards"][0].update(links=[{"url": "http://x.org", "type": "smart"}])),
    "a link of another type": ("142", lambda a: a["cards"][0].update(links=[_link(type="relative")])),
    "a link to nowhere": ("139", lambda a: a["cards"][0].update(links=[_link(url="x")])),
    "an absolute link with context": ("147", lambda a: a["cards"][0].update(links=[_link(appContext="x")])),
    "no extension": ("contract", lambda a: a["cards"][0].pop("extension")),
}  # fmt: skip


def _link(**other: str) -> dict[str, str]:
    return {"label": "a", "url": "https://example.org", "type": "absolute"} | other


def _first(answer: dict[str, Any], kind: str) -> dict[str, Any]:
    actions = [a for c in answer["cards"] for s in c.get("suggestions", ()) for a in s["actions"]]
    action: dict[str, Any] = next(action for action in actions if action["type"] == kind)
    return action


def _rate(answer: dict[str, Any]) -> dict[str, Any]:
    quantity: dict[str, Any] = updates(answer)[0]["dosageInstruction"][0]["doseAndRate"][0]["rateQuantity"]
    return quantity


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_answer_does_not_pass(what: str, service: Service) -> None:
    number, breaking = BROKEN[what]
    answer = copy.deepcopy(_good(service))
    assert faults(answer) == []
    breaking(answer)
    assert [fault for fault in faults(answer) if fault.startswith(f"{number}:")]


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_an_invariant_is_broken_by_what_breaks_it(invariant: str, service: Service) -> None:
    says = f"{invariant}: {INVARIANTS[invariant]}"
    assert says not in faults(_good(service))
    assert says in faults({"cards": [VIOLATIONS[invariant]]})
