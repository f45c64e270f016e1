"""From a request to its drafts and the patient's records: prefetch first, then what it lacks, all at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cds_service import bounds
from cds_service.chart.medicines import counts
from cds_service.deadline import Deadline
from cds_service.fhir import bundles, lenient
from cds_service.fhir import records as reading
from cds_service.fhir.bundles import Item, Page
from cds_service.fhir.medication import described, to_read
from cds_service.fhir.records import Records, bare_id
from cds_service.fhir.resources import (
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Observation,
    subject_of,
)
from cds_service.fhir.source import Answer, Source, read_named
from cds_service.hooks.request import HookRequest, is_identifier
from cds_service.knowledge import Knowledge
from cds_service.orders.draft import Draft, drafts, is_other_patients
from cds_service.orders.elsewhere import hidden_elsewhere, ordered_elsewhere
from cds_service.rules.judged import Note
from cds_service.says import Said, Says, drug_named
from cds_service.says import records as says
from cds_service.says.orders import either
from cds_service.terminology.glance import may_concern
from cds_service.terminology.identity import identify


def read_drafts(
    request: HookRequest, knowledge: Knowledge, source: Source, deadline: Deadline
) -> tuple[list[Draft], Records]:
    """The drafts and what they are; a medication that is only referenced is looked for in prefetch, then fetched.

    Raises Late.
    """
    records = Records(patient_id(request))
    records.add(Page(tuple(item for item in request.drafts if item.read.type in ("Medication", "Condition"))))
    for item in request.drafts:
        if not item.is_contained:  # a change of it could not be sent back
            records.keep_order(item)

    def read() -> list[Draft]:
        return drafts(request.drafts, request.selections, records.resolve, knowledge.valuesets, deadline=deadline)

    found = read()
    if not any(draft.identity is None and draft.description.to_fetch for draft in found):
        return found, records
    for raw in deadline.each(request.prefetch.values(), "prefetch"):
        if b"Medication" in bytes(memoryview(raw)):
            page = bundles.page_to_read(raw, deadline=deadline)
            records.add(Page(tuple(item for item in page.items if item.read.type == "Medication")))
    found = read()
    unknown = sorted((draft for draft in found if draft.identity is None), key=lambda draft: not draft.selected)
    named = [draft.description.to_fetch for draft in unknown]
    for page in read_named(source, "Medication", named, request.fhir_server):
        records.add(page)
    return read(), records


def ending(request: HookRequest, records: Records, knowledge: Knowledge, deadline: Deadline) -> list[Draft]:
    """The drafts that end a judged order of this patient: no orders, but how they end one is judged.

    Raises Late.
    """
    found = drafts(
        request.drafts, request.selections, records.resolve, knowledge.valuesets, ending=True, deadline=deadline
    )
    return [draft for draft in found if draft.identity is not None and draft.selected]


def patient_id(request: HookRequest) -> str:
    """The patient in context; where the request names none, the one that all drafts name."""
    if request.patient_id is not None:
        return request.patient_id
    subjects = {
        bare_id(subject.reference)
        for item in request.drafts
        if item.read.resource is not None and (subject := subject_of(item.read.resource)) and subject.reference
    }
    named = subjects.pop() if len(subjects) == 1 else ""
    return named if is_identifier(named) else ""


def fetch_missing(
    request: HookRequest,
    records: Records,
    prefetched: reading.Prefetched,
    knowledge: Knowledge,
    source: Source,
    sends: frozenset[str] | None = None,
) -> None:
    """All that the prefetch lacks, at once; what cannot be had is a gap.

    `sends` are the queries that the client is known to send, if any are named: one of them that does not come has
    failed. Any other that does not come, where there is nobody to ask, was not sent.
    """
    records.promised = sends or frozenset()
    by_key = knowledge.query_of
    urls: dict[str, str] = dict(prefetched.next_links)
    for query in knowledge.queries:
        if query.key in prefetched.answered or (query.key in prefetched.assumed and source.why_not):
            continue
        url = query.url(request.context)
        if source.why_not is not None and query.key not in prefetched.next_links:
            if url is not None or query.key != "encounter":
                _leave_out(query.key, records, source.why_not, sends)
        elif url is not None:
            urls[query.key] = url
        elif query.key != "encounter":
            records.gaps[query.key] = says.NO_PATIENT_NAMED
    # One Bundle under a foreign key may answer several queries, with one next page between them.
    first_of = {url: key for key, url in reversed(urls.items())}
    unnamed = {} if source.why_not else _unnamed_medications(records, request)
    asked = {key: url for url, key in first_of.items()} | unnamed
    if not asked:
        return
    answers = source.fetch(asked)
    for key, url in urls.items():
        answer = answers[first_of[url]]
        gap = answer.gap
        is_rest = key in prefetched.next_links
        if gap and is_rest:
            gap = says.FIRST_PAGE(gap)
        if gap and key in prefetched.assumed:
            continue
        if not is_rest:
            records.gaps.pop(key, None)  # what was sent in its place
        reading.add_answer(records, by_key[key], answer.pages, gap, is_rest)
    _add_medications(records, [answers[url] for url in unnamed if url in answers])
    further = {url: url for url in _unnamed_medications(records, request) if url not in asked}
    if further and not source.why_not:
        _add_medications(records, source.fetch(further).values())


def _unnamed_medications(records: Records, request: HookRequest) -> dict[str, str]:
    """The references of medicines of the chart that say nothing but where to look."""
    found: dict[str, str] = {}
    medicines: list[MedicationRequest | MedicationStatement | MedicationAdministration | MedicationDispense] = [
        *records.of(MedicationRequest),
        *records.of(MedicationStatement),
        *records.of(MedicationAdministration),
        *records.of(MedicationDispense),
    ]
    for resource in medicines:
        reference = described(resource, records.resolve).to_fetch if counts(resource) else None
        url = to_read(reference, "Medication", request.fhir_server) if reference else None
        if url is not None and len(found) < bounds.MEDICATIONS:
            found[url] = url
    return found


def _add_medications(records: Records, answers: Iterable[Answer]) -> None:
    for answer in answers:
        for page in answer.pages:
            records.add(page)


def _leave_out(key: str, records: Records, why: Says, sends: frozenset[str] | None) -> None:
    """A query that nobody answered. Where something else was sent in its place, that is why."""
    if key in records.gaps:
        return
    if sends is not None and key in sends:
        records.gaps[key] = says.NOT_SENT_AS_ALWAYS
    else:
        records.gaps[key] = why
        records.not_sent.add(key)


def contained_weights(ours: Sequence[Draft]) -> list[Item]:
    """Observations that a ketamine order carries in itself."""
    items = []
    shared = {id(raw): raw for draft in ours for raw in draft.request.contained}  # orders of one holder share theirs
    for raw in shared.values():
        read = lenient.decode(raw)
        if isinstance(read.resource, Observation):
            items.append(Item(read, raw))
    return items


def draft_faults(found: Sequence[Draft], request: HookRequest, records: Records) -> list[Says]:
    """What could not be read of the drafts that were judged, and entries that are none."""
    ours = [d for d in found if d.identity is not None and not is_other_patients(d, records.patient_id)]
    notes: list[Says] = [fault for draft in ours for fault in draft.faults]
    notes += [fault for item in request.drafts if item.read.resource is None for fault in item.read.faults]
    return notes


def unjudged(found: Sequence[Draft], request: HookRequest, records: Records, knowledge: Knowledge) -> list[Note]:
    """The drafts that are of a judged drug, or may be, and are not judged. Each is said as a warning."""
    told: list[Said] = []
    is_ordered = any(draft.identity is not None for draft in found)
    unknown = says.WHETHER_IT_IS(either(map(drug_named, knowledge.families)))
    for draft in found:
        if draft.identity is not None and is_other_patients(draft, records.patient_id):
            family = knowledge.by_drug[draft.identity.drug].protocol.id
            told.append(says.DRAFT_OF_ANOTHER(drug_named(family)))
        elif draft.identity is None and draft.selected and (why := _may_be(draft, unknown, knowledge)) is not None:
            told.append(why)
    for item in request.drafts:
        kind = item.read.type
        if kind in _UNOPENED and item.read.resource is None:
            told.append(says.DRAFT_UNREAD(unknown))
        elif (kind in _GIVES and (drug := _given_by(item, records, knowledge)) is not None) or (
            kind and not is_ordered and (drug := ordered_elsewhere(item, knowledge.valuesets)) is not None
        ):
            told.append(says.DRAFT_NO_REQUEST(kind, drug_named(drug)))
        elif kind and not is_ordered and (more := hidden_elsewhere(item, knowledge.valuesets)) is not None:
            told.append(says.DRAFT_HOLDS_MORE(more, unknown))
    if request.drafts_say_twice and is_ordered:
        told.append(says.DRAFTS_TWICE)
    sent = request.unread_drafts
    if sent and not is_ordered and not told and may_concern(sent, knowledge.valuesets):
        told.append(says.DRAFT_UNREAD(unknown))
    return [Note("draft", each) for each in dict.fromkeys(told)]


def _may_be(draft: Draft, unknown: Said, knowledge: Knowledge) -> Said | None:
    """Why a draft of no drug that is known may be of a judged one all the same."""
    if draft.description.to_fetch:
        return says.DRAFT_ONLY_REFERENCED(unknown)
    if draft.is_cut:
        return says.DRAFT_HOLDS_MORE(draft.faults[0], unknown)
    if draft.is_unknown:
        return says.DRAFT_WITHOUT_MEDICATION(unknown)
    if (named := draft.names_elsewhere(knowledge.valuesets)) is not None:
        return says.DRAFT_NAMES_ELSEWHERE(drug_named(named), unknown)
    drug = draft.misspelt(knowledge.valuesets)
    return None if drug is None else says.DRAFT_MISSPELT(drug_named(drug), unknown)


_UNOPENED = frozenset({"MedicationRequest", "Bundle", "Parameters"})
_GIVES = frozenset({"MedicationDispense", "MedicationAdministration"})
"""What may hold the drug among the drafts, and is no order."""
_OVER = frozenset({"completed", "entered-in-error", "not-done", "stopped", "cancelled", "declined"})


def _given_by(item: Item, records: Records, knowledge: Knowledge) -> str | None:
    """The drug of a dispense or an administration that is not over."""
    try:
        sent = lenient.untyped(item.raw)
        read = lenient.read({**sent, "resourceType": "MedicationAdministration"}).resource
    except (*lenient.UNREADABLE, TypeError):
        return None
    if not isinstance(read, MedicationAdministration) or read.status in _OVER:
        return None
    told = described(read, records.resolve)
    identity = identify(told.all_codings, told.all_texts, knowledge.valuesets)
    return identity.drug if identity is not None else None
