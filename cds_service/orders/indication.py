"""What an order is for: its reasons, matched to the protocol's indications."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cds_service.fhir.resources import (
    CodeableConcept,
    Condition,
    MedicationRequest,
    Reference,
    Resource,
)
from cds_service.lazy import cached_property
from cds_service.terminology.valuesets import ValueSets


@dataclass(frozen=True, slots=True)
class Kinds:
    """The value sets and order sets that stand for one indication; the protocol says which."""

    sets: Sequence[str]
    order_sets: Sequence[str] = ()


@dataclass(frozen=True)
class Indication:
    """`mapped` holds, for each reason that is known, the indications it stands for."""

    given: bool
    mapped: tuple[frozenset[str], ...] = ()
    unmapped: tuple[str, ...] = ()
    """Reasons in none of the sets, in their own words."""
    contexts: frozenset[str] = frozenset()
    """Indications that the order's order set stands for."""

    @cached_property
    def all(self) -> frozenset[str]:
        return self.contexts.union(*self.mapped)

    @cached_property
    def is_procedural(self) -> bool:
        """Procedural sedation or anaesthesia: the order set says so, or every mapped reason does."""
        if "procedural" in self.contexts:
            return True
        return bool(self.mapped) and all(kinds <= {"procedural"} for kinds in self.mapped)

    @cached_property
    def is_depression(self) -> bool:
        return "depression" in self.all

    @cached_property
    def is_analgesic(self) -> bool:
        """Any indication but depression or a procedure, including absent and unmapped ones."""
        if self.is_procedural:
            return False
        others = [kinds for kinds in (*self.mapped, self.contexts) if kinds - {"depression"}]
        return bool(others) or not self.is_depression

    @cached_property
    def assumed(self) -> bool:
        """The order names no known indication, so it is judged as pain."""
        return not self.mapped and not self.contexts


def read(
    order: MedicationRequest,
    indications: Mapping[str, Kinds],
    valuesets: ValueSets,
    resolve: Callable[[Reference | None], Resource | None],
) -> Indication:
    """The indication of an order from reasonCode, reasonReference and the order set it came from."""
    mapped: list[frozenset[str]] = []
    unmapped: list[str] = []
    concepts: list[CodeableConcept] = [c for c in order.reason_code if c.codes or c.words]
    for reference in order.reason_reference:
        reason = resolve(reference)
        if isinstance(reason, Condition) and reason.code is not None:
            concepts.append(reason.code)
        elif reference.reference or reference.display:
            concepts.append(CodeableConcept(text=reference.display or "a problem that could not be read"))
    for concept in concepts:
        codes = concept.codes
        kinds = frozenset(
            name
            for name, known in indications.items()
            if any(valuesets.member(value_set, codes) for value_set in known.sets)
        )
        if kinds:
            mapped.append(kinds)
        else:
            unmapped.append(concept.name or "a reason without words")
    order_sets = {*order.instantiates_canonical, *order.instantiates_uri}
    contexts = frozenset(name for name, known in indications.items() if order_sets.intersection(known.order_sets))
    return Indication(
        given=bool(concepts or contexts), mapped=tuple(mapped), unmapped=tuple(unmapped), contexts=contexts
    )
