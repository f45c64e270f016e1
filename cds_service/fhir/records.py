"""The patient's records from all sources: what was read, what is missing and why, and whose it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar
from urllib.parse import unquote

import msgspec

from cds_service import bounds
from cds_service.deadline import NEVER, Deadline, in_stretches
from cds_service.fhir import bundles
from cds_service.fhir.bundles import Item, Page
from cds_service.fhir.datatypes import Reference
from cds_service.fhir.queries import Query
from cds_service.fhir.resources import SUBJECT_OF, MedicationRequest, Observation, Patient, Resource, subject_of
from cds_service.says import Said, Says
from cds_service.says import records as says

R = TypeVar("R", bound=Resource)
_STRETCH = 500
"""Resources that are filed, after which shorter calls go first."""


def same_patient(reference: Reference | None, patient_id: str) -> bool | None:
    """Whether the reference is to this patient; None where it does not say (missing, contained, a search)."""
    if reference is None or not reference.reference:
        return None
    if reference.reference == f"Patient/{patient_id}":
        return True
    target = reference.reference.strip().partition("/_history/")[0].partition("|")[0].rstrip("/")
    if target.startswith("#") or "?" in target:
        return None
    same = bare_id(target) == bare_id(patient_id)
    kind = target.rpartition("/")[0].rpartition("/")[2]
    return same and (kind.lower() in ("patient", "") or target.startswith("urn:"))


def bare_id(text: str) -> str:
    """The id in `Patient/123`, in an address with or without a version, in a URN."""
    target = text.strip().partition("/_history/")[0].partition("|")[0].rstrip("/")
    return target.rpartition(":" if target.startswith("urn:") else "/")[2]


OTHERS = frozenset(
    [
        "Patient",
        "RelatedPerson",
        "Person",
        "Group",
        "Device",
        "Practitioner",
        "PractitionerRole",
        "Organization",
        "Location",
        "Substance",
        "Specimen",
        "BiologicallyDerivedProduct",
        "NutritionProduct",
    ]
)
"""What an observation may be about (`focus`) in the place of its subject; anything else may be the patient's own."""


def about(observation: Observation, patient_id: str) -> Literal["patient", "other", "unclear"]:
    """Whom or what an observation is about, by its `focus`; without one it is about its subject."""
    if not observation.focus or any(same_patient(each, patient_id) for each in observation.focus):
        return "patient"
    kinds = {each.type or (each.reference or "").rpartition("/")[0].rpartition("/")[2] for each in observation.focus}
    return "other" if kinds <= OTHERS else "unclear"


@dataclass(slots=True)
class Records:
    """All resources about one patient. `gaps` names, per query key, why its answer is not complete.

    A query is in one of four states: delivered (no gap), null (no gap and no data), failed (a gap), or not sent and
    not to be fetched (a gap, and the key is in `not_sent`).
    """

    patient_id: str
    gaps: dict[str, Says] = field(default_factory=dict)
    not_sent: set[str] = field(default_factory=set)
    promised: frozenset[str] = frozenset()
    """The query keys that the client's entry says it sends."""
    notes: list[Says] = field(default_factory=list)
    """For the card: dropped and unreadable resources, without their content."""
    _by_type: dict[type[Resource], list[Resource]] = field(default_factory=dict)
    _by_reference: dict[str, Resource] = field(default_factory=dict)
    _foreign: dict[str, int] = field(default_factory=dict)
    _orders: dict[str, bytes] = field(default_factory=dict)
    _not_about: int = 0

    def of(self, kind: type[R]) -> list[R]:
        return self._by_type.get(kind, [])  # type: ignore[return-value]

    def resolve(self, reference: Reference | None) -> Resource | None:
        """The resource that a reference names, among those that are here."""
        if reference is None or not reference.reference:
            return None
        target = reference.reference.partition("/_history/")[0]
        return self._by_reference.get("/".join(target.rsplit("/", 2)[-2:])) or self._by_reference.get(target)

    def add(self, page: Page) -> None:
        """Keep what is this patient's; count what is another's."""
        by_reference, by_type = self._by_reference, self._by_type
        ours = f"Patient/{self.patient_id}"
        for item in in_stretches(page.items, _STRETCH):
            resource = item.resource
            if resource is None:
                continue
            kind = type(resource)
            if isinstance(resource, Observation) and resource.focus and about(resource, self.patient_id) == "other":
                self._not_about += 1
                continue
            subject = SUBJECT_OF[kind](resource)
            # Nearly all name the patient in the same words.
            if (subject is None or subject.reference != ours) and not self._is_ours(resource):
                self._foreign[kind.__name__] = self._foreign.get(kind.__name__, 0) + 1
                continue
            if resource.id:
                reference = f"{kind.__name__}/{resource.id}"
                if reference in by_reference:
                    continue
                by_reference[reference] = resource
            try:
                by_type[kind].append(resource)
            except KeyError:
                by_type[kind] = [resource]
            if item.full_url:
                by_reference.setdefault(item.full_url, resource)

    def keep_order(self, item: Item) -> None:
        """Remember the JSON of a MedicationRequest, from which a changed order is made; the first of an id counts."""
        order, raw = item.read.resource, bytes(item.raw)
        if isinstance(order, MedicationRequest) and order.id and raw and self._is_ours(order):
            self._orders.setdefault(order.reference, raw)

    def order_json(self, reference: str) -> bytes | None:
        """The whole order ("MedicationRequest/id") as it was sent; None where only its fields were read."""
        return self._orders.get(reference)

    def _is_ours(self, resource: Resource) -> bool:
        """A resource that names no subject, as a Medication, is nobody else's."""
        subject = subject_of(resource)
        if subject is not None:
            return same_patient(subject, self.patient_id) is not False
        return not isinstance(resource, Patient) or resource.id in (None, self.patient_id)

    def foreign_notes(self) -> list[Says]:
        notes: list[Says] = [
            says.OF_ANOTHER_PATIENT(str(count), kind) for kind, count in sorted(self._foreign.items())
        ]
        if self._not_about:
            notes.append(says.ABOUT_ANOTHER(str(self._not_about)))
        return notes


