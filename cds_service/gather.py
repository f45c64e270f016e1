"""From a request to its drafts and the patient's records: prefetch first, then what it lacks, all at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cds_service.chart.medicines import counts
from cds_service.fhir import bundles, lenient
from cds_service.fhir import records as reading
from cds_service.fhir.bundles import Item, Page
from cds_service.fhir.client import Answer, Source
from cds_service.fhir.medication import described
from cds_service.fhir.records import Records
from cds_service.fhir.resources import (
    MedicationAdministration,
    MedicationRequest,
    MedicationStatement,
    Observation,
    subject_of,
)
from cds_service.hooks.request import HookRequest
from cds_service.knowledge import Knowledge
from cds_service.orders.draft import Draft, drafts, is_other_patients
from cds_service.rules.judged import Note


def read_drafts(request: HookRequest, knowledge: Knowledge, source: Source) -> tuple[list[Draft], Records]:
    """The drafts and what they are; a medication that is only referenced is looked for in prefetch, then fetched."""
    records = Records(patient_id(request))
    records.add(Page(tuple(item for item in request.drafts if item.read.type in ("Medication", "Condition"))))
    for item in request.drafts:
        records.keep_order(item)

    def read() -> list[Draft]:
        return drafts(request.drafts, request.selections, records.resolve, knowledge.valuesets)

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


def ending(request: HookRequest, records: Records, knowledge: Knowledge) -> list[Draft]:
    """The drafts that end a ketamine order of this patient: no orders, but how they end one is judged."""
    found = drafts(request.drafts, request.selections, records.resolve, knowledge.valuesets, ending=True)
    return [draft for draft in found if draft.identity is not None and draft.selected]


def patient_id(request: HookRequest) -> str:
    """The patient in context; where the request names none, the one that all drafts name."""
    if request.patient_id is not None:
        return request.patient_id
    subjects = {
        subject.reference.rpartition("/")[2]
        for item in request.drafts
        if item.read.resource is not None and (subject := subject_of(item.read.resource)) and subject.reference
    }
    return subjects.pop() if len(subjects) == 1 else ""


def fetch_missing(
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
    # One Bundle under a foreign key may answer several queries, with one next page between them.
    first_of = {url: key for key, url in reversed(urls.items())}
    unnamed = _unnamed_medications(records)
    asked = {key: url for url, key in first_of.items()} | ({} if source.why_not else unnamed)
    if not asked:
        return
    answers = source.fetch(asked)
    for key, url in urls.items():
        answer = answers[first_of[url]]
        gap = answer.gap
        if gap and key in prefetched.next_links:
            gap = f"only its first page was sent, and {gap}"
        if gap and key in prefetched.assumed:
            continue
        reading.add_answer(records, by_key[key], answer.pages, gap)
    _add_medications(records, [answers[url] for url in unnamed if url in answers])
    further = {url: url for url in _unnamed_medications(records) if url not in asked}
    if further and not source.why_not:
        _add_medications(records, source.fetch(further).values())


MOST_MEDICATIONS = 64
"""References that are looked up for one chart."""


def _unnamed_medications(records: Records) -> dict[str, str]:
    """The references of medicines of the chart that say nothing but where to look."""
    found: dict[str, str] = {}
    medicines: list[MedicationRequest | MedicationStatement | MedicationAdministration] = [
        *records.of(MedicationRequest),
        *records.of(MedicationStatement),
        *records.of(MedicationAdministration),
    ]
    for resource in medicines:
        url = described(resource, records.resolve).to_fetch if counts(resource) else None
        if url is not None and len(found) < MOST_MEDICATIONS:
            found[url] = url
    return found


def _add_medications(records: Records, answers: Iterable[Answer]) -> None:
    for answer in answers:
        for page in answer.pages:
            records.add(page)


def contained_weights(ours: Sequence[Draft]) -> list[Item]:
    """Observations that a ketamine order carries in itself."""
    items = []
    for draft in ours:
        for raw in draft.request.contained:
            read = lenient.decode(raw)
            if isinstance(read.resource, Observation):
                items.append(Item(read, raw))
    return items


def draft_doubts(found: Sequence[Draft], records: Records) -> list[Note]:
    """The orders of the request that were not judged, each kind once."""
    selected = [draft for draft in found if draft.selected]
    unknown = sum(1 for draft in selected if draft.is_unknown)
    others = sum(1 for draft in found if draft.identity is not None and is_other_patients(draft, records.patient_id))
    notes = (("draft-unknown", unknown), ("draft-other-patient", others))
    return [Note(key, str(count)) for key, count in notes if count]


def draft_notes(found: Sequence[Draft], records: Records, request: HookRequest) -> list[str]:
    """What must be said of how the drafts were read."""
    notes: list[str] = []
    for draft in found:
        if draft.identity is not None and not is_other_patients(draft, records.patient_id):
            notes += draft.item.read.faults
    notes += [fault for item in request.drafts if item.read.resource is None for fault in item.read.faults]
    return notes
