"""Every answer of this tree to the scenarios and the measured requests: python -m bench.answers > FILE.

Two trees decide alike where their files are equal: `diff` names the first request for which they are not. Each
scenario is asked as it stands, at the other hook of an order, and without one of its lists, another one for each
scenario. The time is that of the scenarios, so that nothing but the code differs; random identifiers are left out.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import msgspec

from bench.bodies import measured
from cds_service.advise import advise, explain
from cds_service.fhir import lenient
from cds_service.fhir.client import NoSource
from cds_service.hooks.errors import HookError
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge, load
from cds_service.rules.outcome import Outcome
from tests.scenarios.build import NOW, hook_request, scenarios

_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ORDER_HOOKS = {"order-select": "order-sign", "order-sign": "order-select"}


def main(out: TextIO) -> None:
    knowledge = load()
    for name, hook, body in _requests():
        out.write(f"{name}\t{hook}\t{_RANDOM.sub('random', _answer(body, hook, knowledge))}\n")


def _requests() -> Iterator[tuple[str, str, bytes]]:
    for number, (file, scenario) in enumerate(scenarios()):
        request = hook_request(scenario)
        name = f"{file}: {scenario['name']}"
        for hook, changed, said in _variants(request, number):
            yield f"{name}{said}", hook, lenient.encode(changed)
    for each in measured(NOW)[0]:
        yield f"{each.patient}, {each.order}", "order-sign", each.body


def _variants(request: dict[str, Any], number: int) -> Iterator[tuple[str, dict[str, Any], str]]:
    hook = request["hook"]
    yield hook, request, ""
    if other := _ORDER_HOOKS.get(hook):
        selected = copy.deepcopy(request)
        selected["hook"] = other
        if other == "order-select":
            entries = selected["context"].get("draftOrders", {}).get("entry", [])
            references = (f"{e['resource'].get('resourceType')}/{e['resource'].get('id')}" for e in entries)
            selected["context"].setdefault("selections", list(references))
        yield other, selected, f" ({other})"
    if keys := sorted(request.get("prefetch", {})):
        missing = copy.deepcopy(request)
        del missing["prefetch"][keys[number % len(keys)]]
        yield hook, missing, f" (without {keys[number % len(keys)]})"


def _answer(body: bytes, hook: str, knowledge: Knowledge) -> str:
    """The response, and how every rule ended."""
    try:
        request = parse(body, hook)
        answer = encode(advise(request, hook == "order-sign", knowledge, NoSource(), NOW))
        judged, notes = explain(request, hook == "order-sign", knowledge, NoSource(), NOW)
    except HookError as error:
        return f"{type(error).__name__}: {error}"
    outcomes = [_outcome(outcome) for each in judged for outcome in each.outcomes]
    return f"{answer.decode()}\t{msgspec.json.encode([outcomes, notes]).decode()}"


def _outcome(o: Outcome) -> list[Any]:
    figure = None if o.figure is None else str(o.figure)
    rest = [o.facts, dict(o.values), o.reasons, o.exceptions]
    return [o.rule.id, o.status, o.tier, o.severity, o.because, figure, *rest]


if __name__ == "__main__":
    main(sys.stdout)