_LETTERS = re.compile(r"[^a-z]")
_CODES = re.compile(r"[^0-9A-Za-z.-]+")


@dataclass(slots=True)
class Prefetched:
    """What the prefetch answered, by query key."""

    answered: set[str] = field(default_factory=set)
    assumed: set[str] = field(default_factory=set)
    """Resources of the type came under a key that does not say which, so they may be a part: asked again where
    that is possible, and taken as complete where it is not. What answers another search is in neither set."""
    next_links: dict[str, str] = field(default_factory=dict)
    """The answers that were cut at a page."""


def from_prefetch(
    records: Records, prefetch: Mapping[str, msgspec.Raw], queries: Sequence[Query], deadline: Deadline = NEVER
) -> Prefetched:
    """Take over what the client prefetched, whatever its keys are called.

    A key that is not sent stays unanswered; null and an empty Bundle are complete answers without data; an
    OperationOutcome is an answer that failed and is not asked again (CDS Hooks 2.0, prefetch). The answer to another
    search under our key leaves a gap, and is asked for where that is possible. Raises Late.
    """
    result = Prefetched()
    by_key = {query.key: [query] for query in queries}
    room = bounds.ENTRIES
    for key, raw in deadline.each(prefetch.items(), "prefetch"):
        page = None if bytes(memoryview(raw)[:4]) == b"null" else bundles.page_to_read(raw, room, deadline=deadline)
        room -= len(page.items) if page is not None else 0
        for query in by_key.get(key) or _recognise(key, page, queries):
            if query.key == key and page is not None and _answers_another(page, query, queries):
                records.gaps.setdefault(query.key, says.ANOTHER_SEARCH)
                continue
            if query.key == key or page is None or (_is_named(key, page, query) and _holds(page, query)):
                result.answered.add(query.key)
            elif _may_be_all(key, page, query, queries):
                result.assumed.add(query.key)
            else:
                continue
            if page is None:
                continue
            if (
                gap := page.error or _is_no_answer(page, query) or page.cut or _of_other_types([page], query)
            ) is not None:
                records.gaps.setdefault(query.key, gap)
            if page.next:
                result.next_links[query.key] = page.next
            elif page.total and (gap := bundles.left_out([page])) is not None:
                records.gaps.setdefault(query.key, gap)
            if not page.is_clean:
                _note_faults(records, query.key, [page])
        if page is not None and page.items:
            records.add(page)
    result.assumed -= result.answered
    return result


def _is_no_answer(page: Page, query: Query) -> Said | None:
    """Why a page without an error is no answer to the query all the same."""
    if page.is_clean:  # nothing but resources that are read
        return None
    if page.is_bundle:
        inside = next((item.read.type for item in page.items if item.read.type in ("Bundle", "Parameters")), None)
        return says.UNOPENED(inside) if inside else None
    if all(item.read.type != query.type for item in page.items):
        return says.NEITHER_BUNDLE_NOR(query.type)
    if query.is_search:
        return says.ONE_INSTEAD_OF_SEARCH(query.type)
    return None


def _of_other_types(pages: Sequence[Page], query: Query) -> Said | None:
    """Why pages in which something was found, and nothing of the type that was asked for, are no answer."""
    kinds = (item.read.type for page in pages for item in page.items)
    others = False
    for kind in kinds:
        if kind == query.type:
            return None
        others = others or kind not in (None, "OperationOutcome")
    return says.ANOTHER_SEARCH if others else None


