"""From a request to its cards: the whole line on one page, without HTTP in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from cards import acknowledged as quiet
from cards import compose, texts
from cards.acknowledged import NOTHING, Acknowledged
from cards.model import Coding, Response
from cds_service import running_orders
from cds_service.chart.chart import Chart
from cds_service.fhir import bundles, lenient
from cds_service.fhir import queries as query_list
from cds_service.fhir import records as reading
from cds_service.fhir.bundles import Item, Page
from cds_service.fhir.client import Source
from cds_service.fhir.queries import Query
from cds_service.fhir.records import Records
from cds_service.fhir.resources import Observation, subject_of
from cds_service.hooks import response
from cds_service.hooks.errors import Malformed
from cds_service.hooks.request import HookRequest
from cds_service.orders import draft as drafts
from cds_service.orders.draft import Draft, KetamineOrder
from cds_service.orders.indication import Kinds
from cds_service.protocol.limits import Limits
from cds_service.protocol.model import Protocol
from cds_service.protocol.overlay import load_with_overlay, texts_beside
from cds_service.rules import judge
from cds_service.rules.case import Case
from cds_service.rules.judged import Judged, judged
from cds_service.terminology import valuesets as terminology
from cds_service.terminology.valuesets import ValueSets

TOPIC_SYSTEM = "https://ketamine-cds.github.io/fhir/CodeSystem/rules"
_OVERRIDE_SYSTEM = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"


@dataclass(frozen=True)
class Knowledge:
    """Everything that is loaded once: the protocol, the codes, the words, the queries."""

    protocol: Protocol
    valuesets: ValueSets
    limits: Limits
    texts: texts.Texts
    queries: tuple[Query, ...]
    indications: Mapping[str, Kinds]
    override_reasons: tuple[Coding, ...]
    public_url: str
    site_products: Mapping[tuple[str, str], Fraction] = dataclasses.field(default_factory=dict)


def load(
    public_url: str = "http://127.0.0.1:8000", overlay: str | None = None, site_valuesets: str | None = None
) -> Knowledge:
    """Load and check it all, with a site's overlay file and its directory of value sets.

    Raises ProtocolError, ValueSetError or TextError.
    """
    valuesets = terminology.load(Path(site_valuesets) if site_valuesets else None)
    protocol = load_with_overlay(overlay, valuesets)
    judge.check(protocol)
    limits = Limits(protocol)
    return Knowledge(
        protocol=protocol,
        valuesets=valuesets,
        limits=limits,
        texts=texts.load(
            ((rule.id, [tier.name for tier in rule.tiers]) for rule in protocol.rules.values()), texts_beside(overlay)
        ),
        queries=query_list.load(valuesets),
        indications={name: Kinds(i.sets, i.order_sets) for name, i in protocol.indications.items()},
        override_reasons=tuple(
            Coding(system=system, code=member.code, display=member.display)
            for system, member in valuesets["override_reasons"].members
        ),
        public_url=public_url.rstrip("/"),
        site_products=_site_products(protocol, limits),
    )


def _site_products(protocol: Protocol, limits: Limits) -> dict[tuple[str, str], Fraction]:
    """mg of base per mL: a strength that is stated as salt is divided by the salt factor, and only that."""
    factor = limits.book(protocol.drugs[0], protocol.date).number("salt-factor")
    return {
        (product.system, product.code): Fraction(product.mg_per_ml) / (factor if product.basis == "salt" else 1)
        for product in protocol.products
    }


@dataclass(frozen=True)
class Advice:
    """An answer, and what stands behind it for those who record it; without ketamine there is nothing behind it."""

    response: Response
    judged: Sequence[Judged] = ()
    composed: Sequence[compose.Composed] = ()
    patient: str = ""
    """The patient's id on the EHR's server; empty where it is not known."""
    failed: bool = False
    """The service itself failed, and the only card says so."""


def advise(request: HookRequest, signing: bool, knowledge: Knowledge, source: Source, now: datetime) -> Response:
    """The cards for one order-select (`signing` False) or order-sign request, or for a patient-view one.

    Without a ketamine draft, and at patient-view without a running ketamine infusion: no cards. Raises Malformed
    only then; at patient-view PreconditionFailed where nothing is known of what runs.
    """
    return advice(request, signing, knowledge, source, now).response


def advice(
    request: HookRequest,
    signing: bool,
    knowledge: Knowledge,
    source: Source,
    now: datetime,
    acknowledged: Acknowledged = NOTHING,
) -> Advice:
    """As `advise`, with what stands behind the cards. What `acknowledged` remembers is quiet (4b, item 4)."""
    line = _read_and_judge(request, signing, knowledge, source, now, acknowledged)
    if line is None:
        return Advice(response.EMPTY)
    results, notes = line
    composed = compose.compose(results, _setting(request, signing, knowledge, now), notes)
    extension = response.extension(results, knowledge.protocol.version, knowledge.protocol.site)
    answer = Response(cards=[each.card for each in composed], extension=extension)
    return Advice(answer, results, composed, _patient_id(request))


def explain(
    request: HookRequest,
    signing: bool,
    knowledge: Knowledge,
    source: Source,
    now: datetime,
    acknowledged: Acknowledged = NOTHING,
) -> tuple[list[Judged], list[str]]:
    """Every rule's outcome for each ketamine order, and the notes on what was read."""
    return _read_and_judge(request, signing, knowledge, source, now, acknowledged) or ([], [])


