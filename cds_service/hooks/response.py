"""The response: cards as JSON, and what the whole request could not check."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from cards.model import EXTENSION, Response
from cards.texts import plain
from cds_service import bounds
from cds_service.protocol.model import Rule
from cds_service.rules.judged import Judged
from cds_service.rules.outcome import NOT_IN_TIME

_ENCODER = msgspec.json.Encoder(decimal_format="number")
EMPTY = Response(cards=[])


def not_checked(judged: Sequence[Judged]) -> list[dict[str, str]]:
    """Each rule that could not be told, with the reasons, once."""
    reasons: dict[str, dict[str, None]] = {}
    for each in judged:
        for outcome in each.outcomes:
            if outcome.status == "could-not-tell":
                says = reasons.setdefault(outcome.rule.id, {})
                says |= dict.fromkeys(reason.says for reason in outcome.reasons)
    return [{"rule": rule, "reason": "; ".join(_shown(says))} for rule, says in reasons.items()]


def _shown(says: dict[str, None]) -> list[str]:
    return [plain(each) for each in islice(says, bounds.LINES)]


def quiet(judged: Sequence[Judged]) -> list[dict[str, str]]:
    """Each rule that is quiet for an order because it was overridden with a reason."""
    return [
        {
            "rule": outcome.rule.id,
            "order": plain(each.order, bounds.REFERENCE),
            "reason": plain(outcome.because or ""),
        }
        for each in judged
        for outcome in each.outcomes
        if outcome.status == "suppressed" and outcome.overridden is not None
    ]


def extension(
    judged: Sequence[Judged], version: str, overlay: str | None, late: Sequence[Rule] = ()
) -> dict[str, Any]:
    """What the whole response says to machines; `quiet` is there only where something is.

    `late` are rules that were not reached for any order.
    """
    unchecked = [*not_checked(judged), *({"rule": rule.id, "reason": NOT_IN_TIME.says} for rule in late)]
    said: dict[str, Any] = {"protocol": {"version": version, "overlay": overlay}, "notChecked": unchecked}
    if silent := quiet(judged):
        said["quiet"] = silent
    return {EXTENSION: said}


def encode(response: Response) -> bytes:
    """JSON, with decimals as exact numbers."""
    return _ENCODER.encode(response)
