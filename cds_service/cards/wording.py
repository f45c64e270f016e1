"""The words of a rule's card without a patient: limits as they are in force, ‹names› for what an order fills in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from jinja2 import UndefinedError

from cds_service.cards.texts import Text, unescaped
from cds_service.protocol.limits import as_written
from cds_service.protocol.model import Protocol, Rule

_MISSING = re.compile(r"'(\w+)' is undefined")


@dataclass(frozen=True, slots=True)
class Wording:
    """What one tier's card says. `detail` is plain text of one paragraph."""

    summary: str
    detail: str


def wording(rule: Rule, tier: str, text: Text, protocol: Protocol, day: date) -> Wording:
    """The card of one tier. A condition in the text on something unknown takes the branch of its being there."""
    values = {name.replace("-", "_"): as_written(entry, day) for name, entry in protocol.limits.items()}
    limits = [protocol.limits[name] for name in rule.tier(tier).limits]
    if len({entry.unit for entry in limits}) == 1:  # of limits in several units, which one is meant is not known
        values |= {"limit": as_written(limits[0], day), "unit": limits[0].unit}
    summary = _filled(lambda known: text.summary(tier, known), values)
    detail = _filled(lambda known: text.detail(tier, known), values)
    return Wording(summary, " ".join(unescaped(detail).split()))


def _filled(render: Callable[[dict[str, str]], str], values: dict[str, str]) -> str:
    """The rendered text, every unknown name standing for itself."""
    values = dict(values)
    while True:
        try:
            return render(values)
        except UndefinedError as error:
            missing = _MISSING.match(str(error))
            if missing is None or missing[1] in values:
                raise
            values[missing[1]] = f"‹{missing[1].replace('_', ' ')}›"
