"""patient-view: the ketamine infusions that are running, each as the order behind it at the rate that runs.

Where none runs, the newest dose that ended a short while ago: what it did shows for some hours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import msgspec

from cds_service import bounds, units
from cds_service.cards.acknowledged import Recorded
from cds_service.chart.medicines import counts, period_of, state_of
from cds_service.deadline import Deadline
from cds_service.fhir import bundles, dates, lenient, statuses
from cds_service.fhir import records as reading
from cds_service.fhir.bundles import Item, Page
from cds_service.fhir.dates import When
from cds_service.fhir.meaning import changed_meaning
from cds_service.fhir.medication import Description, described
from cds_service.fhir.queries import Query
from cds_service.fhir.records import Prefetched, Records
from cds_service.fhir.resources import MedicationAdministration, MedicationRequest
from cds_service.fhir.source import Source, read_named
from cds_service.hooks.errors import PreconditionFailed
from cds_service.hooks.request import HookRequest
from cds_service.orders import concentration, dosage, text
from cds_service.orders.dosage import Amount
from cds_service.orders.draft import Draft
from cds_service.orders.proposal import SetRate, make_edits
from cds_service.orders.regimen import says_how_fast
from cds_service.rules.judged import Note
from cds_service.says import Said, Says
from cds_service.says import records as says
from cds_service.says.entries import NO_DATE
from cds_service.terminology import drugs
from cds_service.terminology.identity import Identity, identify
from cds_service.terminology.valuesets import ValueSets

_KEY = "administrations"


@dataclass(frozen=True, slots=True)
class _Running:
    """An administration, in progress or over. `identity` is None where it is no ketamine, or cannot be told."""

    administration: MedicationAdministration
    description: Description
    identity: Identity | None

    @property
    def is_unknown(self) -> bool:
        """Whether it does not say which medicine it is."""
        description = self.description
        return self.identity is None and drugs.says_nothing(description.all_codings, description.all_texts)

    @property
    def named(self) -> tuple[str, Says]:
        """Its name and when it began, as both are said of it."""
        return self.description.name, self.start.text if self.start is not None else NO_DATE

    @property
    def rate(self) -> Amount | None:
        given = self.administration.dosage
        return dosage.read_rate(given.rate_quantity, given.rate_ratio) if given else None

    @property
    def says_rate(self) -> bool:
        """Whether a rate was charted, if only in words."""
        given = self.administration.dosage
        if given is None:
            return False
        return bool(given.rate_quantity or given.rate_ratio or text.read(given.text).rates)

    @property
    def order(self) -> str | None:
        request = self.administration.request
        return request.reference if request else None

    @property
    def start(self) -> When | None:
        given = self.administration
        period = period_of(given)
        at = given.effective_date_time or given.occurence_date_time or (period.start if period else None)
        return dates.parse(at, UTC)

    @property
    def end(self) -> datetime | None:
        """When it was over, of a dose at one moment that moment."""
        period = period_of(self.administration)
        ended = dates.parse(period.end, UTC) if period and period.end else None if period else self.start
        return ended.latest if ended is not None else None

    @property
    def began(self) -> datetime:
        return self.start.latest if self.start is not None else datetime.min.replace(tzinfo=UTC)


def read(
    request: HookRequest,
    queries: Sequence[Query],
    valuesets: ValueSets,
    source: Source,
    since: datetime | None,
    deadline: Deadline,
    recorded: Recorded,
) -> tuple[list[Draft], Records, Prefetched, list[Note]]:
    """The running infusions as orders that are judged, and what runs and may be one of them.

    Where none runs, the newest dose that ended after `since`, as an order without amounts.

    Without any, nothing but administrations and their medications is fetched. Raises PreconditionFailed where no
    administration could be had at all, and Late.
    """
    records = Records(request.patient_id or "")
    prefetched = reading.from_prefetch(records, request.prefetch, queries, deadline)
    if request.patient_id is None:
        return [], records, prefetched, []
    _fetch_administrations(request, records, prefetched, queries, source)
    gap = records.gaps.get(_KEY)
    if gap is not None and not records.of(MedicationAdministration):
        raise PreconditionFailed(f"what the patient is given is not known: {recorded(gap)}")
    _fetch_medications(request, records, valuesets, source, deadline)
    in_progress = list(_given(records, valuesets, deadline))
    running = _newest_of_each([each for each in in_progress if each.identity is not None])
    if len(running) > bounds.DRAFTS:
        records.notes.append(says.NEWEST_RUNNING(str(bounds.DRAFTS), str(len(running))))
        running = running[-bounds.DRAFTS :]
    _keep_orders(running, request, records, source)
    unknown = sum(1 for each in in_progress if each.is_unknown)
    doubts = [Note("running-unknown", str(unknown))] if unknown else []
    doubts += [Note("running-rate", why) for why in dict.fromkeys(_doubted_rates(running, in_progress, deadline))]
    orders = [_draft(each, records, valuesets, deadline) for each in deadline.each(running, "drafts")]
    doubts += [
        Note("running-unjudged", why)
        for each, order in zip(running, orders, strict=True)
        if (why := _not_judged(each, order, valuesets, deadline)) is not None
    ]
    if not running and since is not None:
        orders += _over(records, valuesets, since, deadline)
    return orders, records, prefetched, doubts


def _fetch_administrations(
    request: HookRequest, records: Records, prefetched: Prefetched, queries: Sequence[Query], source: Source
) -> None:
    """What the prefetch lacks of them. They are newest first, but a long infusion may stand on a later page."""
    query = next(query for query in queries if query.key == _KEY)
    url = prefetched.next_links.pop(_KEY, None)
    is_rest = url is not None
    if url is None and _KEY not in prefetched.answered | prefetched.assumed:
        url = query.url(request.context)
        records.gaps.pop(_KEY, None)  # what was sent in its place
    if url is not None:
        answer = source.fetch({_KEY: url})[_KEY]
        reading.add_answer(records, query, answer.pages, answer.gap, is_rest)
    prefetched.answered.add(_KEY)


def _over(records: Records, valuesets: ValueSets, since: datetime, deadline: Deadline) -> Iterator[Draft]:
    """The newest dose that ended after `since`."""
    over = [each for each in _given(records, valuesets, deadline, running=False) if each.identity is not None]
    recent = [(ended, each) for each in over if (ended := each.end) is not None and ended >= since]
    if recent:
        _, newest = max(recent, key=lambda pair: pair[0])
        item = _item({**_made_from(newest.administration), "dosageInstruction": []})
        assert isinstance(item.read.resource, MedicationRequest)
        stands_for = newest.administration.reference
        yield Draft(item.read.resource, item, True, newest.description, newest.identity, stands_for)


def _given(records: Records, valuesets: ValueSets, deadline: Deadline, running: bool = True) -> Iterator[_Running]:
    """Every administration that is, or is not, in progress."""
    for administration in deadline.each(records.of(MedicationAdministration), "drafts"):
        if not counts(administration) or (state_of(administration) == "in-progress") is not running:
            continue
        description = described(administration, records.resolve)
        order = records.resolve(administration.request)
        if drugs.says_nothing(description.all_codings, description.all_texts) and isinstance(
            order, MedicationRequest
        ):
            description = described(order, records.resolve)
        yield _Running(administration, description, _identity(description, valuesets))


def _identity(description: Description, valuesets: ValueSets) -> Identity | None:
    return identify(description.all_codings, description.all_texts, valuesets)


def _fetch_medications(
    request: HookRequest, records: Records, valuesets: ValueSets, source: Source, deadline: Deadline
) -> None:
    """What is running and is named by a reference alone."""
    unnamed = [each.description.to_fetch for each in _given(records, valuesets, deadline)]
    _add(request, records, source, "Medication", unnamed)


def _add(request: HookRequest, records: Records, source: Source, kind: str, references: Iterable[str | None]) -> None:
    for page in read_named(source, kind, references, request.fhir_server):
        records.add(page)
        _keep(records, page)


def _newest_of_each(running: Sequence[_Running]) -> list[_Running]:
    """One for each order: a change of rate may be charted as a new administration."""
    newest: dict[tuple[str | None, str], _Running] = {}
    for each in sorted(running, key=lambda each: each.began):
        assert each.identity is not None
        newest[(each.order, each.identity.drug)] = each
    return list(newest.values())


def _doubted_rates(
    running: Sequence[_Running], in_progress: Sequence[_Running], deadline: Deadline
) -> Iterator[Said]:
    """Why the rate that is judged may not be the one that runs: it, or another entry of its order, cannot be read."""
    of_order: dict[str, list[_Running]] = {}
    for each in in_progress:
        if each.order is not None:
            of_order.setdefault(each.order, []).append(each)
    for newest in deadline.each(running, "drafts"):
        if newest.rate is None and newest.says_rate:
            yield says.RATE_UNREAD(*newest.named)
        for other in of_order.get(newest.order or "", ()):
            if other is newest:
                continue
            if other.start is None:
                yield says.DATE_UNREAD(*other.named)
            elif other.identity is None and other.began >= newest.began:
                yield says.OTHERWISE_THAN_ORDER(*other.named)
    for each in running:
        if (why := changed_meaning(each.administration)) is not None:
            yield says.RUNNING_BUT(*each.named, why)


def _not_judged(running: _Running, order: Draft, valuesets: ValueSets, deadline: Deadline) -> Said | None:
    """Why what runs is held to no limit: it says no amount, or one in mL of a strength that nobody knows."""
    written = [
        dosage.read(d, i, valuesets, UTC)
        for i, d in enumerate(deadline.each(order.request.dosage_instruction, "drafts"))
    ]
    rates = [rate for each in written for rate in each.rate]
    if rates and all(each.dimension.startswith("volume") for each in rates):
        return (
            None if _strength(order.description, running, valuesets) else says.RATE_WITHOUT_STRENGTH(*running.named)
        )
    if not running.says_rate and not any(map(says_how_fast, written)):
        return says.NO_RATE_CHARTED(*running.named)
    return None


def _keep_orders(running: Sequence[_Running], request: HookRequest, records: Records, source: Source) -> None:
    """The orders behind, with their whole JSON: a suggestion sends it back."""
    wanted = [reference for each in running if (reference := each.order)]
    if not wanted:
        return
    for raw in request.prefetch.values():
        if b"MedicationRequest" in bytes(memoryview(raw)):
            _keep(records, bundles.page(raw))
    unread = [reference for reference in wanted if records.order_json(_bare(reference)) is None]
    _add(request, records, source, "MedicationRequest", unread)


def _keep(records: Records, page: Page) -> None:
    for item in page.items:
        records.keep_order(item)


def _bare(reference: str) -> str:
    return "/".join(reference.partition("/_history/")[0].rsplit("/", 2)[-2:])


# An order for each -------------------------------------------------------------------------------------------------


def _draft(running: _Running, records: Records, valuesets: ValueSets, deadline: Deadline) -> Draft:
    """The order behind a running infusion at the rate that runs; one made from the administration where none is."""
    order = records.resolve(running.administration.request)
    raw = records.order_json(order.reference) if isinstance(order, MedicationRequest) else None
    assert running.identity is not None
    if isinstance(order, MedicationRequest) and statuses.code_of("order", order.status) in ("active", None):
        known = _identity(described(order, records.resolve), valuesets)
        if known is None or known.drug == running.identity.drug:
            whole = lenient.untyped(raw) if raw is not None else _as_json(order)
            item, is_charted = _at_running_rate(whole, order, running, records, valuesets, deadline)
            if isinstance(item.read.resource, MedicationRequest):
                description = _with_strength(running, described(order, records.resolve), known, valuesets)
                request = item.read.resource
                return Draft(request, item, True, description, running.identity, is_charted=is_charted)
    item = _item(_made_from(running.administration))
    assert isinstance(item.read.resource, MedicationRequest)
    stands_for = running.administration.reference
    return Draft(item.read.resource, item, True, running.description, running.identity, stands_for)


def _with_strength(
    running: _Running, ordered: Description, known: Identity | None, valuesets: ValueSets
) -> Description:
    """What is given as it was charted, or as it was ordered where only the order says its strength."""
    is_told = _strength(running.description, running, valuesets) is not None
    return running.description if is_told or known is None else ordered


def _as_json(resource: msgspec.Struct) -> Any:
    """The fields that were read, as JSON."""
    return lenient.untyped(lenient.encode(resource))


def _item(order: Any) -> Item:
    raw = lenient.encode(order)
    return Item(lenient.decode(raw), raw)


def _at_running_rate(
    whole: dict[str, Any],
    order: MedicationRequest,
    running: _Running,
    records: Records,
    valuesets: ValueSets,
    deadline: Deadline,
) -> tuple[Item, bool]:
    """The order with its one rate replaced; one of several rates, of which one runs, is left as it was ordered.

    Where what runs is none of those that it says, or it says none, it is judged as was charted, with True beside it.
    """
    rate = running.rate
    if rate is None:
        return _item(whole), False
    written = [
        dosage.read(d, i, valuesets, UTC) for i, d in enumerate(deadline.each(order.dosage_instruction, "drafts"))
    ]
    rates = [(each.index, amount) for each in written for amount in each.rate[:1]]
    if len(rates) != 1:
        if (rate.dimension, rate.value) in [(each.dimension, each.value) for _, each in rates]:
            return _item(whole), False
        return _item({**whole, "dosageInstruction": _instructions(running.administration)}), True
    index, ordered = rates[0]
    strengths = [
        _strength(each, running, valuesets) for each in (described(order, records.resolve), running.description)
    ]
    value, unit = _as_ordered(rate, ordered, *strengths)
    # An order whose JSON is too broken to be edited is judged as it stands.
    with contextlib.suppress(KeyError, IndexError, TypeError, ValueError, AttributeError):
        make_edits(whole, [SetRate(index, ordered, value, unit)])
    return _item(whole), False


def _strength(description: Description, running: _Running, valuesets: ValueSets) -> Fraction | None:
    assert running.identity is not None
    found = concentration.read(description, _identity(description, valuesets) or running.identity, valuesets)
    return found.mg_per_ml if found.by != "name" else None


def _as_ordered(
    rate: Amount, ordered: Amount, ordered_strength: Fraction | None, strength: Fraction | None
) -> tuple[Fraction, str]:
    """(number, unit) of the running rate, in the unit of the order where it is of its kind.

    mL of another strength than the order's are converted to mg.
    """
    dimension, value = rate.dimension, rate.value
    as_volume = dimension == ordered.dimension and strength in (ordered_strength, None)
    if dimension.startswith("volume") and not as_volume and strength is not None:
        dimension, value = dimension.replace("volume", "mass"), value * strength
    if dimension == ordered.dimension and ordered.shape != "ratio":
        return value / units.find(ordered.unit, dimension).factor, ordered.unit
    if dimension == rate.dimension and rate.shape == "quantity":
        return rate.written, rate.unit
    return value, units.CANONICAL[dimension].code


def _made_from(administration: MedicationAdministration) -> dict[str, Any]:
    """An order that says what an administration says. It has no id: nothing can be changed by it."""
    sent = _as_json(administration)
    same = ("medicationCodeableConcept", "medicationReference", "medication", "contained", "subject", "reasonCode")
    return {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "dosageInstruction": _instructions(administration),
        **{key: sent[key] for key in same if sent.get(key)},
    }


def _instructions(administration: MedicationAdministration) -> list[dict[str, Any]]:
    """What is given, as the one instruction of an order."""
    given = _as_json(administration).get("dosage") or {}
    amounts = {"doseQuantity": "dose", "rateQuantity": "rateQuantity", "rateRatio": "rateRatio"}
    entry = {name: given[key] for name, key in amounts.items() if given.get(key)}
    instruction = {"doseAndRate": [entry]} if entry else {}
    instruction |= {key: given[key] for key in ("text", "route", "method") if given.get(key)}
    return [instruction] if instruction else []
