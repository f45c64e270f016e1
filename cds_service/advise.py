"""From a request to its cards: the whole line on one page, without HTTP in it."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, UUID, uuid5

from cds_service import gather, running_orders
from cds_service.cards import acknowledged as quiet
from cds_service.cards import compose
from cds_service.cards.acknowledged import NOTHING, Acknowledged, Recorded
from cds_service.cards.model import Response
from cds_service.cards.texts import ENGLISH, Texts
from cds_service.cases import cases
from cds_service.chart.chart import Chart
from cds_service.deadline import NEVER, Deadline, Late, in_stretches
from cds_service.fhir import records as reading
from cds_service.fhir.bundles import Page
from cds_service.fhir.records import Records
from cds_service.fhir.source import NoSource, Source
from cds_service.hooks import response
from cds_service.hooks.errors import Malformed
from cds_service.hooks.request import HookRequest
from cds_service.knowledge import TOPIC_SYSTEM, Knowledge
from cds_service.orders import draft as drafts
from cds_service.orders.draft import Draft
from cds_service.protocol.model import Rule
from cds_service.rules.alike import Known
from cds_service.rules.case import Case, hook_of
from cds_service.rules.judged import Judged, Note, judged, settle, with_offers
from cds_service.rules.reads import rules_of
from cds_service.says import Says


@dataclass(frozen=True)
class Advice:
    """An answer, and what stands behind it for those who record it; without a judged drug nothing is behind it."""

    response: Response
    judged: Sequence[Judged] = ()
    composed: Sequence[compose.Composed] = ()
    patient: str = ""
    """The patient's id on the EHR's server; empty where it is not known."""
    failed: bool = False
    """The service itself failed, and the only card says so."""
    language: str = ENGLISH
    """Of the cards."""
    version: str | None = None
    """Of the protocols that judged."""
    recorded: Recorded = str
    """What the store is told, in words."""


def advise(
    request: HookRequest,
    signing: bool,
    knowledge: Knowledge,
    source: Source,
    now: datetime,
    deadline: Deadline = NEVER,
) -> Response:
    """The cards for one order-select (`signing` False) or order-sign request, or for a patient-view one.

    Without a draft that is judged, and at patient-view without such an infusion that runs: no cards. Raises Malformed
    only then; at patient-view PreconditionFailed where nothing is known of what runs. What is not known by the
    deadline is said: the rules that were reached keep their cards.
    """
    return advice(request, signing, knowledge, source, now, deadline=deadline).response


def advice(
    request: HookRequest,
    signing: bool,
    knowledge: Knowledge,
    source: Source,
    now: datetime,
    acknowledged: Acknowledged = NOTHING,
    deadline: Deadline = NEVER,
    sends: frozenset[str] | None = None,
    languages: Sequence[str] = (),
) -> Advice:
    """As `advise`, with what stands behind the cards. What `acknowledged` remembers is quiet.

    `sends` are the queries that the client is known to send, if its entry names them. `languages` are those of the
    user, the preferred one first; what the texts do not say in it is said in English.
    """
    try:
        read = open_request(request, knowledge, source, now, deadline, sends)
        return (
            Advice(response.EMPTY)
            if read is None
            else answer(read, signing, knowledge, now, acknowledged, deadline, sends, languages)
        )
    except Late:
        return _nothing_in_time(request, signing, knowledge, languages)


def answer(
    read: Opened,
    signing: bool,
    knowledge: Knowledge,
    now: datetime,
    acknowledged: Acknowledged = NOTHING,
    deadline: Deadline = NEVER,
    sends: frozenset[str] | None = None,
    languages: Sequence[str] = (),
) -> Advice:
    """As `advice`, of a request that was read. Raises Late."""
    texts = knowledge.texts.spoken(languages)
    results, notes = _judge_opened(read, signing, knowledge, now, acknowledged, deadline)
    results = [with_offers(each) for each in results]
    composed = compose.compose(results, _setting(read.request, signing, knowledge, texts, now, sends), notes)
    for each in results:
        settle(each)
    version = knowledge.version(each.drug for each in results)
    extension = response.extension(results, version, knowledge.protocol.site, texts.recorded)
    return Advice(
        Response(cards=[each.card for each in composed], extension=extension),
        results,
        composed,
        gather.patient_id(read.request),
        language=texts.language,
        version=version,
        recorded=texts.recorded,
    )


@dataclass(frozen=True)
class Found:
    """What an answer would show, for those who only count: the orders, and the cards without a word of them."""

    judged: Sequence[Judged]
    cards: Sequence[compose.Place]


def find(
    read: Opened,
    signing: bool,
    knowledge: Knowledge,
    now: datetime,
    deadline: Deadline = NEVER,
    sends: frozenset[str] | None = None,
) -> Found:
    """As `answer` of a call of which nothing was overridden. No card and no offer is made: both cost as much as
    judging. Raises Late.
    """
    results, notes = _judge_opened(read, signing, knowledge, now, NOTHING, deadline, read.known[signing])
    texts = knowledge.texts.spoken(())
    setting = _setting(read.request, signing, knowledge, texts, now, sends)
    return Found(results, compose.arrange(results, setting, notes))


def explain(
    request: HookRequest,
    signing: bool,
    knowledge: Knowledge,
    source: Source,
    now: datetime,
    acknowledged: Acknowledged = NOTHING,
) -> tuple[list[Judged], list[str]]:
    """Every rule's outcome for each order that is judged, and the notes on what was read."""
    read = open_request(request, knowledge, source, now)
    results, notes = _judge_opened(read, signing, knowledge, now, acknowledged, NEVER) if read else ([], [])
    results = [with_offers(each) for each in results]
    words = knowledge.texts.words
    said = (words.say(f"doubt-{n.key}", value=n.value) if isinstance(n, Note) else words.fill(n) for n in notes)
    return results, list(said)


