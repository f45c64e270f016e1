"""Entries of an allergy list: what each is about, by the one recogniser of drugs, and whether it says anything."""

from __future__ import annotations

from cds_service.chart.facts import Allergy, name_of
from cds_service.chart.reading import Reading
from cds_service.fhir.datatypes import CodeableConcept
from cds_service.fhir.resources import AllergyIntolerance
from cds_service.says import entries as says
from cds_service.terminology.identity import identify
from cds_service.terminology.medicines import medicines
from cds_service.terminology.valueset import Member

_OF_OTHERS = "other"
"""Of food or of surroundings: that says nothing of drugs."""


def read(entry: AllergyIntolerance, chart: Reading) -> Allergy:
    """An entry with the value sets of its codes, of its product's ingredients and of the names in its words.

    It is about what an order of the same code or the same words would be. A drug that is denied ("no ketamine
    allergy") is not named.
    """
    concepts = _concepts(entry)
    codings = [coding for concept in concepts for coding in concept.codes]
    words = [word for concept in concepts for word in concept.words]
    said = chart.valuesets.drugs.affirmed(words)
    placed = chart.valuesets.placement(codings, words)
    substances = medicines(chart.valuesets).membership([(codings, said)]).members
    members = {**placed.members, **substances}
    drug = identify(codings, said, chart.valuesets)
    if drug is not None:
        in_set = chart.valuesets.drugs.set_of(drug.drug)
        members.setdefault(in_set, Member(in_set, "", drug.drug))
    return Allergy(
        name=next(iter(words), None) or name_of(next(iter(concepts), None), members, says.NAMELESS_ALLERGY),
        members=members,
        intolerance=(entry.type or "").strip().lower() == "intolerance",
        reference=entry.reference,
        may_mean=frozenset() if substances or drug is not None else placed.may_mean,
    )


def says_something(entry: AllergyIntolerance, allergy: Allergy, chart: Reading) -> bool:
    """Whether an entry, which was read, names a substance, or says that no allergy to drugs is known."""
    none_known = allergy.members.get(chart.valuesets.roles.no_allergy)
    if none_known is not None and none_known.group == _OF_OTHERS:
        return False
    return allergy.may_mean is not None and not any(map(chart.says_unknown, _concepts(entry)))


def _concepts(entry: AllergyIntolerance) -> list[CodeableConcept]:
    given = (entry.code, entry.substance, *(reaction.substance for reaction in entry.reaction))
    return [concept for concept in given if concept is not None]
