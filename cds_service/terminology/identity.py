"""Which judged drug a medication is, by code first, and by name where no code decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, partial
from typing import Literal

from cds_service.lazy import remembered
from cds_service.says import Said, drug_named, listed
from cds_service.says import orders as says
from cds_service.terminology import products
from cds_service.terminology.products import INGREDIENT_SYSTEM, Product
from cds_service.terminology.systems import DRUG_SYSTEMS, canonical_system
from cds_service.terminology.valueset import Member
from cds_service.terminology.valuesets import ValueSets


@dataclass(frozen=True, slots=True)
class Identity:
    """Which judged drug a medication is, and how that was found out."""

    drug: str
    by: Literal["code", "name"]
    veterinary: bool = False
    disagreement: Said | None = None
    """What else the medication is coded or named as, for the card."""
    strengths: tuple[Decimal, ...] = ()
    """mg base per mL, from product codes that fix it."""
    codings: tuple[tuple[str, str], ...] = ()
    """The codings that decided."""
    asked: Said | None = None
    """Why it may be another drug of the family, for the card."""
    made_for: frozenset[str] = frozenset()
    """The ways in which its product is given (`nasal`, `injection`), by product code or brand; empty where neither
    says one."""


_Said = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]
"""The codings of a medication, and its texts."""


def identify(codings: Iterable[tuple[str, str]], texts: Iterable[str], valuesets: ValueSets) -> Identity | None:
    """The drug of a medication, from its and its ingredients' (system, code) codings and its texts; or None.

    Any coding of a drug decides. Otherwise a name does, even beside a coding of another drug, which is then
    reported. A coding that is merely unknown contradicts nothing.
    """
    return _identified(valuesets)((tuple(codings), tuple(texts)))


def is_known(system: str, code: str, valuesets: ValueSets) -> bool:
    """Whether a code says what a medication is: a member of a value set, or a product."""
    return bool(valuesets.members_of(system, code)) or products.find(system, code) is not None


@lru_cache(maxsize=4)
def _identified(valuesets: ValueSets) -> Callable[[_Said], Identity | None]:
    return remembered(partial(_identify, valuesets))


def _identify(valuesets: ValueSets, said: _Said) -> Identity | None:
    codings, texts = said
    coded: dict[str, list[tuple[str, str]]] = {}
    strengths: dict[str, list[Decimal]] = {}
    displays: list[str] = []
    forms: dict[str, list[str | None]] = {}
    other: str | None = None
    for system, code in codings:
        product = products.find(system, code)
        members = _members_of(system, code, product, valuesets)
        for drug in valuesets.drugs:
            member = next((members[name] for name in drug.sets if name in members), None)
            if member is not None:
                coded.setdefault(drug.name, []).append((system, code))
                displays.append(member.display)
                forms.setdefault(drug.name, []).append(product.form if product else None)
                strength = member.strength or (product.strength if product else None)
                if strength is not None:
                    strengths.setdefault(drug.name, []).append(strength)
                break
        else:
            if canonical_system(system) in DRUG_SYSTEMS and (members or product is not None):
                other = code
    by_name, veterinary, either = valuesets.drugs.named_or_either(texts)
    asked = None
    if either and not (coded or by_name):
        first, *others = either[0]
        by_name, asked = (
            {first},
            says.EITHER_DRUG(drug_named(first), listed(map(drug_named, others)), drug_named(first)),
        )
    found = [drug.name for drug in valuesets.drugs if drug.name in coded or drug.name in by_name]
    if not found:
        return None
    disagreement: Said | None = None
    if len(found) > 1:
        disagreement = says.BOTH_DRUGS(listed(map(drug_named, found), says.AND), drug_named(found[0]))
    elif not coded and other:
        disagreement = says.NAME_AND_CODE(drug_named(found[0]), other)
    return Identity(
        drug=found[0],
        by="code" if found[0] in coded else "name",
        veterinary=veterinary or valuesets.drugs.named(displays)[1],
        disagreement=disagreement,
        strengths=tuple(strengths.get(found[0], ())),
        codings=tuple(coded.get(found[0], ())),
        asked=asked,
        made_for=valuesets.drugs.made_for(found[0], forms.get(found[0], ()), texts),
    )


def _members_of(system: str, code: str, product: Product | None, valuesets: ValueSets) -> Mapping[str, Member]:
    """The sets of a code; those of its ingredients for a product that no set holds itself."""
    members = valuesets.members_of(system, code)
    if members or product is None:
        return members
    return {n: m for i in product.ingredients for n, m in valuesets.members_of(INGREDIENT_SYSTEM, i).items()}