def read(
    request: HookRequest, signing: bool, knowledge: Knowledge, now: datetime, source: Source | None = None
) -> tuple[list[Case], Chart]:
    """(the orders, the patient's chart) of a request, as the rules get them; without a source it brings its data."""
    source = source or NoSource()
    found, records = gather.read_drafts(request, knowledge, source, NEVER)
    mine = [draft for draft in found if draft.identity is not None]
    prefetched = reading.from_prefetch(records, request.prefetch, knowledge.queries, NEVER)
    gather.fetch_missing(request, records, prefetched, knowledge, source, None)
    chart = _chart(request, mine, records, knowledge, now, NEVER)
    return cases(request, mine, (), records, chart, signing, knowledge, NEVER)[0], chart


@dataclass(frozen=True)
class Opened:
    """A request and the patient's chart, read once: every policy of the same codes and queries can judge it."""

    request: HookRequest
    found: Sequence[Draft]
    mine: Sequence[Draft]
    """Those of the drafts that are of a judged drug."""
    ending: Sequence[Draft]
    records: Records
    doubts: Sequence[Note]
    chart: Chart | None
    """None: no order is judged, and the doubts are all there is to say."""
    known: dict[bool, dict[int, Known]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(dict)))
    """What was found of each draft, for the next policy that judges it: by whether it is signed, and its identity."""


def open_request(
    request: HookRequest,
    knowledge: Knowledge,
    source: Source,
    now: datetime,
    deadline: Deadline = NEVER,
    sends: frozenset[str] | None = None,
) -> Opened | None:
    """The request with all that is read for it; None where no order is, or may be, of a drug that is judged.

    Raises Malformed where there is nothing but faults, and Late where that is not known in time; afterwards each
    rule says for itself whether it was reached.
    """
    prefetched: reading.Prefetched | None = None
    doubts: list[Note] = []
    if request.viewing:
        found, records, prefetched, doubts = running_orders.read(
            request,
            knowledge.queries,
            knowledge.valuesets,
            source,
            _looked_back(knowledge, now),
            deadline,
            knowledge.texts.recorded,
        )
    else:
        found, records = gather.read_drafts(request, knowledge, source, deadline)
    mine = [draft for draft in found if draft.identity is not None]
    ending = gather.ending(request, records, knowledge, deadline)
    doubts += gather.unjudged(found, request, records, knowledge)
    if not any(draft.selected for draft in (*mine, *ending)) and not request.drafts_cut:
        if doubts:
            return Opened(request, found, mine, ending, records, doubts, None)
        if request.faults and not mine:
            raise Malformed("; ".join(map(knowledge.texts.recorded, request.faults)))
        return None
    if prefetched is None:
        prefetched = reading.from_prefetch(records, request.prefetch, knowledge.queries, deadline)
    gather.fetch_missing(request, records, prefetched, knowledge, source, sends)
    chart = _chart(request, mine, records, knowledge, now, deadline)
    return Opened(request, found, mine, ending, records, doubts, chart)


def _chart(
    request: HookRequest,
    mine: Sequence[Draft],
    records: Records,
    knowledge: Knowledge,
    now: datetime,
    deadline: Deadline,
) -> Chart:
    ours = [draft for draft in mine if not drafts.is_other_patients(draft, records.patient_id)]
    records.add(Page(tuple(gather.contained_weights(ours))))
    return Chart(
        records,
        knowledge.valuesets,
        now,
        _clock_tolerance(knowledge, now),
        queries=knowledge.queries,
        encounter_id=request.encounter_id,
        drafted=[item.read.resource for item in request.drafts if item.read.resource is not None],
        deadline=deadline,
    )


def read_alike(one: Knowledge, other: Knowledge, now: datetime) -> bool:
    """Whether what one policy has opened is what the other would open."""
    same = one.valuesets is other.valuesets and one.queries == other.queries and one.drugs == other.drugs
    return (
        same
        and _clock_tolerance(one, now) == _clock_tolerance(other, now)
        and _looked_back(one, now) == _looked_back(other, now)
    )


