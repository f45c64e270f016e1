"""What a checkout of this repository says of each request: a line of JSON in, one out.

python -P tests/differential/answering.py runs in a checkout, which PYTHONPATH names. It imports nothing else of
`tests`, as it would find that of the checkout, and alone knows by which names a checkout is called.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
"""The moment at which the scenarios take place."""

Answer = dict[str, Any]
"""Order and rule -> `verdict` (status, severity and tier), `offers` (kind and actions), `words`; `response`: the
bytes. `failed` alone where the checkout raised."""


def answering() -> Callable[[str, bytes], Answer]:
    """(hook, body) -> the answer of the checkout in which this runs."""
    from cds_service.advise import advise, explain
    from cds_service.hooks.errors import HookError
    from cds_service.hooks.request import parse
    from cds_service.hooks.response import encode
    from cds_service.knowledge import load

    try:
        from cds_service.fhir.source import NoSource
    except ModuleNotFoundError:  # a checkout from before 2026-11-29
        from cds_service.fhir.client import NoSource  # type: ignore[attr-defined,no-redef,assignment,unused-ignore]

    knowledge, source = load(), NoSource()
    said = getattr(knowledge.texts, "recorded", str)  # a checkout without it says all in words at once

    def answer(hook: str, body: bytes) -> Answer:
        signing = hook == "order-sign"
        try:
            request = parse(body, hook)
            judged, _ = explain(request, signing, knowledge, source, NOW)
            response = encode(advise(request, signing, knowledge, source, NOW)).decode()
        except HookError as error:
            return {"rules": {}, "response": str(error)}
        except Exception as error:  # what failed once is compared as well
            return {"failed": type(error).__name__}
        rules = {f"{order.order} {each.rule.id}": _ended(each, said) for order in judged for each in order.outcomes}
        return {"rules": rules, "response": response}

    return answer


def _ended(outcome: Any, said: Callable[[Any], str]) -> dict[str, Any]:
    fired = outcome.status == "fired"
    return {
        "verdict": [outcome.status, outcome.severity if fired else None, outcome.tier if fired else None],
        "offers": [
            [each.kind, [[a.type, a.resource, a.resource_id] for a in each.actions]] for each in outcome.proposals
        ],
        "words": [
            [{name: said(value) for name, value in each.values.items()} for each in outcome.proposals],
            sorted([r.fact, said(r.says), r.kind] for r in outcome.reasons),
            {name: said(value) for name, value in outcome.values.items()},
            [said(fact.says) for fact in outcome.facts],
            str(outcome.figure),
            [limit.id for limit in outcome.limits],
        ],
    }


def main() -> None:
    import msgspec

    answer = answering()
    for line in sys.stdin.buffer:
        hook, body = json.loads(line)
        # What a checkout puts into a resource may be of types of its own, decimals among them.
        print(msgspec.json.encode(answer(hook, body.encode()), enc_hook=str).decode(), flush=True)


if __name__ == "__main__":
    main()
