"""From a request to its drafts and the patient's records: prefetch first, then what it lacks, all at once."""

from __future__ import annotations

from collections.abc import Sequence

from cds_service.fhir import bundles, lenient
from cds_service.fhir import records as reading
from cds_service.fhir.bundles import Item, Page
from cds_service.fhir.client import Source
from cds_service.fhir.records import Records
from cds_service.fhir.resources import Observation, subject_of
from cds_service.hooks.request import HookRequest
from cds_service.knowledge import Knowledge
from cds_service.orders.draft import Draft, drafts, is_other_patients


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
    sends: frozenset[str] | None = None,
) -> None:
    """All that the prefetch lacks, at once; what cannot be had is a gap.

    `sends` are the queries that the client is known to send, if any are named: one of them that does not come has
    failed. Any other that does not come, where there is nobody to ask, was not sent.
    """
    by_key = {query.key: query for query in knowledge.queries}
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
        if key not in prefetched.next_links:
            records.gaps.pop(key, None)  # what was sent in its place
        reading.add_answer(records, by_key[key], answer.pages, gap)


def _leave_out(key: str, records: Records, why: str, sends: frozenset[str] | None) -> None:
    """A query that nobody answered. Where something else was sent in its place, that is why."""
    if key in records.gaps:
        return
    if sends is not None and key in sends:
        records.gaps[key] = "it was not sent, and this client always sends it"
    else:
        records.gaps[key] = why
        records.not_sent.add(key)


def contained_weights(ours: Sequence[Draft]) -> list[Item]:
    """Observations that a ketamine order carries in itself."""
    items = []
    for draft in ours:
        for raw in draft.request.contained:
            read = lenient.decode(raw)
            if isinstance(read.resource, Observation):
                items.append(Item(read, raw))
    return items


def draft_notes(
    doubtful: Sequence[Draft], found: Sequence[Draft], records: Records, request: HookRequest
) -> list[str]:
    """What must be said of the drafts themselves."""
    notes = [
        "a draft order's medication is only referenced and could not be read: whether it is ketamine is not known"
        for draft in doubtful
        if draft.selected
    ]
    for draft in found:
        if draft.identity is not None and is_other_patients(draft, records.patient_id):
            notes.append("a ketamine draft names another patient and was not judged")
        elif draft.identity is not None:
            notes += draft.item.read.faults
    notes += [fault for item in request.drafts if item.read.resource is None for fault in item.read.faults]
    return notes