def _read_and_judge(
    request: HookRequest,
    signing: bool,
    knowledge: Knowledge,
    source: Source,
    now: datetime,
    acknowledged: Acknowledged,
) -> tuple[list[Judged], list[str]] | None:
    """The outcomes and notes; None where no order is, or may be, ketamine."""
    prefetched: reading.Prefetched | None = None
    if request.viewing:
        found, records, prefetched = running_orders.read(request, knowledge.queries, knowledge.valuesets, source)
    else:
        found, records = _drafts(request, knowledge, source)
    mine = [draft for draft in found if draft.identity is not None]
    doubtful = [draft for draft in found if draft.identity is None and draft.description.to_fetch]
    ending = _ending(request, records, knowledge)
    if not any(draft.selected for draft in (*mine, *doubtful, *ending)):
        if request.faults and not (mine or doubtful):
            raise Malformed("; ".join(request.faults))
        return None
    if prefetched is None:
        prefetched = reading.from_prefetch(records, request.prefetch, knowledge.queries)
    _fetch_missing(request, records, prefetched, knowledge, source)
    results, chart = _judge(request, mine, ending, records, signing, knowledge, now)
    window = knowledge.limits.book(knowledge.protocol.drugs[0], now.date()).window("quiet-hours", now)
    results = quiet.quieted(results, records.patient_id, acknowledged, window, now)
    if not (mine or doubtful):
        return results, []  # an order that only ends needs nothing that could not be read
    notes = [*request.notes, *request.faults, *records.notes, *records.foreign_notes(), *chart.notes]
    notes += _draft_notes(doubtful, found, records, request)
    return results, list(dict.fromkeys(notes))


def failure(knowledge: Knowledge) -> Response:
    """The answer when the service itself fails: the order was not checked, and the card says so."""
    card = compose.not_checked_at_all(
        knowledge.texts, knowledge.protocol, TOPIC_SYSTEM, _source_url(knowledge), knowledge.override_reasons
    )
    version, site = knowledge.protocol.version, knowledge.protocol.site
    return Response(cards=[card], extension=response.extension([], version, site))


def _drafts(request: HookRequest, knowledge: Knowledge, source: Source) -> tuple[list[Draft], Records]:
    """The drafts and what they are; a medication that is only referenced is looked for in prefetch, then fetched."""
    records = Records(_patient_id(request))
    records.add(Page(tuple(item for item in request.drafts if item.read.type in ("Medication", "Condition"))))
    for item in request.drafts:
        records.keep_order(item)

    def read() -> list[Draft]:
        return drafts.drafts(request.drafts, request.selections, records.resolve, knowledge.valuesets)

    found = read()
    if not any(draft.identity is None and draft.description.to_fetch for draft in found):
        return found, records
    for raw in request.prefetch.values():
        if b"Medication" in bytes(memoryview(raw)):
            page = bundles.page_to_read(raw)
            records.add(Page(tuple(item for item in page.items if item.read.type == "Medication")))
    found = read()
    wanted = [draft.description.to_fetch for draft in found if draft.identity is None]
    urls = {url: url for url in wanted if url}
    if not urls:
        return found, records
    for answer in source.fetch(urls).values():
        for page in answer.pages:
            records.add(page)
    return read(), records


def _ending(request: HookRequest, records: Records, knowledge: Knowledge) -> list[Draft]:
    """The drafts that end a ketamine order of this patient: no orders, but how they end one is judged."""
    found = drafts.drafts(request.drafts, request.selections, records.resolve, knowledge.valuesets, ending=True)
    return [draft for draft in found if draft.identity is not None and draft.selected]


def _patient_id(request: HookRequest) -> str:
    """The patient in context; where the request names none, the one that all drafts name."""
    if request.patient_id is not None:
        return request.patient_id
    subjects = {
        subject.reference.rpartition("/")[2]
        for item in request.drafts
        if item.read.resource is not None and (subject := subject_of(item.read.resource)) and subject.reference
    }
    return subjects.pop() if len(subjects) == 1 else ""