def _judge_opened(
    read: Opened,
    signing: bool,
    knowledge: Knowledge,
    now: datetime,
    acknowledged: Acknowledged,
    deadline: Deadline,
    known: Mapping[int, Known] | None = None,
) -> tuple[list[Judged], list[Says | Note]]:
    """The outcomes and notes."""
    request, records, chart = read.request, read.records, read.chart
    if chart is None:
        return [], [*read.doubts, *request.notes, *request.faults]
    results = _judge(read, chart, signing, knowledge, deadline, known)
    window = knowledge.limits.book(knowledge.protocol.drugs[0], now.date()).window(
        knowledge.protocol.conventions.quiet_hours, now
    )
    results = quiet.quieted(results, records.patient_id, acknowledged, window, now, knowledge.texts.recorded)
    notes: list[Says | Note] = [*read.doubts]
    if not (read.mine or read.doubts or request.drafts_cut):
        return results, notes  # an order that only ends needs nothing that could not be read
    notes += [*request.notes, *request.faults, *records.notes, *records.foreign_notes(), *chart.notes]
    notes += gather.draft_faults(read.found, request, records)
    return results, list(dict.fromkeys(notes))


def _clock_tolerance(knowledge: Knowledge, now: datetime) -> timedelta:
    book = knowledge.limits.book(knowledge.protocol.drugs[0], now.date())
    return book.window(knowledge.protocol.conventions.clock_tolerance, now)


def _looked_back(knowledge: Knowledge, now: datetime) -> datetime | None:
    """Since when a dose must have ended to be looked at when a chart is opened; None: no such dose is looked at."""
    book = knowledge.limits.book(knowledge.protocol.drugs[0], now.date())
    spans = [book.window(name, now) for name in knowledge.protocol.conventions.after_dose]
    return now - sum(spans, timedelta()) if spans else None


def failure(
    knowledge: Knowledge, why: str = "failed", late: Sequence[Rule] = (), languages: Sequence[str] = ()
) -> Response:
    """The answer when the service itself fails, or has no time: the order was not checked, and the card says so.

    `why` names the words of the card; `late` are the rules that were not reached.
    """
    texts = knowledge.texts.spoken(languages)
    card = compose.not_checked_at_all(
        texts, knowledge.protocol, TOPIC_SYSTEM, _source_url(knowledge), knowledge.override_reasons, why
    )
    version, site = knowledge.protocol.version, knowledge.protocol.site
    return Response(cards=[card], extension=response.extension([], version, site, texts.recorded, late))


def _nothing_in_time(request: HookRequest, signing: bool, knowledge: Knowledge, languages: Sequence[str]) -> Advice:
    """The answer when the deadline was over before an order could be read: no rule was reached."""
    hook = hook_of(signing, request.viewing)
    parts = knowledge.parts
    rules = [rule for p in parts for stops in (False, True) for rule in rules_of(p.protocol, hook, stops)]
    late = failure(knowledge, "late", rules, languages)
    composed = [compose.Composed(card, ()) for card in late.cards]
    return Advice(late, composed=composed, language=knowledge.texts.spoken(languages).language)


def _judge(
    read: Opened,
    chart: Chart,
    signing: bool,
    knowledge: Knowledge,
    deadline: Deadline,
    known: Mapping[int, Known] | None,
) -> list[Judged]:
    found, left = cases(
        read.request, read.mine, read.ending, read.records, chart, signing, knowledge, deadline, known
    )
    results = [judged(case) for case in in_stretches(found, 1)]
    if left and results:
        more = Note("not-judged", str(left))
        results[0] = dataclasses.replace(results[0], doubts=(*results[0].doubts, more))
    return results


def _setting(
    request: HookRequest,
    signing: bool,
    knowledge: Knowledge,
    texts: Texts,
    now: datetime,
    sends: frozenset[str] | None,
) -> compose.Setting:
    return compose.Setting(
        texts=texts,
        protocol=knowledge.protocol,
        limits=knowledge.limits,
        by_drug=knowledge.limits_of,
        override_reasons=knowledge.override_reasons,
        topic_system=TOPIC_SYSTEM,
        source_url=_source_url(knowledge),
        queries=knowledge.query_of,
        not_sent=sends is None,
        signing=signing,
        instance=_instance(request.hook_instance, now),
        now=now,
        interruptive=_interruptive(knowledge, now),
    )


def _interruptive(knowledge: Knowledge, now: datetime) -> int:
    book = knowledge.limits.book(knowledge.protocol.drugs[0], now.date())
    return int(book.number(knowledge.protocol.conventions.interruptive_cards))


def _source_url(knowledge: Knowledge) -> str:
    return f"{knowledge.public_url}/protocol/"


def _instance(hook_instance: str | None, now: datetime) -> UUID:
    """A name space for identifiers: the hook instance, or the moment where there is none."""
    try:
        return UUID(hook_instance or "")
    except ValueError:
        return uuid5(NAMESPACE_URL, hook_instance or now.isoformat())
