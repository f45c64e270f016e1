"""Entries of an allergy list: what each is about, by the one recogniser of drugs, and whether it says anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from cds_service.chart.account import in_words
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
    allergy") is not named. Where its words or remarks say otherwise than its code, or name it with a slip of typing,
    it only asks.
    """
    concepts = _concepts(entry)
    codings = [coding for concept in concepts for coding in concept.codes]
    words = [word for concept in concepts for word in concept.words]
    known = chart.valuesets.drugs
    doubted = known.doubted(words)
    said = [word for word in known.affirmed(words) if word not in doubted]
    placed = chart.valuesets.placement(codings, words)
    substances = medicines(chart.valuesets).membership([(codings, said)]).members
    members = {**placed.members, **substances}
    drug = identify(codings, said, chart.valuesets)
    if drug is not None:
        in_set = known.set_of(drug.drug)
        members.setdefault(in_set, Member(in_set, "", drug.drug))
    may_mean = frozenset() if substances or drug is not None else placed.may_mean
    if not members and (slip := known.misspelt(said)) is not None:
        may_mean = frozenset({known.set_of(slip), *(may_mean or ())})
    allergy = Allergy(
        name=next(iter(words), None) or name_of(next(iter(concepts), None), members, says.NAMELESS_ALLERGY),
        members=members,
        intolerance=(entry.type or "").strip().lower() == "intolerance",
        reference=entry.reference,
        may_mean=may_mean,
    )
    if drug is not None and drug.by == "name" and chart.valuesets.roles.no_allergy in members:
        doubted += said[:1]
    doubt = _doubt(entry, drug is not None, doubted, chart)
    return allergy if doubt is None else _doubted(allergy, doubt, chart)


def _doubt(entry: AllergyIntolerance, names_drug: bool, doubted: Sequence[str], chart: Reading) -> str | None:
    """By which words it is not clear whether the entry is one of a judged drug."""
    known = chart.valuesets.drugs
    remarks = list(_remarks(entry))
    if names_drug:
        return next(iter((*doubted, *known.doubted(remarks, beside=True))), None)
    told = [each for each in known.mentioned(remarks) if each not in known.doubted(remarks)]
    if doubted and not told and not known.affirmed(doubted) and not _is_grave(entry):
        return None  # a denial that nothing speaks against
    return next(iter((*doubted, *told)), None)


def _doubted(allergy: Allergy, doubt: str, chart: Reading) -> Allergy:
    """The entry as one that only asks: it may be an allergy to what its code says, or to the drug of the words."""
    no_allergy, known = chart.valuesets.roles.no_allergy, chart.valuesets.drugs
    kept = {name: member for name, member in allergy.members.items() if name == no_allergy}
    asks = {*allergy.members, *(allergy.may_mean or ()), *map(known.set_of, known.named([doubt])[0])} - kept.keys()
    name = allergy.name if doubt == allergy.name else says.WITH_REMARK(allergy.name, in_words(doubt))
    return msgspec.structs.replace(allergy, name=name, members=kept, may_mean=frozenset(asks), doubted=True)


def _remarks(entry: AllergyIntolerance) -> Iterator[str]:
    notes = (*entry.note, *(note for reaction in entry.reaction for note in reaction.note))
    for text in (*(note.text for note in notes), *(reaction.description for reaction in entry.reaction)):
        if text:
            yield text


def _is_grave(entry: AllergyIntolerance) -> bool:
    """Whether an entry says how it showed, or how critical it is: one that denies an allergy would not."""
    shown = any(reaction.manifestation or reaction.description or reaction.severity for reaction in entry.reaction)
    return shown or (entry.criticality or "").strip().lower() == "high"


def says_something(entry: AllergyIntolerance, allergy: Allergy, chart: Reading) -> bool:
    """Whether an entry, which was read, names a substance, or says that no allergy to drugs is known."""
    none_known = allergy.members.get(chart.valuesets.roles.no_allergy)
    if none_known is not None and none_known.group == _OF_OTHERS:
        return False
    return allergy.may_mean is not None and not any(map(chart.says_unknown, _concepts(entry)))


def _concepts(entry: AllergyIntolerance) -> list[CodeableConcept]:
    given = (entry.code, entry.substance, *(reaction.substance for reaction in entry.reaction))
    return [concept for concept in given if concept is not None]
