"""The judged orders of a request: which drafts they are, what they say, and which belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from fractions import Fraction

from cds_service import bounds, units
from cds_service.deadline import NEVER, Deadline
from cds_service.fhir import lenient
from cds_service.fhir.bundles import Item
from cds_service.fhir.datatypes import Dosage, Reference
from cds_service.fhir.medication import Description, described
from cds_service.fhir.records import same_patient
from cds_service.fhir.resources import MedicationRequest, RequestGroup, RequestGroupAction, Resource
from cds_service.lazy import cached_property
from cds_service.orders import concentration, dosage, indication
from cds_service.orders.concentration import Concentration
from cds_service.orders.dosage import Written
from cds_service.orders.indication import Indication
from cds_service.orders.route import kinds_named
from cds_service.orders.terms import Nasal, Terms
from cds_service.orders.text import states_an_amount
from cds_service.orders.timing import Problem
from cds_service.says import Says
from cds_service.says import orders as says
from cds_service.terminology import drugs
from cds_service.terminology.identity import Identity, identify, is_known
from cds_service.terminology.medicines import is_nameless
from cds_service.terminology.systems import DRUG_SYSTEMS, canonical_system
from cds_service.terminology.valuesets import ValueSets

_NASAL = frozenset({"nasal"})
_ENDING = frozenset({"cancelled", "stopped", "completed"})
_NEVER_JUDGED = _ENDING | {"entered-in-error"}


@dataclass(frozen=True, slots=True)
class Draft:
    """A MedicationRequest of draftOrders, before it is known whether it is judged."""

    request: MedicationRequest
    item: Item
    selected: bool
    description: Description
    identity: Identity | None
    stands_for: str | None = None
    """The administration that this was made from if it has no order. Such an order is never changed."""
    is_charted: bool = False
    """Its dosage is what is given and not what was ordered: no other dose can be put into the order that was sent."""

    @property
    def reference(self) -> str:
        return self.stands_for or self.request.reference

    @property
    def may_be_changed(self) -> bool:
        """Whether an update or a deletion could say which order it means."""
        return not self.item.is_contained

    @property
    def faults(self) -> tuple[Says, ...]:
        """The parts that could not be read."""
        more = (says.MORE_CODINGS,)
        return (*self.item.read.faults, *(more if self.description.is_cut else ()))

    @property
    def is_cut(self) -> bool:
        return self.item.read.is_cut or self.description.is_cut

    @property
    def is_unknown(self) -> bool:
        """Whether it claims a medication or has a dosage, and says neither by a code of a drug nor in words which.

        An order that is only begun has neither.
        """
        description = self.description
        if self.identity is not None or not drugs.says_nothing(description.all_codings, description.all_texts):
            return False
        claims = any(name.startswith("medication") for name in lenient.names(self.item.raw))
        return claims or bool(self.request.dosage_instruction)

    def misspelt(self, valuesets: ValueSets) -> str | None:
        """The drug that its words may mean, with a slip of typing; None where they or a code say what it is."""
        description = self.description
        if self.identity is not None or any(is_known(*coding, valuesets) for coding in description.all_codings):
            return None
        return valuesets.drugs.misspelt(description.all_texts)

    def names_elsewhere(self, valuesets: ValueSets) -> str | None:
        """The drug that its instructions, notes or reasons name, where its medication does not say which it is."""
        description, known = self.description, valuesets.drugs
        codes_tell = any(canonical_system(system) in DRUG_SYSTEMS for system, _ in description.all_codings)
        if self.identity is not None or codes_tell or not is_nameless(description.all_texts):
            return None
        named, _ = known.named(known.affirmed(_words_beside(self.request)))
        return min(named, default=None)


def _words_beside(request: MedicationRequest) -> Iterator[str]:
    """What an order says in words beside the name of its medication."""
    concepts = [*request.reason_code]
    for each in request.dosage_instruction[: bounds.STEPS]:
        yield from filter(None, (each.text, each.patient_instruction))
        concepts += each.additional_instruction
    yield from (word for concept in concepts for word in concept.words)
    yield from (note.text for note in request.note if note.text)


@dataclass(frozen=True)
class KetamineOrder:
    """A draft of a drug that is judged, read as far as it can be."""

    draft: Draft
    identity: Identity
    indication: Indication
    concentration: Concentration
    written: tuple[Written, ...]
    group: str | None
    faults: tuple[Says, ...]
    labelled_nasal: bool
    """Whether it is the labelled nasal product, by whatever route it is to be given."""
    mg_in: Mapping[str, Fraction]
    """mg in one of what the product is counted in; empty where it is not."""

    @property
    def request(self) -> MedicationRequest:
        return self.draft.request

    @cached_property
    def reference(self) -> str:
        return self.draft.reference

    @property
    def drug(self) -> str:
        return self.identity.drug

    @property
    def name(self) -> str:
        return self.draft.description.name

    @cached_property
    def supply_minutes(self) -> Fraction | None:
        """How long the supply lasts that is dispensed for it."""
        supply = self.request.dispense_request and self.request.dispense_request.expected_supply_duration
        if not supply or supply.value is None:
            return None
        try:
            return units.quantity(supply.value, supply.unit_text or "", "time").value or None
        except units.UnitError:
            return None


def drafts(
    items: Sequence[Item],
    selections: Iterable[str] | None,
    resolve: Callable[[Reference | None], Resource | None],
    valuesets: ValueSets,
    ending: bool = False,
    deadline: Deadline = NEVER,
) -> list[Draft]:
    """The MedicationRequests among the drafts that are orders at all, with what drug they are; or, with `ending`,
    those that end an order.

    `selections` (order-select) marks those that are judged; None, or selections that name no draft, mark all.
    Raises Late.
    """
    requests = [(item, item.read.resource) for item in items if isinstance(item.read.resource, MedicationRequest)]
    orders = [
        (item, request)
        for item, request in requests
        if isinstance(request, MedicationRequest)
        and (request.status in _ENDING if ending else request.status not in _NEVER_JUDGED)
        and not request.do_not_perform
    ]
    chosen = {_identifier(s) for s in selections} if selections is not None else None
    if chosen is not None and not chosen.intersection(_identifier(r.reference) for _, r in requests):
        chosen = None
    found = []
    for item, request in deadline.each(orders, "drafts"):
        description = described(request, resolve)
        identity = identify(description.all_codings, description.all_texts, valuesets)
        selected = chosen is None or _identifier(request.reference) in chosen
        found.append(Draft(request, item, selected, description, identity))
    return found


def _identifier(reference: str) -> str:
    return reference.partition("/_history/")[0].rsplit("/", 1)[-1].lstrip("#")


def read(
    draft: Draft,
    groups: Mapping[str, str],
    terms: Terms,
    resolve: Callable[[Reference | None], Resource | None],
    valuesets: ValueSets,
    zone: tzinfo,
    deadline: Deadline = NEVER,
) -> KetamineOrder:
    """The order behind a draft whose identity is known. Raises Late."""
    assert draft.identity is not None
    request = draft.request
    written = read_steps(request, valuesets, zone, deadline=deadline)
    purpose = indication.read(request, terms.indications, terms.use, terms.words, valuesets, resolve)
    strength = concentration.read(draft.description, draft.identity, valuesets, terms.site_products)
    is_nasal = terms.nasal is not None and _is_labelled(draft, written, purpose, strength, terms.nasal, valuesets)
    labelled = terms.nasal if is_nasal else None
    if labelled is not None:
        written = read_steps(request, valuesets, zone, counted=True, deadline=deadline)
        if strength.mg_per_ml is None or strength.by == "name":
            strength = replace(strength, mg_per_ml=labelled.mg_per_ml, by="code", problem=None)
    return KetamineOrder(
        draft=draft,
        identity=draft.identity,
        indication=purpose,
        concentration=strength,
        written=written,
        group=groups.get(_identifier(draft.reference)) or _group_of(request),
        faults=draft.faults,
        labelled_nasal=labelled is not None,
        mg_in=labelled.mg_in if labelled is not None else {},
    )


def _is_labelled(
    draft: Draft,
    written: Sequence[Written],
    purpose: Indication,
    strength: Concentration,
    nasal: Nasal,
    valuesets: ValueSets,
) -> bool:
    """Whether an order is the labelled nasal product: by its code, brand or words, or else as the drug by the nose.

    The drug by the nose is another product where it is an injection by its code, brand or strength, and where all
    reasons are known and none is one that the product is labelled for.
    """
    identity = draft.identity
    if identity is None or identity.drug != nasal.drug:
        return False
    routes_named = frozenset[str]().union(*map(kinds_named, draft.description.all_texts))
    if valuesets.member(nasal.products, identity.codings) or "nasal" in identity.made_for or routes_named == _NASAL:
        return True
    kinds = {each.route.kind for each in written}
    is_by_nose = bool(kinds) and all(each.route.kind == "nasal" or each.route.named == _NASAL for each in written)
    is_other = bool(identity.made_for) or strength.mg_per_ml not in (None, nasal.mg_per_ml)
    is_for_other = bool(purpose.mapped) and not purpose.unmapped and not purpose.in_sessions
    return is_by_nose and not (is_other or is_for_other)


def read_steps(
    request: MedicationRequest,
    valuesets: ValueSets,
    zone: tzinfo,
    counted: bool = False,
    deadline: Deadline = NEVER,
) -> tuple[Written, ...]:
    """The dosage instructions as written; of very many the first, and the last of those says so. Raises Late."""
    given = request.dosage_instruction
    notes = [note.text for note in request.note if note.text]
    if not given and any(states_an_amount(note) for note in notes):
        given = (Dosage(text="; ".join(notes)),)
        notes = []
    written = tuple(
        dosage.read(d, i, valuesets, zone, () if i else notes, counted)
        for i, d in enumerate(deadline.each(given[: bounds.STEPS], "orders"))
    )
    if len(given) <= bounds.STEPS:
        return written
    problem = Problem("dosageInstruction", says.FIRST_STEPS(str(bounds.STEPS), str(len(given))))
    return (*written[:-1], replace(written[-1], problems=(*written[-1].problems, problem)))


def _group_of(request: MedicationRequest) -> str | None:
    identifier = request.group_identifier
    if identifier is None or not identifier.value:
        return None
    return f"{identifier.system or ''}|{identifier.value}"


def groups(items: Iterable[Item]) -> dict[str, str]:
    """Order id -> the RequestGroup among the drafts that holds it."""
    found: dict[str, str] = {}

    def walk(actions: Sequence[RequestGroupAction], name: str) -> None:
        for action in actions:
            if action.resource is not None and action.resource.reference:
                found[_identifier(action.resource.reference)] = name
            walk(action.action, name)

    for number, item in enumerate(items):
        if isinstance(item.read.resource, RequestGroup):
            walk(item.read.resource.action, f"RequestGroup {item.read.resource.id or number}")
    return found


def is_other_patients(draft: Draft, patient_id: str) -> bool:
    return same_patient(draft.request.subject, patient_id) is False
