"""The orders of a request as the protocols of their drugs judge them, and how many of them are judged at once."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

from cds_service.chart.chart import Chart
from cds_service.deadline import Deadline
from cds_service.fhir.records import Records
from cds_service.hooks.request import HookRequest
from cds_service.knowledge import Knowledge
from cds_service.orders import draft as drafts
from cds_service.orders.draft import Draft, KetamineOrder
from cds_service.rules.alike import GROUND, Known, marks
from cds_service.rules.case import Case


def cases(
    request: HookRequest,
    mine: Sequence[Draft],
    ending: Sequence[Draft],
    records: Records,
    chart: Chart,
    signing: bool,
    knowledge: Knowledge,
    deadline: Deadline,
    known: Mapping[int, Known] | None = None,
) -> tuple[list[Case], int]:
    """(the orders that are judged, how many more there are). `mine` are drafts of judged drugs, `ending` end one.

    `known`: by the identity of each draft, what other policies found of it.
    """
    grouped = drafts.groups(request.drafts)
    ours, ends = (
        [draft for draft in each if not drafts.is_other_patients(draft, records.patient_id)]
        for each in (mine, ending)
    )

    def read(draft: Draft) -> KetamineOrder:
        return _order(draft, grouped, records, knowledge, chart.zone, _of(known, draft), deadline)

    kept, ended = (_bounded(each, read, knowledge, chart.now, deadline) for each in (ours, ends))
    of_patient: dict[str, dict[Any, Any]] = defaultdict(dict)
    case = partial(
        _case, chart=chart, signing=signing, viewing=request.viewing, knowledge=knowledge, of_patient=of_patient
    )
    found = [case(order, kept, known=_of(known, order.draft)) for order in kept if order.draft.selected]
    found += [dataclasses.replace(case(order, kept), stopping=True) for order in ended]
    return found, len(ours) + len(ends) - len(kept) - len(ended)


def _of(known: Mapping[int, Known] | None, draft: Draft) -> Known | None:
    return None if known is None else known[id(draft)]


def _order(
    draft: Draft,
    groups: Mapping[str, str],
    records: Records,
    knowledge: Knowledge,
    zone: tzinfo,
    known: Known | None,
    deadline: Deadline,
) -> KetamineOrder:
    """The order behind a draft, read as the protocol of its drug says."""
    assert draft.identity is not None
    part = knowledge.by_drug[draft.identity.drug]
    read = partial(drafts.read, draft, groups, part.terms, records.resolve, knowledge.valuesets, zone, deadline)
    if known is None:
        return read()
    ground = marks(part.protocol)[GROUND]
    if ground not in known:
        known[ground] = read()
    order: KetamineOrder = known[ground]
    return order


def _bounded(
    found: Sequence[Draft],
    read: Callable[[Draft], KetamineOrder],
    knowledge: Knowledge,
    now: datetime,
    deadline: Deadline,
) -> list[KetamineOrder]:
    """As many as are judged, the selected ones first: adding their doses up grows with the square of their number.
    No more are read than that.
    """
    book = knowledge.limits.book(knowledge.protocol.drugs[0], now.date())
    conventions = knowledge.protocol.conventions
    most_orders, most_steps = book.number(conventions.orders_at_once), book.number(conventions.steps_at_once)
    kept: dict[int, KetamineOrder] = {}
    steps = 0
    selected_first = sorted(enumerate(found), key=lambda numbered: not numbered[1].selected)
    for number, draft in deadline.each(selected_first, "orders"):
        if len(kept) >= most_orders:
            break
        order = read(draft)
        steps += max(len(order.written), 1)
        if kept and steps > most_steps:
            break
        kept[number] = order
    return [kept[number] for number in sorted(kept)]


def _case(
    order: KetamineOrder,
    orders: Sequence[KetamineOrder],
    chart: Chart,
    signing: bool,
    viewing: bool,
    knowledge: Knowledge,
    of_patient: Mapping[str, dict[Any, Any]],
    known: Known | None = None,
) -> Case:
    """The order as its protocol judges it; orders that another one judges are none of its companions."""
    part = knowledge.by_drug[order.drug]
    return Case(
        order=order,
        companions=[each for each in orders if knowledge.by_drug[each.drug] is part],
        chart=chart,
        protocol=part.protocol,
        limits=part.limits,
        valuesets=knowledge.valuesets,
        terms=part.terms,
        signing=signing,
        viewing=viewing,
        _of_patient=of_patient[order.drug],
        known=known,
    )
