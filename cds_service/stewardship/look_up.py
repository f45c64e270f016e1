"""Why did it fire: the record of one call by its hook instance, by a card of it, or by its own identifier."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cds_service.stewardship.counts import Period
from cds_service.stewardship.reading import Reading
from cds_service.store import tables

MOST_CALLS = 100
"""Of a list; whoever looks for one call names the rule and the day."""
_CALLS, _CARDS, _FOUND, _SAID = tables.invocations.c, tables.cards.c, tables.findings.c, tables.feedback.c
_USED = tables.used_facts.c
_SHOWN_CALL = (
    _CALLS.id,
    _CALLS.at,
    _CALLS.service,
    _CALLS.client,
    _CALLS.hook_instance,
    _CALLS.microseconds,
    _CALLS.protocol,
    _CALLS.site,
    _CALLS.shadow,
    _CALLS.failed,
    _CALLS.language,
)


@dataclass(frozen=True, slots=True)
class Used:
    """A fact that a finding rested on, where the site has them kept: a code, a figure, an age, and no words."""

    kind: str
    codes: tuple[tuple[str, str], ...]
    """(value set, code)."""
    value: str | None
    unit: str | None
    age_minutes: int | None
    until: datetime
    """When it is deleted."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a rule ended in a call, without what was read of the patient: no figure, no dose, no digest.

    `used` is the exception: what the site has kept for some days.
    """

    rule: str
    status: str
    tier: str | None
    severity: str | None
    missing: tuple[str, ...]
    card_uuid: str | None
    filtered: str | None
    reason_kind: str | None
    used: tuple[Used, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a clinician did with a card."""

    received_at: datetime
    outcome: str
    reasons: tuple[tuple[str | None, str], ...]
    commented: bool
    suggestions: int
    """How many suggestions were taken."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card of a call, and the feedback on it, the oldest first."""

    uuid: str
    topic: str
    indicator: str
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One call, with its cards and with every rule that did not end as clear."""

    id: str
    at: datetime
    service: str
    client: str
    hook_instance: str | None
    microseconds: int
    protocol: str
    site: str | None
    shadow: bool
    failed: bool
    language: str | None
    cards: tuple[Card, ...] = ()
    findings: tuple[Ended, ...] = ()


def as_uuid(text: str) -> str | None:
    """The identifier as the store has it; None for what is none."""
    try:
        return str(UUID(text.strip().removeprefix("urn:uuid:")))
    except ValueError:
        return None


def of(reading: Reading, identifier: str, now: datetime | None = None) -> list[Call]:
    """The calls with this hook instance, card or identifier (as `as_uuid` gives it), the newest first.

    With `now` they have the facts that are still kept then.
    """
    carded = sa.select(_CARDS.invocation_id).where(_CARDS.uuid == identifier)
    named = sa.or_(_CALLS.id == identifier, _CALLS.hook_instance == identifier, _CALLS.id.in_(carded))
    query = sa.select(*_SHOWN_CALL).where(named).order_by(_CALLS.at.desc(), _CALLS.id)
    return _whole(reading, reading.first(query, MOST_CALLS), now)


def newest(reading: Reading, period: Period, rule: str | None = None) -> list[Call]:
    """The newest calls of a period, at most MOST_CALLS; with `rule` those in which it fired or could not be told."""
    query = sa.select(*_SHOWN_CALL).where(*period.holds())
    if rule is not None:
        query = query.where(
            sa.exists().where(_FOUND.invocation_id == _CALLS.id, _FOUND.rule == rule, _FOUND.status != "suppressed")
        )
    return _whole(reading, reading.first(query.order_by(_CALLS.at.desc(), _CALLS.id.desc()), MOST_CALLS))


def _whole(reading: Reading, calls: Sequence[sa.RowMapping], now: datetime | None = None) -> list[Call]:
    ids = [row["id"] for row in calls]
    if not ids:
        return []
    cards, findings = _cards(reading, ids), _findings(reading, ids, now)
    return [Call(**row, cards=tuple(cards[row["id"]]), findings=tuple(findings[row["id"]])) for row in calls]


def _cards(reading: Reading, ids: Sequence[str]) -> dict[str, list[Card]]:
    rows = reading.rows(
        sa.select(_CARDS.invocation_id, _CARDS.uuid, _CARDS.topic, _CARDS.indicator, _CALLS.client, _CALLS.shadow)
        .join_from(tables.cards, tables.invocations, _CARDS.invocation_id == _CALLS.id)
        .where(_CARDS.invocation_id.in_(ids))
        .order_by(_CARDS.invocation_id, _CARDS.number)
    )
    said = _answers(reading, {row["uuid"] for row in rows if not row["shadow"]})
    found: dict[str, list[Card]] = defaultdict(list)
    for row in rows:
        answers = tuple(said[row["uuid"], row["client"]])
        found[row["invocation_id"]].append(Card(row["uuid"], row["topic"], row["indicator"], answers))
    return found


def _answers(reading: Reading, uuids: set[str]) -> dict[tuple[str, str], list[Answer]]:
    found: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    if not uuids:
        return found
    query = sa.select(tables.feedback).where(_SAID.card_uuid.in_(sorted(uuids))).order_by(_SAID.id)
    for row in reading.rows(query):
        reasons = tuple((system, code) for system, code in row["reasons"])
        answer = Answer(
            row["received_at"], row["outcome"], reasons, row["commented"], suggestions=len(row["suggestions"])
        )
        found[row["card_uuid"], row["client"]].append(answer)
    return found


def _findings(reading: Reading, ids: Sequence[str], now: datetime | None) -> dict[str, list[Ended]]:
    shown = (_FOUND.rule, _FOUND.status, _FOUND.tier, _FOUND.severity, _FOUND.missing, _FOUND.card_uuid)
    used = _used(reading, ids, now) if now is not None else {}
    rows = reading.rows(
        sa.select(_FOUND.invocation_id, _FOUND.number, *shown, _FOUND.filtered, _FOUND.reason_kind)
        .where(_FOUND.invocation_id.in_(ids))
        .order_by(_FOUND.invocation_id, _FOUND.number)
    )
    found: dict[str, list[Ended]] = defaultdict(list)
    for row in rows:
        given: dict[str, Any] = {
            name: value for name, value in row.items() if name not in ("invocation_id", "number")
        }
        facts = tuple(used.get((row["invocation_id"], row["number"]), ()))
        found[row["invocation_id"]].append(Ended(**{**given, "missing": tuple(row["missing"])}, used=facts))
    return found


def _used(reading: Reading, ids: Sequence[str], now: datetime) -> dict[tuple[str, int], list[Used]]:
    """By call and number of the finding; what is over by now is not shown, even where it is still there."""
    query = sa.select(tables.used_facts).where(_USED.invocation_id.in_(ids), _USED.until > now)
    found: dict[tuple[str, int], list[Used]] = defaultdict(list)
    for row in reading.rows(query.order_by(_USED.invocation_id, _USED.number)):
        codes = tuple((name, code) for name, code in row["codes"])
        fact = Used(row["kind"], codes, row["value"], row["unit"], row["age_minutes"], row["until"])
        found[row["invocation_id"], row["finding"]].append(fact)
    return found
