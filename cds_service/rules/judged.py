"""What the cards are made from: each ketamine order with its outcomes, its regimen and its weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from cds_service.chart.facts import Weight, on
from cds_service.deadline import Late
from cds_service.fhir.meaning import changed_meaning
from cds_service.lazy import cached_property
from cds_service.orders.exposure import Exposure, exposure
from cds_service.orders.proposal import Proposal
from cds_service.orders.regimen import Step
from cds_service.protocol.model import SEVERITIES
from cds_service.rules.case import Case
from cds_service.rules.dosing_weight import DosingWeight, dosing_weight, steps_at_dosing_weight
from cds_service.rules.judge import judge, read_in
from cds_service.rules.offers import asks, order_offers
from cds_service.rules.outcome import Offers, Outcome, Reason, undelivered
from cds_service.says import Named, Says, drug_named, listed
from cds_service.says import findings as says


@dataclass(frozen=True, slots=True)
class Note:
    """Something about how an order was read that its card must say. `key` names the words, `value` fills them."""

    key: str
    value: Says = ""


@dataclass(frozen=True)
class Judged:
    order: str
    identifier: str | None
    """The order's own id; None where the draft has none."""
    drug: str
    name: str
    ordered: Says
    outcomes: tuple[Outcome, ...]
    steps: tuple[Step, ...]
    exposure: Exposure
    weight: Weight | None
    notes: tuple[Note, ...]
    doubts: tuple[Note, ...]
    """Notes that stand among what could not be checked."""
    indications: frozenset[str] = frozenset()
    """What its reasons and its order set stand for."""
    undelivered: tuple[Reason, ...] = ()
    """The lists that a rule of this order reads and that did not come whole, whether or not it mattered here."""
    offers: Iterable[Proposal] = ()
    """Other doses of the order, and its removal: what is offered once for all of its rules."""

    @cached_property
    def telling(self) -> tuple[Outcome, ...]:
        """The few outcomes that have anything to say: those that are not clear."""
        return tuple([outcome for outcome in self.outcomes if outcome.status != "clear"])


def judged(case: Case) -> Judged:
    """All rules over one order, and what must be said of how it was read, or was not reached in time."""
    weight, steps = _weighed(case)
    outcomes = tuple(judge(case))
    return Judged(
        order=case.order.reference,
        identifier=case.order.request.id,
        drug=case.order.drug,
        name=case.order.name,
        ordered=case.ordered,
        outcomes=outcomes,
        steps=steps,
        exposure=exposure(case.order.written, steps, case.order.concentration.mg_per_ml),
        weight=weight.shown if weight else None,
        notes=tuple(_notes(case, weight)),
        doubts=(*_left_out(outcomes), *_doubts(case, weight)),
        indications=case.order.indication.all,
        # An order that only ends is told nothing but how it ends.
        undelivered=() if case.stopping else undelivered(case.chart, *read_in(case)),
        offers=Offers(lambda: order_offers(case, outcomes)),
    )


def settle(each: Judged) -> None:
    """Let go of what offers would be made from; those that the cards show are made."""
    for offers in (each.offers, *(outcome.proposals for outcome in each.telling if outcome.proposals)):
        if isinstance(offers, Offers):
            offers.settle()


def with_offers(each: Judged) -> Judged:
    """The order with what it is offered on the first of its findings that asks for it: worst, of the dose, then as
    the catalogue has them.
    """
    asking = [outcome for outcome in each.telling if outcome.status == "fired" and asks(outcome)]
    if not asking:
        return each
    first = min(asking, key=lambda outcome: (_grade(outcome), outcome.rule.card != "dose"))
    own = first.proposals
    carrying = msgspec.structs.replace(first, proposals=Offers(lambda: (*each.offers, *own)))
    return replace(each, outcomes=tuple(carrying if outcome is first else outcome for outcome in each.outcomes))


def _grade(outcome: Outcome) -> int:
    return SEVERITIES.index(outcome.severity) if outcome.severity is not None else len(SEVERITIES)


def _weighed(case: Case) -> tuple[DosingWeight | None, tuple[Step, ...]]:
    """The dosing weight and the steps of the dose at it."""
    try:
        return dosing_weight(case), steps_at_dosing_weight(case)
    except Late:
        return None, ()


def _left_out(outcomes: Sequence[Outcome]) -> Sequence[Note]:
    """What the time did not suffice for, by the kinds of rules."""
    late = [outcome.rule.category for outcome in outcomes if outcome.reasons and outcome.is_late]
    if not late:
        return ()
    return [
        Note("late", says.SOME_RULES(str(len(late)), str(len(outcomes)), listed(map(_category, dict.fromkeys(late)))))
    ]


def _category(name: str) -> Named:
    return Named(f"category-{name}", name)


def _notes(case: Case, weighed: DosingWeight | None) -> Sequence[Note]:
    order, weight = case.order, weighed.shown if weighed else None
    notes: list[Note] = []
    if order.identity.by == "name":
        notes.append(Note("by-name", order.name))
    if order.drug != case.protocol.drugs[0] and not order.labelled_nasal:
        notes.append(Note("own-limits", drug_named(order.drug)))
    if order.indication.assumed and not order.indication.given:
        notes.append(Note("no-indication"))
    elif order.indication.assumed:
        notes.append(Note("unmapped-indication", listed(order.indication.unmapped)))
    if order.written and all(w.route.kind == "unstated" for w in order.written):
        notes.append(Note("route-unstated"))
    if weight is not None and weight.basis != "measured":
        notes.append(Note("weight-basis", says.STATED if weight.basis == "stated" else says.ESTIMATED))
    return notes


def _doubts(case: Case, weight: DosingWeight | None) -> Sequence[Note]:
    if case.stopping:
        return ()
    order = case.order
    doubts: list[Note] = []
    if case.chart.deceased is not None:
        doubts.append(Note("deceased", case.chart.deceased))
    if (changed := changed_meaning(order.request)) is not None:
        doubts.append(Note("changed-order", changed))
    if order.identity.disagreement is not None:
        doubts.append(Note("disagreement", order.identity.disagreement))
    if order.identity.asked is not None:
        doubts.append(Note("which-drug", order.identity.asked))
    if order.identity.veterinary:
        doubts.append(Note("veterinary", order.name))
    if weight is not None and weight.newest is not None and not order.labelled_nasal:
        unread = (says.VALUE_NOT_USED(w.written, on(w.when, case.now), w.problem or "") for w in weight.unreadable)
        doubts += [Note("newer-weight", each) for each in (*unread, *weight.unplaced)]
    return doubts
