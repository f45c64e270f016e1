"""One row of past orders held against every policy: pure, and without an engine, so that any engine can run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from cds_service.advise import Found, Opened, find, open_request, read_alike
from cds_service.cards import could_not_check
from cds_service.fhir import dates
from cds_service.fhir.source import NoSource
from cds_service.hooks.errors import Malformed
from cds_service.hooks.request import HookRequest, parse
from cds_service.knowledge import Knowledge
from cds_service.orders.regimen import FIGURES
from cds_service.retrospect import asking
from cds_service.retrospect.asking import Asked, Order, Stored
from cds_service.rules.judged import Judged
from cds_service.rules.outcome import gravest
from cds_service.store.keys import Key

AsOf = Literal["order", "now"]
ORDER, RULE, CARD, DOUBT = "order", "rule", "card", "doubt"
"""The kinds of rows: one for an order, for each rule and policy, for each card and policy, and for each reason for
which it cannot be told how a record stood then."""
NO_DATE, NOT_JUDGED, UNREADABLE, FAILED, JUDGED = "no-date", "not-judged", "not-readable", "failed", "judged"
"""How an order fared: it has no date, no policy judges it, it is not readable, the service failed, it was judged."""
OUTSIDE = "outside-time"
"""It was not signed in the time that was asked for."""
LONGEST = 80
"""Characters of a ward's name."""


class Row(msgspec.Struct, frozen=True):
    """What is judged in one go: a patient's orders with the whole chart, or one hook request."""

    patient: str
    orders: tuple[bytes, ...]
    chart: tuple[Stored, ...]
    request: bytes | None = None


class Outcome(NamedTuple):
    """One row of the outcomes; what does not belong to its kind is None. Figures are for plots, not for a verdict."""

    kind: str
    order: str
    patient: str
    month: str
    hook: str
    ward: str
    client: str
    requester: str
    indication: str
    drug: str | None = None
    status: str | None = None
    mg_per_kg: float | None = None
    mg_per_kg_h: float | None = None
    policy: str | None = None
    rule: str | None = None
    tier: str | None = None
    severity: str | None = None
    interrupts: bool | None = None
    reason: str | None = None
    missing: str | None = None
    records: int | None = None


class Policy(NamedTuple):
    """A protocol as a site would run it, under the name that it has in the report."""

    name: str
    knowledge: Knowledge


@dataclass(frozen=True)
class Study:
    """All that judging needs beside a row; every worker makes its own."""

    policies: Sequence[Policy]
    key: Key
    as_of: AsOf
    now: datetime
    places: Mapping[str, str]
    exported: frozenset[str]
    since: datetime | None = None
    until: datetime | None = None

    def is_asked_for(self, moment: datetime) -> bool:
        """Whether it lies in the time whose orders are to be judged."""
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)

    def pseudonym(self, kind: str, *parts: str) -> str:
        return self.key.digest(f"replay {kind}", *parts)[:16]


def replay(row: Row, study: Study) -> list[Outcome]:
    """The outcomes of a row: each of its orders has at least one row of its own, whatever happens to it."""
    if row.request is not None:
        return _of_request(row.request, study)
    made: list[Outcome] = []
    orders: list[Order] = []
    for raw in row.orders:
        order = asking.order_of(raw)
        if order is None:
            made.append(_without(study, row.patient, raw, NO_DATE))
        elif study.is_asked_for(order.signed):
            orders.append(order)
        else:
            made.append(_head(study, row.patient, order, order.signed)._replace(status=OUTSIDE))
    for signed in asking.together(orders):
        made += _of_orders(row, signed, study)
    return made


# A patient's orders -----------------------------------------------------------------------------------------------


