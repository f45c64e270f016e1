"""How a rule ends: fired, clear, could not tell, or suppressed; with what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Literal

import msgspec

from cds_service.chart.chart import Chart
from cds_service.chart.facts import Fact
from cds_service.deadline import Late
from cds_service.lazy import cached_property
from cds_service.orders.proposal import Edit, Proposal
from cds_service.protocol.model import Limit, Rule, Severity, SiteChange
from cds_service.rules.ceiling import Ceiling
from cds_service.says import Says
from cds_service.says.findings import NOT_CHECKED_IN_TIME

Status = Literal["fired", "clear", "could-not-tell", "suppressed"]


Kind = Literal["failed", "not-sent", "not-placed", "not-measured", "not-judged"]
"""Why a fact is missing, the gravest first.

`failed`: the list was asked for, or promised, and did not come whole. `not-sent`: the client does not send it, and
there is nobody to ask. `not-placed`: an entry is there and was not understood. `not-measured`: nobody recorded it;
what that means is part of the rule (`needs`), or another rule says it. `not-judged`: there are no codes for it.
"""
KINDS: tuple[Kind, ...] = ("failed", "not-sent", "not-placed", "not-measured", "not-judged")


class Reason(msgspec.Struct, frozen=True):
    """Why a rule could not be told. `fact` is what is missing: a query key, or weight, dose, concentration …"""

    fact: str
    says: Says
    kind: Kind = "not-measured"
    reference: str | None = None
    """The entry that it is about."""
    urgent: bool = False
    """Of an entry that could not be placed: the clinician is warned of it."""
    short: Says | None = None
    """What it is about, for a summary."""

    @property
    def undelivered(self) -> bool:
        return self.kind in ("failed", "not-sent")


def gravest(reasons: Iterable[Reason]) -> Kind:
    """The kind that says most of why a rule could not be told."""
    return min((reason.kind for reason in reasons), key=KINDS.index, default="not-measured")


NOT_IN_TIME = Reason("time", NOT_CHECKED_IN_TIME, "failed")
ENTRY = "entry"
"""The fact of a reason that names an entry which could not be placed; it is said in the words of the entry."""


def not_placed(says: Says, reference: str, urgent: bool = False, short: Says | None = None) -> Reason:
    """That an entry is there and was not understood, in its own words."""
    return Reason(ENTRY, says, "not-placed", reference, urgent, short)


class Offers:
    """Proposals that are made when they are first asked for: at order-sign much that only informs is never shown.

    What could not be tried in time is not offered.
    """

    def __init__(self, make: Callable[[], Iterable[Proposal]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> tuple[Proposal, ...]:
        try:
            return tuple(self._make())
        except Late:
            return ()

    def __iter__(self) -> Iterator[Proposal]:
        return iter(self._made)

    def settle(self) -> None:
        """Let go of the case, once the cards are made: what nobody has asked for is not offered any more.

        Else the whole chart would be held until the answer is recorded.
        """
        self._make = tuple


class Outcome(msgspec.Struct, frozen=True):
    """One rule for one order. `values` fill the card text's placeholders."""

    rule: Rule
    status: Status
    order: str | None = None
    tier: str | None = None
    severity: Severity | None = None
    facts: tuple[Fact, ...] = ()
    values: Mapping[str, Says] = msgspec.field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    reasons: tuple[Reason, ...] = ()
    """Why it could not be told; of one that fired, why a worse tier or an exception could not."""
    exceptions: tuple[Reason, ...] = ()
    """Why what would have silenced it, or made it milder, could not be read."""
    because: Says | None = None
    """What suppressed it or changed its severity."""
    filtered: SiteChange | None = None
    """The site's filter that did so."""
    condition: SiteChange | None = None
    """The site's condition by which alone it fired: the rule's own words do not say what was found."""
    proposals: Iterable[Proposal] = ()
    """What it offers for itself; another dose and the removal of the order are offered once for all its rules."""
    ceilings: tuple[Ceiling, ...] = ()
    """What every dose that is offered must stay within because of it."""
    edits: tuple[Edit, ...] = ()
    """What every changed order must have because of it."""
    removes: bool = False
    """It asks for the order to be taken out."""
    asks_first: bool = False
    """No dose is offered until what it asks for is known: the limit of another use would look like a dose."""
    figure: Fraction | None = None
    """The figure that passed a limit, in the rule's unit, where there is one."""
    lower_is_worse: bool = False
    """`figure` is a time that is too short."""
    overridden: datetime | None = None
    """When a clinician overrode the same finding with a reason, which is why it is quiet, or only informs."""

    def suppressed(self, because: Says | None = None) -> Outcome:
        """The same without any voice: it offers and asks nothing."""
        return msgspec.structs.replace(
            self,
            status="suppressed",
            severity=None,
            because=because or self.because,
            proposals=(),
            ceilings=(),
            edits=(),
            removes=False,
            asks_first=False,
        )

    @property
    def is_late(self) -> bool:
        """It was not reached before the answer had to be ready."""
        return NOT_IN_TIME in self.reasons

    @property
    def to_say(self) -> tuple[Reason, ...]:
        """What the clinician is told of: entries that were not understood, and data that the rule requires.

        Lists that did not come are said once for all rules (`Judged.undelivered`).
        """
        reasons = (*self.reasons, *self.exceptions)
        if not reasons:
            return ()
        required = {fact for fact in self.rule.needs if self.status == "could-not-tell"}
        return tuple(r for r in reasons if r.kind == "not-placed" or (not r.undelivered and r.fact in required))


def undelivered(chart: Chart, *keys: str) -> tuple[Reason, ...]:
    """Why the lists of these queries are not complete, where they are not."""
    gaps = {key: gap for key in keys if (gap := chart.gap(key)) is not None}
    if not gaps:
        return ()
    return tuple(Reason(key, gap, "not-sent" if chart.was_not_sent(key) else "failed") for key, gap in gaps.items())


def clear(rule: Rule, order: str | None, because: Says | None = None) -> Outcome:
    return Outcome(rule, "clear", order, because=because)


def could_not_tell(rule: Rule, order: str | None, *reasons: Reason) -> Outcome:
    return Outcome(rule, "could-not-tell", order, reasons=tuple(dict.fromkeys(reasons)))


def not_in_time(rule: Rule, order: str | None) -> Outcome:
    return could_not_tell(rule, order, NOT_IN_TIME)
