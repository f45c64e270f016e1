"""From an answer to what the store keeps of it, and from the store back to what a clinician overrode.

Patients, orders and facts become keyed digests here; nothing else of them leaves this module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, cast
from uuid import UUID, uuid4

from cds_service import bounds
from cds_service.advise import Advice
from cds_service.cards.acknowledged import NOTHING, Acknowledged, Acknowledgement, Recorded, Said, identity, said
from cds_service.cards.compose import Composed
from cds_service.chart.facts import Used
from cds_service.deadline import NEVER, Deadline
from cds_service.figures import show
from cds_service.orders.exposure import Exposure
from cds_service.patience import Asking, Unanswered
from cds_service.protocol.model import Protocol, SiteChange
from cds_service.rules.judged import Judged
from cds_service.rules.outcome import Outcome, gravest
from cds_service.store import records
from cds_service.store.keys import Key
from cds_service.store.store import Store
from cds_service.store.writer import Writer

log = logging.getLogger("ketamine_cds")

LOOK_UP_SECONDS = 0.15
"""How long an answer waits for the overrides of its orders. After that, no card is kept quiet."""


_OLDEST = 89
"""Years: a higher age, told exactly, can point to one person (45 CFR 164.514(b)(2)(i)(C))."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a service, apart from its answer."""

    service: str
    client: str
    hook_instance: str | None
    at: datetime
    microseconds: int
    protocol: Protocol
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks for the state of the store; by default they do nothing."""

    lost: Callable[[int], None] = lambda count: None
    """How many records were dropped, as soon as they are."""
    waits: Callable[[int, float], None] = lambda count, age: None
    """How many records are not written yet, and the age of the oldest in seconds."""
    unanswered: Callable[[], None] = lambda: None
    """Each look-up of overrides without an answer in time."""
    held: Callable[[int], None] = lambda count: None
    """How many threads are held by such a look-up."""


UNWATCHED = Watch()


class Audit:
    """The store as one worker uses it.

    Without a store nothing is recorded or remembered, without a key no order is.
    """

    def __init__(
        self,
        store: Store | None,
        key: Key | None = None,
        watch: Watch = UNWATCHED,
        keeps_facts: timedelta = timedelta(0),
    ) -> None:
        """`keeps_facts` is for how long the facts behind each finding are kept; by default they are not."""
        self._keeps_facts = keeps_facts
        self.store = store
        self._key = key
        self.writer: Writer[records.Record] | None = None
        if store is not None:
            self.writer = Writer(store.write, lost=watch.lost, waits=watch.waits)
        self.looking = Looking(store, watch) if store is not None and key is not None else None

    def is_well(self) -> bool:
        """Whether what is answered now can be recorded. Takes as long as the store does."""
        if self.store is None or self.writer is None:
            return True
        return not self.writer.is_away and self.store.reachable()

    def acknowledged(self, client: str, deadline: Deadline = NEVER) -> Acknowledged:
        """What clinicians of this client overrode, as far as that can be looked up by the deadline."""
        if self.looking is None or self._key is None:
            return NOTHING
        return Remembered(self._key, client, self.looking, deadline)

    def record(self, call: Call, advice: Advice) -> None:
        """Hand an answer to the writer. Never raises and never waits; without an order there is nothing to record."""
        if self.writer is None or not (advice.judged or advice.composed):
            return
        try:
            self.writer.put(invocation(call, advice, self._key, self._keeps_facts))
        except Exception as error:  # a failed record must not affect the answer
            log.error("an answer could not be recorded: %s", type(error).__name__)
            self.writer.drop(1)

    def keep(self, compared: records.Comparison) -> None:
        """Hand the counts of a candidate to the writer. Never raises and never waits."""
        if self.writer is not None:
            self.writer.put(compared)

    def close(self) -> None:
        """Write what is waiting and let go of the store."""
        if self.writer is not None:
            self.writer.close()
        if self.store is not None:
            self.store.close()


# To the store ---------------------------------------------------------------------------------------------------


def invocation(
    call: Call, advice: Advice, key: Key | None, keeps_facts: timedelta = timedelta(0)
) -> records.Invocation:
    """What the store keeps of an answer; without a key neither the patient nor the order."""
    digests = _Digests(key, call.client) if key is not None else None
    orders = {id(each): identity(each, advice.patient, digests) for each in advice.judged} if digests else {}
    on_card = {
        (id(each), outcome.rule.id): composed.card.uuid
        for composed in advice.composed
        for each, outcome in composed.stands_for
    }
    return records.Invocation(
        id=str(uuid4()),
        at=call.at,
        service=call.service,
        client=call.client,
        hook_instance=_uuid(call.hook_instance),
        microseconds=call.microseconds,
        protocol=advice.version or call.protocol.version,
        site=call.protocol.site,
        patient=digests.digest("patient", advice.patient) if digests and advice.patient else None,
        shadow=call.shadow,
        failed=advice.failed,
        language=advice.language,
        cards=[_card(composed, orders) for composed in advice.composed],
        findings=[
            _finding(
                outcome,
                each,
                orders.get(id(each)),
                on_card.get((id(each), outcome.rule.id)),
                digests,
                advice.recorded,
                _used(outcome, call.at, keeps_facts) if keeps_facts else [],
            )
            for each in advice.judged
            for outcome in each.outcomes
            if outcome.status != "clear"
        ],
    )


def _uuid(text: str | None) -> str | None:
    """An identifier as the specification wants it; anything else is free text and not kept."""
    try:
        return str(UUID(text or ""))
    except ValueError:
        return None


def _card(composed: Composed, orders: Mapping[int, str]) -> records.Card:
    card = composed.card
    leading = composed.stands_for[0][0] if composed.stands_for else None
    return records.Card(
        uuid=card.uuid,
        topic=card.source.topic.code if card.source.topic else "",
        indicator=card.indicator,
        order=orders.get(id(leading)),
    )


def _finding(
    outcome: Outcome,
    each: Judged,
    order: str | None,
    card: str | None,
    digests: _Digests | None,
    recorded: Recorded,
    used: list[records.UsedFact],
) -> records.Finding:
    remembered: dict[str, Any] = {}
    if digests is not None and outcome.status == "fired":
        now = said(outcome, each, digests, recorded)
        remembered = {
            "dose_shape": now.dose.shape,
            "dose_amounts": [[_text(figure) for figure in step] for step in now.dose.amounts],
            "facts": sorted(now.facts),
        }
    return records.Finding(
        rule=outcome.rule.id,
        status=cast(Any, outcome.status),
        tier=outcome.tier,
        severity=outcome.severity,
        missing=sorted({reason.fact for reason in outcome.reasons}),
        card=card,
        order=order,
        figure=_text(outcome.figure),
        lower_is_worse=outcome.lower_is_worse,
        filtered=_owned(outcome.filtered),
        reason_kind=gravest(outcome.reasons) if outcome.status == "could-not-tell" else None,
        used=used,
        **remembered,
    )


def _used(outcome: Outcome, now: datetime, keeps: timedelta) -> list[records.UsedFact]:
    """What an outcome rests on, in no words: of most a few, of a long chart the first."""
    until = now + keeps
    found = [fact.used for fact in outcome.facts if fact.used is not None]
    unit = outcome.values.get("unit")
    if outcome.figure is not None and isinstance(unit, str):
        found.insert(0, Used("amount", value=show(outcome.figure), unit=unit))
    return [_kept(each, now, until) for each in found[: bounds.WORDS]]


def _kept(used: Used, now: datetime, until: datetime) -> records.UsedFact:
    age = None if used.when is None else max(0, int(used.when.age(now).total_seconds() // 60))
    return records.UsedFact(
        kind=used.kind,
        codes=[list(pair) for pair in used.codes],
        value=_age_told(used.value) if used.kind == "age" else used.value,
        unit=used.unit,
        age_minutes=age,
        until=until,
    )


def _age_told(years: str | None) -> str | None:
    return f">{_OLDEST}" if years is not None and int(years) > _OLDEST else years


def _owned(site: SiteChange | None) -> str | None:
    return None if site is None else f"{site.owner}, {site.date}: {site.reason}"


def _text(figure: Fraction | None) -> str | None:
    return None if figure is None else str(figure)


# From the store -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Digests:
    """The digests of one client's patients: another's patient may have the same id. It remembers nothing."""

    key: Key
    client: str

    def digest(self, kind: str, *parts: str) -> str:
        return self.key.digest(kind, self.client, *parts)

    def overridden(self, orders: Sequence[str], since: datetime) -> Mapping[str, Sequence[Acknowledgement]]:
        return {}

    @property
    def former(self) -> Acknowledged | None:
        return None


class Looking:
    """Look up overrides without making an answer wait longer than it can."""

    def __init__(self, store: Store, watch: Watch = UNWATCHED) -> None:
        self.patience = LOOK_UP_SECONDS
        self._store = store
        self._asking = Asking(
            "overrides cannot be looked up", LOOK_UP_SECONDS, failed=watch.unanswered, held=watch.held
        )

    def overrides(
        self, orders: Sequence[str], client: str, since: datetime, deadline: Deadline = NEVER
    ) -> list[records.Override]:
        """The overrides in the store; none if it is late or away, or was just now. No card is kept quiet then."""
        seconds = min(self.patience, deadline.left)
        try:
            return self._asking.ask(lambda: self._store.overrides(orders, client, since), seconds)
        except Unanswered:
            return []


@dataclass(frozen=True, slots=True)
class Remembered(_Digests):
    """Digests, and what this client's clinicians overrode."""

    looking: Looking
    deadline: Deadline = NEVER

    def overridden(self, orders: Sequence[str], since: datetime) -> Mapping[str, Sequence[Acknowledgement]]:
        found: dict[str, list[Acknowledgement]] = {}
        for override in self.looking.overrides(orders, self.client, since, self.deadline):
            finding = override.finding
            if finding.order is not None and finding.status == "fired" and finding.dose_shape is not None:
                remembered = Acknowledgement(_said(finding), override.received_at)
                found.setdefault(finding.order, []).append(remembered)
        return found

    @property
    def former(self) -> Acknowledged | None:
        return None if self.key.former is None else replace(self, key=self.key.former)


def _said(finding: records.Finding) -> Said:
    amounts = tuple(tuple(_figure(text) for text in step) for step in finding.dose_amounts)
    return Said(
        rule=finding.rule,
        tier=finding.tier,
        severity=cast(Any, finding.severity),
        figure=_figure(finding.figure),
        lower_is_worse=finding.lower_is_worse,
        dose=Exposure(finding.dose_shape or "", amounts),
        facts=frozenset(finding.facts),
    )


def _figure(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)