def _of_orders(row: Row, orders: Sequence[Order], study: Study) -> list[Outcome]:
    moment = study.now if study.as_of == "now" else orders[0].signed
    queries = study.policies[0].knowledge.queries
    of = {order.id: _head(study, row.patient, order, moment) for order in orders}
    try:
        known_at = moment if study.as_of == "order" else None
        asked = [_asked(row, orders, study, known_at, queries)]
        of = {name: each._replace(ward=asked[0].ward[:LONGEST]) for name, each in of.items()}

        def request_of(knowledge: Knowledge) -> tuple[HookRequest, Mapping[str, str]]:
            """Another policy may ask for more."""
            if knowledge.queries != queries:
                more = _asked(row, orders, study, known_at, knowledge.queries)
                return parse(more.body, asking.HOOK), more.gaps
            return parse(asked[0].body, asking.HOOK), asked[0].gaps

        first = next(iter(of.values()))
        made = _judged(dict(of), first, moment, request_of, True, study)
        doubts = asked[0].doubts.items()
    except Exception as error:  # nothing of the record may be said, and no other row may be lost
        return [each._replace(status=FAILED, reason=type(error).__name__) for each in of.values()]
    return made + [first._replace(kind=DOUBT, rule=kind, reason=why, records=n) for (kind, why), n in doubts]


def _asked(
    row: Row, orders: Sequence[Order], study: Study, known_at: datetime | None, queries: Sequence[Any]
) -> Asked:
    return asking.ask(row.patient, orders, row.chart, queries, study.places, known_at, study.exported)


def _head(study: Study, patient: str, order: Order, moment: datetime) -> Outcome:
    return Outcome(
        kind=ORDER,
        order=study.pseudonym("order", patient, order.id),
        patient=study.pseudonym("patient", patient),
        month=f"{moment:%Y-%m}",
        hook=asking.HOOK,
        ward="",
        client="export",
        requester=study.pseudonym("requester", order.requester) if order.requester else "",
        indication="",
    )


def _without(study: Study, patient: str, raw: bytes, status: str) -> Outcome:
    """An order that has no date: by its text alone, since it may have no id either."""
    name = study.pseudonym("order", patient, raw.decode("utf-8", "replace"))
    whose = study.pseudonym("patient", patient)
    return Outcome(ORDER, name, whose, "", asking.HOOK, "", "export", "", "", status=status)


# A hook request ---------------------------------------------------------------------------------------------------


class _Hook(msgspec.Struct, rename="camel"):
    hook: str | None = None
    fhir_server: str | None = None


def _of_request(body: bytes, study: Study) -> list[Outcome]:
    """A request as a client sent it: what it holds is what was known."""
    name = study.pseudonym("request", body.decode("utf-8", "replace"))
    head = Outcome(ORDER, name, "", "", "", "", "", "", "")
    try:
        named = msgspec.json.decode(body, type=_Hook)
        head = head._replace(hook=named.hook or asking.HOOK, client=_host(named.fhir_server))
        request = parse(body, head.hook)
        signed = _signed(request) or (study.now if study.as_of == "now" else None)
        if signed is None:
            return [head._replace(status=NO_DATE)]
        if not study.is_asked_for(signed):
            return [head._replace(status=OUTSIDE)]
        moment = study.now if study.as_of == "now" else signed
        head = head._replace(
            month=f"{moment:%Y-%m}", patient=study.pseudonym("patient", head.client, request.patient_id or "")
        )
        signing = head.hook == asking.HOOK
        return _judged({}, head, moment, lambda _: (parse(body, head.hook), {}), signing, study)
    except (msgspec.DecodeError, Malformed):
        return [head._replace(status=UNREADABLE)]
    except Exception as error:  # as above
        return [head._replace(status=FAILED, reason=type(error).__name__)]


def _host(server: str | None) -> str:
    try:
        return (urlsplit(server or "").hostname or "")[:LONGEST]
    except ValueError:
        return ""


def _signed(request: HookRequest) -> datetime | None:
    """When the newest of its drafts was written."""
    authored = [getattr(item.read.resource, "authored_on", None) for item in request.drafts]
    found = [when.latest for text in authored if (when := dates.parse(text, UTC)) is not None]
    return max(found, default=None)


# Every policy -----------------------------------------------------------------------------------------------------


