"""What the store keeps: one record for each invocation with its cards and outcomes, the feedback on cards, and how a
candidate policy compares.

Nothing here knows medicine or CDS Hooks. The patient, the order and the facts that were read of the patient stand
here only as keyed digests; there are no names and no free text. Two things are kept in clear, because a later call
must be compared with them: the figure that passed a limit and the amounts of the dose. They are data about treatment,
and tell more than the dose: 56 mg/h beside 4/5 mg/kg/h is a weight of 70 kg. A site may have the facts themselves
kept for some days (`UsedFact`), so that people can see why a rule fired.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A card as it was sent (in shadow mode: as it would have been)."""

    uuid: str
    topic: str
    indicator: str
    order: str | None = None
    """Keyed digest of the order that it is about."""


class UsedFact(msgspec.Struct, frozen=True, kw_only=True):
    """What one finding rested on, until `until`: codes of our value sets, a figure, how old it was. No words."""

    kind: str
    codes: list[list[str]] = []
    """[value set, code] each."""
    value: str | None = None
    """A figure, two of them as 150/102, or the code of an answer."""
    unit: str | None = None
    age_minutes: int | None = None
    """At the call; of a date alone whole days of 1440 minutes."""
    until: datetime


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """How one rule ended for one order, unless it was clear. The lower half is what a later call is compared with."""

    rule: str
    status: Literal["fired", "could-not-tell", "suppressed"]
    tier: str | None = None
    severity: str | None = None
    missing: list[str] = []
    """Of what could not be told: which facts were missing, by the names of the protocol."""
    card: str | None = None
    """The identifier of the card that says it."""
    order: str | None = None
    """Keyed digest of the order's identity."""
    figure: str | None = None
    """The figure that passed a limit, as an exact fraction in the rule's unit."""
    lower_is_worse: bool = False
    filtered: str | None = None
    """The site's filter that silenced it or made it milder: who, when and why."""
    dose_shape: str | None = None
    """Keyed digest of all of the order's dosage but its amounts."""
    dose_amounts: list[list[str | None]] = []
    """Of each step mg, mg/kg, mg/h, mg/kg/h and minutes as exact fractions; None where one is not known."""
    facts: list[str] = []
    """Keyed digests of what the rule read of the patient."""
    reason_kind: str | None = None
    """Of what could not be told: the gravest kind of its reasons."""
    used: list[UsedFact] = []
    """Only where the site has facts kept."""


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a service that had an order to judge."""

    id: str
    at: datetime
    service: str
    client: str
    hook_instance: str | None
    microseconds: int
    """From the call's arrival to its answer."""
    protocol: str
    site: str | None
    patient: str | None
    shadow: bool = False
    """Evaluated and recorded, but the cards were not sent."""
    failed: bool = False
    """The service itself failed, and its only card says so."""
    language: str | None = None
    """Of its cards."""
    cards: list[Card] = []
    findings: list[Finding] = []


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What a clinician did with a card."""

    card: str
    service: str
    client: str
    outcome: Literal["accepted", "overridden"]
    sent_at: str | None
    """outcomeTimestamp as the client wrote it."""
    received_at: datetime
    reasons: list[list[str | None]] = []
    """[system, code] of each override reason that the card offered; of any other [None, "other"]."""
    commented: bool = False
    """The clinician wrote a comment; the comment itself is not kept."""
    suggestions: list[str] = []
    """Identifiers of the accepted suggestions."""


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """A finding whose card was overridden with a reason, and when that was received."""

    received_at: datetime
    finding: Finding


class Difference(msgspec.Struct, frozen=True):
    """A rule that ends otherwise under the candidate, and at how many orders. Of a rule that one of the policies has
    not, or has switched off, the status says so."""

    rule: str
    was: str
    was_severity: str | None
    becomes: str
    severity: str | None
    orders: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one client under the live policy and a candidate: counts, and nothing of a single call."""

    id: str
    at: datetime
    """When the last of them came."""
    client: str
    live: str
    """Digest of the policy, as the sign-off sheet has it."""
    candidate: str
    calls: int
    """Judged by both. Calls without an order of a judged drug are not among them."""
    orders: int
    dropped: int
    """Calls that the candidate did not judge, because others waited."""
    failed: int
    """Calls at which judging failed, by either policy."""
    interrupting_live: int
    """Cards that interrupt: critical and warning, but for the one that says what could not be checked."""
    interrupting_candidate: int
    differences: list[Difference] = []


Record = Invocation | Comparison
"""What the audit's writer writes."""
