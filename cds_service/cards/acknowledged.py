"""Quiet for a while: what a clinician overrode with a reason and what has not got worse since.

Nothing is quiet because it was merely shown. A critical finding comes back as information, never as nothing, and what
could not be checked is always said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Protocol

import msgspec
from msgspec.structs import replace as with_changes

from cds_service.orders.exposure import Exposure, no_higher
from cds_service.orders.words import duration
from cds_service.protocol.model import SEVERITIES, Severity
from cds_service.rules.judged import Judged
from cds_service.rules.outcome import Outcome
from cds_service.says import Says
from cds_service.says.findings import OVERRIDDEN

NEVER_QUIET = "could-not-check"
"""The card whose rules say that something is not known."""


class Said(msgspec.Struct, frozen=True):
    """What a rule said of an order, as far as it is remembered. `facts` and the shape of the dose are digests."""

    rule: str
    tier: str | None
    severity: Severity | None
    figure: Fraction | None
    lower_is_worse: bool
    dose: Exposure
    facts: frozenset[str]


class Acknowledgement(msgspec.Struct, frozen=True):
    """A finding that was overridden with a reason, and when."""

    said: Said
    when: datetime


class Acknowledged(Protocol):
    """The memory behind the policy. It keeps digests and no patient's data, so it also makes them."""

    def digest(self, kind: str, *parts: str) -> str:
        """A short text that is the same for the same parts; `kind` keeps different things apart."""
        ...

    def overridden(self, orders: Sequence[str], since: datetime) -> Mapping[str, Sequence[Acknowledgement]]:
        """By order (digest of its identity), newest first. Never raises: what cannot be looked up is not quiet."""
        ...

    @property
    def former(self) -> Acknowledged | None:
        """The same memory, by the digests that were made before the key was changed."""
        ...


Recorded = Callable[[Says], str]
"""What is said, in the words that are kept: `Texts.recorded`."""


class _Nothing:
    def digest(self, kind: str, *parts: str) -> str:
        return ""

    def overridden(self, orders: Sequence[str], since: datetime) -> Mapping[str, Sequence[Acknowledgement]]:
        return {}

    former: Acknowledged | None = None


NOTHING: Acknowledged = _Nothing()
"""Remembers nothing: every finding is said every time."""


def quieted(
    results: Sequence[Judged],
    patient: str,
    acknowledged: Acknowledged,
    window: timedelta,
    now: datetime,
    recorded: Recorded,
) -> list[Judged]:
    """The outcomes after the policy: what was overridden is suppressed, and if it is critical, it informs."""
    if acknowledged.former is not None:
        results = quieted(results, patient, acknowledged.former, window, now, recorded)
    if acknowledged is NOTHING or not patient or not any(_may_be_quiet(o) for each in results for o in each.outcomes):
        return list(results)
    keys = [identity(each, patient, acknowledged) for each in results]
    remembered = acknowledged.overridden(list(dict.fromkeys(keys)), now - window)
    quiet = []
    for each, key in zip(results, keys, strict=True):
        earlier = remembered.get(key, ())
        outcomes = tuple(_quieted(outcome, each, earlier, acknowledged, now, recorded) for outcome in each.outcomes)
        quiet.append(replace(each, outcomes=outcomes) if earlier else each)
    return quiet


def identity(each: Judged, patient: str, acknowledged: Acknowledged) -> str:
    """Which order it is, over several calls.

    The patient, the drug and the order's id. A draft without an id is told by its dosage instead: changed, it is
    another order. An id that a client gives to every draft does no harm, since the dose is compared too.
    """
    if each.identifier is not None:
        return acknowledged.digest("order", patient, each.drug, each.identifier)
    return acknowledged.digest(
        "order without id", patient, each.drug, each.exposure.shape, str(each.exposure.amounts)
    )


def said(outcome: Outcome, each: Judged, acknowledged: Acknowledged, recorded: Recorded) -> Said:
    """An outcome as it is remembered."""
    return Said(
        rule=outcome.rule.id,
        tier=outcome.tier,
        severity=outcome.severity,
        figure=outcome.figure,
        lower_is_worse=outcome.lower_is_worse,
        dose=Exposure(acknowledged.digest("dose", each.exposure.shape), each.exposure.amounts),
        facts=frozenset(
            acknowledged.digest("fact", recorded(fact.says), fact.reference or "", fact.figure or "")
            for fact in outcome.facts
        ),
    )


def no_worse(now: Said, then: Said) -> bool:
    """Whether a finding is the one that was overridden, or a milder one.

    A figure speaks for the data behind it, the weight for instance; where there is none, no fact may be new.
    """
    if now.rule != then.rule or now.severity is None or then.severity is None:
        return False
    graver = SEVERITIES.index(now.severity) < SEVERITIES.index(then.severity)
    other = now.severity == then.severity and now.tier != then.tier
    if graver or other or not now.dose.is_no_more_than(then.dose):
        return False
    if now.figure is None and then.figure is None:
        return now.facts <= then.facts
    return now.lower_is_worse == then.lower_is_worse and no_higher(now.figure, then.figure, now.lower_is_worse)


def _may_be_quiet(outcome: Outcome) -> bool:
    return outcome.status == "fired" and outcome.rule.card != NEVER_QUIET and outcome.overridden is None


def _quieted(
    outcome: Outcome,
    each: Judged,
    earlier: Sequence[Acknowledgement],
    acknowledged: Acknowledged,
    now: datetime,
    recorded: Recorded,
) -> Outcome:
    if not _may_be_quiet(outcome):
        return outcome
    current = said(outcome, each, acknowledged, recorded)
    when = next((before.when for before in earlier if no_worse(current, before.said)), None)
    if when is None:
        return outcome
    because = OVERRIDDEN(_ago(now - when))
    if outcome.severity == "critical":
        return with_changes(outcome, severity="info", because=because, overridden=when)
    return with_changes(outcome, status="suppressed", severity=None, because=because, proposals=(), overridden=when)


def _ago(passed: timedelta) -> str:
    """In whole hours, in minutes below two of them."""
    minutes = max(1, int(passed.total_seconds() // 60))
    return duration(Fraction(minutes if minutes < 120 else minutes // 60 * 60))
