"""What a replay may not show, as one writes it: a measure, a comparison, a number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cds_service.errors import CdsError

MEASURES = {
    "interruptive-per-100": "cards of findings that interrupt, for 100 orders, under the new policy",
    "new-interruptive-per-100": "how many more that are than under the old one",
    "silent-criticals": "critical findings of the old policy that the new one does not make, but for rules that it "
    "switches off",
    "switched-off-criticals": "critical findings of the old policy by rules that the new one switches off",
    "could-not-tell-per-100": "rules that could not be told, for 100 orders, under the new policy",
    "lines-not-read": "lines that could not be read",
    "failed": "orders at which the service failed",
}
"""The names of what can be compared; of several new policies the worst counts."""
_WRITTEN = re.compile(r"\s*([a-z0-9-]+)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)\s*")


class NotAGate(CdsError):
    """A condition that is not written as one."""


@dataclass(frozen=True)
class Gate:
    """One condition under which the command fails."""

    measure: str
    comparison: str
    number: Decimal

    def __str__(self) -> str:
        return f"{self.measure} {self.comparison} {self.number}"

    def holds(self, measured: Mapping[str, Decimal]) -> bool:
        value = measured[self.measure]
        return {
            ">": value > self.number,
            "<": value < self.number,
            ">=": value >= self.number,
            "<=": value <= self.number,
        }[self.comparison]


def read(text: str) -> Gate:
    """The condition in `text`, such as `new-interruptive-per-100 > 5`. Raises NotAGate."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise NotAGate(f"--fail-if {text}: expected is MEASURE > NUMBER, with >, >=, < or <=")
    if found[1] not in MEASURES:
        raise NotAGate(f"--fail-if {text}: no measure {found[1]}; there are {', '.join(MEASURES)}")
    return Gate(found[1], found[2], Decimal(found[3]))