def _fetch_missing(
    request: HookRequest,
    records: Records,
    prefetched: reading.Prefetched,
    knowledge: Knowledge,
    source: Source,
) -> None:
    """All that the prefetch lacks, at once; what cannot be had is a gap."""
    by_key = {query.key: query for query in knowledge.queries}
    urls: dict[str, str] = dict(prefetched.next_links)
    for query in knowledge.queries:
        if query.key in prefetched.answered or (query.key in prefetched.assumed and source.why_not):
            continue
        url = query.url(request.context)
        if url is not None:
            urls[query.key] = url
        elif query.key != "encounter":
            records.gaps[query.key] = "the request does not say which patient"
    if not urls:
        return
    # One Bundle under a foreign key may answer several queries, with one next page between them.
    first_of = {url: key for key, url in reversed(urls.items())}
    answers = source.fetch({key: url for url, key in first_of.items()})
    for key, url in urls.items():
        answer = answers[first_of[url]]
        gap = answer.gap
        if gap and key in prefetched.next_links:
            gap = f"only its first page was sent, and {gap}"
        if gap and key in prefetched.assumed:
            continue
        reading.add_answer(records, by_key[key], answer.pages, gap)


def _judge(
    request: HookRequest,
    mine: Sequence[Draft],
    ending: Sequence[Draft],
    records: Records,
    signing: bool,
    knowledge: Knowledge,
    now: datetime,
) -> tuple[list[Judged], Chart]:
    zone = now.tzinfo or UTC
    ours = [draft for draft in mine if not drafts.is_other_patients(draft, records.patient_id)]
    grouped = drafts.groups(request.drafts)
    orders, ended = (
        [
            drafts.read(
                d, grouped, knowledge.indications, records.resolve, knowledge.valuesets, zone, knowledge.site_products
            )
            for d in each
            if not drafts.is_other_patients(d, records.patient_id)
        ]
        for each in (ours, ending)
    )
    records.add(Page(tuple(_contained_weights(ours))))
    tolerance = knowledge.limits.book(knowledge.protocol.drugs[0], now.date()).window("clock-tolerance", now)
    chart = Chart(
        records,
        knowledge.valuesets,
        now,
        tolerance,
        queries=knowledge.queries,
        encounter_id=request.encounter_id,
        drafted=[item.read.resource for item in request.drafts if item.read.resource is not None],
    )
    case = partial(_case, chart=chart, signing=signing, viewing=request.viewing, knowledge=knowledge)
    results = [judged(case(order, orders)) for order in orders if order.draft.selected]
    results += [judged(dataclasses.replace(case(order, orders), stopping=True)) for order in ended]
    return results, chart


def _case(
    order: KetamineOrder,
    orders: Sequence[KetamineOrder],
    chart: Chart,
    signing: bool,
    viewing: bool,
    knowledge: Knowledge,
) -> Case:
    return Case(
        order=order,
        companions=orders,
        chart=chart,
        protocol=knowledge.protocol,
        limits=knowledge.limits,
        valuesets=knowledge.valuesets,
        signing=signing,
        viewing=viewing,
    )


def _contained_weights(ours: Sequence[Draft]) -> list[Item]:
    """Observations that a ketamine order carries in itself."""
    items = []
    for draft in ours:
        for raw in draft.request.contained:
            read = lenient.decode(raw)
            if isinstance(read.resource, Observation):
                items.append(Item(read, raw))
    return items


def _draft_notes(
    doubtful: Sequence[Draft], found: Sequence[Draft], records: Records, request: HookRequest
) -> list[str]:
    """What must be said of the drafts themselves."""
    notes = [
        "a draft order's medication is only referenced and could not be read: whether it is ketamine is not known"
        for draft in doubtful
        if draft.selected
    ]
    for draft in found:
        if draft.identity is not None and drafts.is_other_patients(draft, records.patient_id):
            notes.append("a ketamine draft names another patient and was not judged")
        elif draft.identity is not None:
            notes += draft.item.read.faults
    notes += [fault for item in request.drafts if item.read.resource is None for fault in item.read.faults]
    return notes


def _setting(request: HookRequest, signing: bool, knowledge: Knowledge, now: datetime) -> compose.Setting:
    return compose.Setting(
        texts=knowledge.texts,
        protocol=knowledge.protocol,
        override_reasons=knowledge.override_reasons,
        topic_system=TOPIC_SYSTEM,
        source_url=_source_url(knowledge),
        data_names={query.key: query.says for query in knowledge.queries},
        signing=signing,
        instance=_instance(request.hook_instance, now),
        now=now,
        interruptive=int(knowledge.limits.book(knowledge.protocol.drugs[0], now.date()).number("interruptive-cards")),
    )


def _source_url(knowledge: Knowledge) -> str:
    return f"{knowledge.public_url}/protocol/"


def _instance(hook_instance: str | None, now: datetime) -> UUID:
    """A name space for identifiers: the hook instance, or the moment where there is none."""
    try:
        return UUID(hook_instance or "")
    except ValueError:
        return uuid5(NAMESPACE_URL, hook_instance or now.isoformat())
