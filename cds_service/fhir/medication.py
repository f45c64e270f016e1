"""What a medication is: the codeable concept, the contained or referenced Medication, its ingredients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from cds_service.fhir import lenient
from cds_service.fhir.resources import (
    CodeableConcept,
    Medication,
    MedicationAdministration,
    MedicationRequest,
    MedicationStatement,
    Ratio,
    Reference,
    Resource,
    Substance,
    changed_meaning,
)

Resolve = Callable[[Reference | None], Resource | None]


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One ingredient: its codings, its texts, and its strength as it was written."""

    codings: tuple[tuple[str, str], ...]
    texts: tuple[str, ...]
    strength: Ratio | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """All that is known of a medication's identity."""

    codings: tuple[tuple[str, str], ...] = ()
    texts: tuple[str, ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    amount: Ratio | None = None
    to_fetch: str | None = None
    """The reference that would say what it is, where it could not be resolved and no display names it."""

    @property
    def all_codings(self) -> list[tuple[str, str]]:
        """Its own codings and those of its ingredients."""
        return [*self.codings, *(c for ingredient in self.ingredients for c in ingredient.codings)]

    @property
    def all_texts(self) -> list[str]:
        return [*self.texts, *(t for ingredient in self.ingredients for t in ingredient.texts)]

    @property
    def name(self) -> str:
        return next(iter(self.all_texts), None) or next((code for _, code in self.codings), "medication")


def contained_resource(contained: Sequence[msgspec.Raw], reference: Reference | None) -> Resource | None:
    """The `#id` resource of a reference. An order has few contained resources, so they are decoded on demand."""
    if reference is None or not reference.reference or not reference.reference.startswith("#"):
        return None
    wanted = reference.reference[1:]
    for raw in contained:
        resource = lenient.decode(raw).resource
        if resource is not None and resource.id is not None and resource.id.lstrip("#") == wanted:
            return resource
    return None


def described(
    resource: MedicationRequest | MedicationStatement | MedicationAdministration, resolve: Resolve
) -> Description:
    """What the medication of an order, a statement or an administration is, in R4's shape or in R5's."""
    newer = resource.medication
    concept = resource.medication_codeable_concept or (newer.concept if newer else None)
    reference = resource.medication_reference or (newer.reference if newer else None)
    return describe(concept, reference, resource.contained, resolve)


def describe(
    concept: CodeableConcept | None,
    reference: Reference | None,
    contained: Sequence[msgspec.Raw],
    resolve: Resolve,
) -> Description:
    """By codeable concept, `#contained`, a resource that `resolve` knows (bundle sibling, prefetch), or display."""
    if concept is not None and (concept.codes or concept.words):
        return Description(tuple(concept.codes), tuple(concept.words))
    if reference is None:
        return Description()

    def find(ref: Reference | None) -> Resource | None:
        return contained_resource(contained, ref) or resolve(ref)

    words = (reference.display,) if reference.display else ()
    medication = find(reference)
    if not isinstance(medication, Medication) or changed_meaning(medication) is not None:
        unnamed = not words and reference.reference and not reference.reference.startswith("#")
        return Description(texts=words, to_fetch=reference.reference if unnamed else None)
    code = medication.code or CodeableConcept()
    return Description(
        codings=tuple(code.codes),
        texts=(*code.words, *words),
        ingredients=tuple(
            _ingredient(i.item_codeable_concept, i.item_reference, i.strength, find) for i in medication.ingredient
        ),
        amount=medication.amount,
    )


def _ingredient(
    concept: CodeableConcept | None, reference: Reference | None, strength: Ratio | None, find: Resolve
) -> Ingredient:
    codings: list[tuple[str, str]] = []
    texts: list[str] = []
    item = find(reference)
    coded = item.code if isinstance(item, (Medication, Substance)) else None
    for known in (concept, coded):
        if known is not None:
            codings += known.codes
            texts += known.words
    if reference is not None and reference.display:
        texts.append(reference.display)
    return Ingredient(tuple(codings), tuple(texts), strength)