def _answers_another(page: Page, query: Query, queries: Sequence[Query]) -> bool:
    """Whether a page with nothing of the query says by its self link that it asked for another thing."""
    if not query.is_search or page.self is None or page.error is not None:
        return False
    if _holds_codes(page, query) if query.codes else any(item.read.type == query.type for item in page.items):
        return False
    path, _, parameters = page.self.partition("?")
    types = {each.type for each in queries}.intersection(path.split("/"))
    if types and query.type not in types:
        return True
    return bool(query.codes) and "code=" in parameters and not _asks_for(page, query)


def _may_be_all(key: str, page: Page, query: Query, queries: Sequence[Query]) -> bool:
    """Whether a page under a foreign key may hold all that a query asks for.

    A search by code is not answered by one for other codes, nor by what is named after another query, as a key
    "weights" for the blood pressure: unless something of it is there.
    """
    if not query.codes or page.error is not None or _holds_codes(page, query):
        return True
    if page.self is not None and "code=" in page.self:
        return _asks_for(page, query)
    name = _letters(key)
    others = (word for other in queries if other.codes and other is not query for word in other.words)
    return not any(word in name for word in others if word != query.type.lower())


def _is_named(key: str, page: Page, query: Query) -> bool:
    """Whether the key's words or the page's self link say that this is the query's whole answer; a read is."""
    if not query.is_search:
        return True
    name = _letters(key)
    return any(word in name for word in query.words) or query.type in (page.self or "")


def _recognise(key: str, page: Page | None, queries: Sequence[Query]) -> list[Query]:
    """The queries that a value under a foreign key answers: by what it holds, by its self link, by its name."""
    if page is not None:
        kinds = {item.read.type for item in page.items} - {None, "OperationOutcome"}
        if kinds:
            return [query for query in queries if query.type in kinds]
        path, types = (page.self or "").partition("?")[0].split("/"), {query.type for query in queries}
        asked = next((part for part in reversed(path) if part in types), None)
        by_link = [query for query in queries if query.type == asked]
        if by_link:
            return by_link
    name = _letters(key)
    # Searches first: "patient" in "patientAllergies" says whose they are, not what they are.
    reads_last = sorted(queries, key=lambda query: not query.is_search)
    return next(([q] for q in reads_last if any(word in name for word in q.words)), [])


def _letters(key: str) -> str:
    """What a key is called, as far as a name goes: nobody asked for a key as long as a page."""
    return _LETTERS.sub("", key[: bounds.CHARACTERS].lower())


def _holds(page: Page, query: Query) -> bool:
    """Whether the page has anything that the query asks for; for a search of a whole type it always has.

    An empty page answers a search by code if its self link, where there is one, asks for one of the codes.
    """
    if not query.codes:
        return True
    if not page.items:
        return page.self is None or _asks_for(page, query)
    return _holds_codes(page, query)


def _asks_for(page: Page, query: Query) -> bool:
    """Whether the page's self link asks for one of the query's codes."""
    return page.self is not None and not query.codes.isdisjoint(_CODES.split(unquote(page.self)))


def _holds_codes(page: Page, query: Query) -> bool:
    return any(
        coding.code in query.codes
        for resource in page.resources
        if isinstance(resource, Observation) and resource.code
        for coding in resource.code.coding
    )


def add_answer(
    records: Records, query: Query, pages: Iterable[Page], gap: Says | None, is_rest: bool = False
) -> None:
    """Take over what was fetched for one query; `gap` says why it is not complete.

    `is_rest`: the pages follow one that the client had sent, so that their number says nothing.
    """
    pages = list(pages)
    for page in pages:
        records.add(page)
        gap = gap or page.error or page.cut
    gap = gap or bundles.left_out(pages, is_rest) or _of_other_types(pages, query)
    _note_faults(records, query.key, pages)
    if gap is not None:
        records.gaps[query.key] = gap


def _note_faults(records: Records, key: str, pages: list[Page]) -> None:
    """An entry that could not be read leaves its list incomplete: nothing is absent from it for certain."""
    faulty = [item.read for page in pages if not page.is_clean for item in page.items if item.read.faults]
    if not faulty:
        return
    unreadable = sum(1 for read in faulty if not read.resource)
    cut = next((read.faults[0] for read in faulty if read.is_cut), None)
    partly = [fault for read in faulty if read.resource for fault in read.faults]
    if unreadable:
        records.gaps.setdefault(key, says.ENTRIES_UNREAD(str(unreadable)))
    if cut is not None:
        records.gaps.setdefault(key, says.ENTRY_HOLDS_MORE(cut))
    known = set(records.notes)
    records.notes += [note for note in dict.fromkeys(partly) if note not in known]
