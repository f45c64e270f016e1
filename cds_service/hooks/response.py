"""The response: cards as JSON, and what the whole request could not check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from cds_service import bounds
from cds_service.cards.acknowledged import Recorded
from cds_service.cards.model import EXTENSION, Response
from cds_service.cards.texts import plain
from cds_service.protocol.model import Rule
from cds_service.rules.judged import Judged
from cds_service.rules.outcome import NOT_IN_TIME, Reason, gravest

_ENCODER = msgspec.json.Encoder(decimal_format="number")
EMPTY = Response(cards=[])


def not_checked(judged: Sequence[Judged], recorded: Recorded) -> list[dict[str, str]]:
    """Each rule that could not be told, with the reasons and the gravest kind of them, once."""
    found: dict[str, dict[Reason, None]] = {}
    for each in judged:
        for outcome in each.telling:
            if outcome.status == "could-not-tell":
                found.setdefault(outcome.rule.id, {}).update(dict.fromkeys(outcome.reasons))
    return [
        {"rule": rule, "reason": "; ".join(_shown(reasons, recorded)), "kind": gravest(reasons)}
        for rule, reasons in found.items()
    ]


def _shown(reasons: Mapping[Reason, None], recorded: Recorded) -> list[str]:
    says = dict.fromkeys(reason.says for reason in reasons)
    return [plain(recorded(each)) for each in islice(says, bounds.LINES)]


def quiet(judged: Sequence[Judged], recorded: Recorded) -> list[dict[str, str]]:
    """Each rule that is quiet for an order because it was overridden with a reason, or by a site's filter."""
    return [
        {
            "rule": outcome.rule.id,
            "order": plain(each.order, bounds.REFERENCE),
            "reason": plain(recorded(outcome.because or "")),
        }
        for each in judged
        for outcome in each.telling
        if outcome.status == "suppressed" and (outcome.overridden or outcome.filtered) is not None
    ]


def extension(
    judged: Sequence[Judged], version: str, overlay: str | None, recorded: Recorded, late: Sequence[Rule] = ()
) -> dict[str, Any]:
    """What the whole response says to machines; `quiet` is there only where something is.

    `late` are rules that were not reached for any order. `recorded` says it in the words that machines are told.
    """
    unchecked = [
        *not_checked(judged, recorded),
        *({"rule": rule.id, "reason": recorded(NOT_IN_TIME.says)} for rule in late),
    ]
    said: dict[str, Any] = {"protocol": {"version": version, "overlay": overlay}, "notChecked": unchecked}
    if silent := quiet(judged, recorded):
        said["quiet"] = silent
    return {EXTENSION: said}


def encode(response: Response) -> bytes:
    """JSON, with decimals as exact numbers."""
    return _ENCODER.encode(response)
