"""What a medication is: the codeable concept, the contained or referenced Medication, its ingredients."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import msgspec

from cds_service import bounds
from cds_service.fhir import lenient
from cds_service.fhir.datatypes import CodeableConcept, CodeableReference, Ratio, Reference
from cds_service.fhir.meaning import changed_meaning
from cds_service.fhir.resources import (
    Medication,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Resource,
    Substance,
)
from cds_service.terminology.drugs import says_nothing

Resolve = Callable[[Reference | None], Resource | None]

_ID = r"(?!\.+(?:/|$))[A-Za-z0-9\-.]{1,64}"
_READ = re.compile(rf"([A-Za-z]+)/{_ID}(?:/_history/{_ID})?")
_DEEPEST = 2
"""An infusion holds products, and those their substances; what an ingredient of an ingredient is made of is read."""


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

    is_cut: bool = False
    """It may have more codings, ingredients or words than are read."""

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


class Contained:
    """The contained resources of one resource by `#id`; they are decoded once, when the first is asked for."""

    def __init__(self, contained: Sequence[msgspec.Raw]) -> None:
        self._contained = contained
        self._by_id: dict[str, Resource] | None = None

    def find(self, reference: Reference | None) -> Resource | None:
        """The `#id` resource of a reference; of several with one id the first."""
        if reference is None or not reference.reference or not reference.reference.startswith("#"):
            return None
        if self._by_id is None:
            resources = (lenient.decode(raw).resource for raw in reversed(self._contained))
            self._by_id = {
                each.id.lstrip("#"): each for each in resources if each is not None and each.id is not None
            }
        return self._by_id.get(reference.reference[1:])


def described(
    resource: MedicationRequest | MedicationStatement | MedicationAdministration | MedicationDispense,
    resolve: Resolve,
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
    """By codeable concept, and by `#contained`, a resource that `resolve` knows (a sibling, prefetch), or display.

    R5 may give a concept and a reference, which together say what it is.
    """
    own = concept or CodeableConcept()
    if reference is None:
        return Description(tuple(own.codes), tuple(own.words))

    inside = Contained(contained)

    def find(ref: Reference | None) -> Resource | None:
        return inside.find(ref) or resolve(ref)

    words = (*own.words, reference.display) if reference.display else tuple(own.words)
    medication = find(reference)
    if not isinstance(medication, Medication) or changed_meaning(medication) is not None:
        is_named = not says_nothing(own.codes, words)
        return Description(tuple(own.codes), words, to_fetch=None if is_named else _elsewhere(reference))
    code = medication.code or CodeableConcept()
    ingredients = list(islice(_ingredients(medication, find), bounds.MEMBERS + 1))
    return Description(
        codings=(*own.codes, *code.codes),
        texts=(*code.words, *words),
        ingredients=tuple(ingredients[: bounds.MEMBERS]),
        amount=medication.amount,
        is_cut=_is_full(medication) or len(ingredients) > bounds.MEMBERS,
    )


def _is_full(medication: Medication) -> bool:
    """Whether it fills a bound, behind which there may have been more."""
    if len(medication.ingredient) >= bounds.MEMBERS:
        return True
    concepts = [medication.code, *(each.item_codeable_concept for each in medication.ingredient)]
    return any(
        len(concept.coding) >= bounds.MEMBERS or any(len(word) >= bounds.CHARACTERS for word in concept.words)
        for concept in concepts
        if concept is not None
    )


def to_read(reference: str, kind: str, server: str | None) -> str | None:
    """The relative URL of a reference that is a read of one resource of `kind`, on the server or relative to it.

    None for all else: searches, operations and other resources are not what a reference is for, and they would be
    asked for with the clinician's token.
    """
    relative = reference.removeprefix(f"{server.rstrip('/')}/") if server else reference
    read = _READ.fullmatch(relative)
    return relative if read and read[1] == kind else None


def _elsewhere(reference: Reference) -> str | None:
    """A reference to what is not in the resource itself."""
    return reference.reference if reference.reference and not reference.reference.startswith("#") else None


def _ingredients(medication: Medication, find: Resolve, depth: int = 0) -> Iterator[Ingredient]:
    """Its ingredients, each followed by what that is made of: how strong the whole is, those do not say."""
    for each in medication.ingredient:
        newer = each.item or CodeableReference()
        reference = each.item_reference or newer.reference
        item = find(reference)
        strength = each.strength or each.strength_ratio
        yield _ingredient((each.item_codeable_concept, newer.concept), reference, item, strength)
        if isinstance(item, Medication) and depth < _DEEPEST:
            for inner in _ingredients(item, find, depth + 1):
                yield replace(inner, strength=None)


def _ingredient(
    concepts: Sequence[CodeableConcept | None],
    reference: Reference | None,
    item: Resource | None,
    strength: Ratio | None,
) -> Ingredient:
    codings: list[tuple[str, str]] = []
    texts: list[str] = []
    coded = item.code if isinstance(item, (Medication, Substance)) else None
    for known in (*concepts, coded):
        if known is not None:
            codings += known.codes
            texts += known.words
    if reference is not None and reference.display:
        texts.append(reference.display)
    return Ingredient(tuple(codings), tuple(texts), strength)