def _judged(
    heads: dict[str, Outcome],
    whole: Outcome,
    moment: datetime,
    request_of: Callable[[Knowledge], tuple[HookRequest, Mapping[str, str]]],
    signing: bool,
    study: Study,
) -> list[Outcome]:
    """The rows of one request under every policy: the chart is read once for all policies that read it alike.

    `heads`: the orders that are known before, by id; any other becomes one of `whole`.
    """
    made: list[Outcome] = []
    read: list[tuple[Knowledge, Opened | None]] = []
    for policy in study.policies:
        opened = _opened(read, policy.knowledge, moment, request_of)
        if opened is None:
            continue
        found = find(opened, signing, policy.knowledge, moment)
        for each in found.judged:
            name = each.identifier or each.order
            head = heads.get(name) or whole._replace(order=study.pseudonym("order", whole.order, each.order))
            heads[name] = head if head.status else _with_order(head, each)
        made += _rows(found, policy, heads, whole)
    return [head if head.status else head._replace(status=NOT_JUDGED) for head in heads.values() or [whole]] + made


def _opened(
    read: list[tuple[Knowledge, Opened | None]],
    knowledge: Knowledge,
    moment: datetime,
    request_of: Callable[[Knowledge], tuple[HookRequest, Mapping[str, str]]],
) -> Opened | None:
    for other, opened in read:
        if read_alike(other, knowledge, moment):
            return opened
    request, gaps = request_of(knowledge)
    opened = open_request(request, knowledge, NoSource(), moment)
    if opened is not None:
        for key, why in gaps.items():
            opened.records.gaps.setdefault(key, why)
    read.append((knowledge, opened))
    return opened


def _with_order(head: Outcome, each: Judged) -> Outcome:
    of_kind = {kind: [s for s in each.steps if s.kind in kinds] for kind, kinds in _PLOTTED.items()}
    highest = {
        kind: max((f for s in steps if (f := FIGURES[kind](s)) is not None), default=None)
        for kind, steps in of_kind.items()
    }
    return head._replace(
        status=JUDGED,
        drug=each.drug,
        indication=" + ".join(sorted(each.indications)),
        mg_per_kg=_float(highest["mg/kg"]),
        mg_per_kg_h=_float(highest["mg/kg/h"]),
    )


_PLOTTED = {"mg/kg": ("bolus", "short"), "mg/kg/h": ("continuous",)}
"""The unit in which each kind of step is plotted."""


def _float(figure: Fraction | None) -> float | None:
    return None if figure is None else float(figure)


def _rows(found: Found, policy: Policy, heads: Mapping[str, Outcome], whole: Outcome) -> Iterator[Outcome]:
    interrupting = {
        (id(each), outcome.rule.id)
        for card in found.cards
        for each, outcome in card.stands_for
        if card.severity != "info"
    }
    for each in found.judged:
        head = heads[each.identifier or each.order]
        for outcome in each.outcomes:
            reasons = outcome.reasons
            yield Outcome(  # not by _replace: nearly all rows are made here, and it takes three times as long
                RULE,
                *head[1:10],  # the order, up to its drug
                status=outcome.status,
                mg_per_kg=head.mg_per_kg,
                mg_per_kg_h=head.mg_per_kg_h,
                policy=policy.name,
                rule=outcome.rule.id,
                tier=outcome.tier,
                severity=outcome.severity,
                interrupts=(id(each), outcome.rule.id) in interrupting,
                reason=gravest(reasons) if reasons else None,
                missing=" ".join(sorted({reason.fact for reason in reasons})) if reasons else None,
            )
    for card in found.cards:
        leading = card.stands_for[0][0] if card.stands_for else None
        head = heads[leading.identifier or leading.order] if leading is not None else whole
        yield head._replace(
            kind=CARD,
            policy=policy.name,
            rule=card.topic,
            severity=card.severity,
            interrupts=card.severity != "info" and card.topic != could_not_check.TOPIC,
        )
