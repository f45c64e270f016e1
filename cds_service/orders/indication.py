"""What an order is for: its reasons, matched to the protocol's indications."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cds_service import bounds
from cds_service.fhir.datatypes import CodeableConcept, Reference
from cds_service.fhir.resources import Condition, MedicationRequest, Resource
from cds_service.lazy import cached_property
from cds_service.says import Said, Says
from cds_service.says import orders as says
from cds_service.terminology.valuesets import ValueSets
from cds_service.terminology.vocabulary import Vocabulary

_LONGEST_TEXT = 2_000
"""Characters of a note or an instruction that are looked through for a reason."""


@dataclass(frozen=True, slots=True)
class Use:
    """What an order is judged as: `alone` as such uses and nothing else; `session` is the limit (min) of its own
    finite doses.
    """

    name: str
    alone: bool = False
    session: str | None = None
    volume_is_dose: bool = False


@dataclass(frozen=True, slots=True)
class Kinds:
    """The value sets and order sets that stand for one indication, and its use; the protocol says which.

    `usual_rate` is the limit up to which a rate occurs there.
    """

    sets: Sequence[str]
    order_sets: Sequence[str]
    use: Use
    usual_rate: str | None = None


@dataclass(frozen=True)
class Indication:
    """`mapped` holds, for each reason that is known, the indications it stands for."""

    given: bool
    mapped: tuple[frozenset[str], ...] = ()
    unmapped: tuple[Says, ...] = ()
    """Reasons in none of the sets, in their own words."""
    in_words: frozenset[str] = frozenset()
    """The indications that words alone name, where no code does."""
    said: str = ""
    """Those words."""
    contexts: frozenset[str] = frozenset()
    """Indications that the order's order set stands for."""
    named: tuple[Use, ...] = ()
    """The uses that its reasons and its order set name, but for the default."""
    uses: tuple[Use, ...] = ()
    """As what it is judged; of several reasons as all of them, in the protocol's order."""
    is_default: bool = True
    """Whether the default use is among them."""

    @cached_property
    def all(self) -> frozenset[str]:
        return self.contexts.union(*self.mapped)

    @cached_property
    def alone(self) -> bool:
        """Judged by none of the limits of pain or depression: the order set says so, or every mapped reason does."""
        return any(use.alone for use in self.uses)

    def is_only(self, indications: Collection[str]) -> bool:
        """Whether every reason that is known, and its order set if it has one, is one of these indications."""
        known = [*self.mapped, *([self.contexts] if self.contexts else [])]
        return bool(known) and not self.unmapped and all(kinds.intersection(indications) for kinds in known)

    @cached_property
    def in_sessions(self) -> bool:
        return any(use.session is not None for use in self.named)

    @cached_property
    def volume_is_dose(self) -> bool:
        return any(use.volume_is_dose for use in self.named)

    @cached_property
    def assumed(self) -> bool:
        """Nothing says what the order is for, so it is judged by the default."""
        return not self.mapped and not self.contexts


def _uses(
    mapped: Sequence[frozenset[str]], contexts: frozenset[str], indications: Mapping[str, Kinds], default: Use
) -> tuple[tuple[Use, ...], tuple[Use, ...], bool]:
    """(named, uses, whether the default is one of them). Unknown reasons, and none, are the default."""
    use_of = {name: known.use for name, known in indications.items()}
    found = {use_of[name] for name in contexts.union(*mapped)} - {default}
    named = tuple(dict.fromkeys(use for use in use_of.values() if use in found))
    alone = {name for name, use in use_of.items() if use.alone}
    if alone & contexts:
        return named, tuple(use for use in named if use in {use_of[name] for name in alone & contexts}), False
    if mapped and all(kinds <= alone for kinds in mapped):
        return named, named, False
    beside = tuple(use for use in named if not use.alone)
    of_others = {name for name, use in use_of.items() if use in beside}
    if not beside or any(kinds - of_others for kinds in (*mapped, contexts)):
        return named, (default, *beside), True
    return named, beside, False


def _instructions(order: MedicationRequest) -> Iterator[str]:
    """What is written beside the dose, each text once and none of an unreasonable length."""
    texts = [note.text for note in order.note]
    for dosage in order.dosage_instruction[: bounds.STEPS]:
        given = (dosage.additional_instruction, dosage.as_needed_codeable_concept)
        concepts = [*given[0], *([given[1]] if given[1] is not None else [])]
        texts += [dosage.text, dosage.patient_instruction, *(each for concept in concepts for each in concept.words)]
    for text in dict.fromkeys(texts):
        if text:
            yield text[:_LONGEST_TEXT]


def read(
    order: MedicationRequest,
    indications: Mapping[str, Kinds],
    default: Use,
    words: Vocabulary,
    valuesets: ValueSets,
    resolve: Callable[[Reference | None], Resource | None],
) -> Indication:
    """The indication of an order from reasonCode, reasonReference and the order set it came from.

    A reason that no code tells is taken by its words, and an order without a reason by those of its instructions and
    notes; `in_words` says so.
    """
    mapped: list[frozenset[str]] = []
    unmapped: list[Says] = []
    spoken: dict[str, frozenset[str]] = {}
    concepts: list[CodeableConcept | Said] = [c for c in order.reason_code if c.codes or c.words]
    for reference in order.reason_reference:
        reason = resolve(reference)
        if isinstance(reason, Condition) and reason.code is not None:
            concepts.append(reason.code)
        elif reference.reference or reference.display:
            concepts.append(CodeableConcept(text=reference.display) if reference.display else says.REASON_UNREAD)
    for concept in concepts:
        if isinstance(concept, Said):
            unmapped.append(concept)
            continue
        coded = {key for coding in concept.codes for key in valuesets.keys_of(*coding)}
        kinds = frozenset(name for name, known in indications.items() if not coded.isdisjoint(known.sets))
        if not kinds:
            kinds = frozenset[str]().union(*(words.asking(each) or () for each in concept.words))
            if kinds:
                spoken[concept.name or ""] = kinds
        if kinds:
            mapped.append(kinds)
        else:
            unmapped.append(concept.name or says.REASON_WITHOUT_WORDS)
    order_sets = {*order.instantiates_canonical, *order.instantiates_uri}
    contexts = frozenset(name for name, known in indications.items() if order_sets.intersection(known.order_sets))
    if not (concepts or contexts):
        spoken = {text: asked for text in _instructions(order) if (asked := words.asking(text))}
        mapped += spoken.values()
    named, uses, is_default = _uses(mapped, contexts, indications, default)
    return Indication(
        given=bool(concepts or contexts),
        mapped=tuple(mapped),
        unmapped=tuple(unmapped),
        in_words=frozenset[str]().union(*spoken.values()),
        said="; ".join(spoken),
        contexts=contexts,
        named=named,
        uses=uses,
        is_default=is_default,
    )
