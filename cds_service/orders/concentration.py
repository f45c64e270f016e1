"""mg of base in a mL of what is ordered: from the ingredient's strength, the product's code, or its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from cds_service import units
from cds_service.fhir.datatypes import Quantity, Ratio
from cds_service.fhir.medication import Description
from cds_service.orders.text import is_of_another
from cds_service.says import Said
from cds_service.says import orders as says
from cds_service.terminology import drugs
from cds_service.terminology.identity import Identity, identify
from cds_service.terminology.valuesets import ValueSets

_IN_NAME = re.compile(r"(\d{1,6}(?:[.,]\d{1,6})?)\s*mg\s*/\s*(?:(\d{1,6}(?:[.,]\d{1,6})?)\s*)?ml\b")


@dataclass(frozen=True, slots=True)
class Concentration:
    """`mg_per_ml` is None if it is unknown; `problem` says why."""

    mg_per_ml: Fraction | None
    by: Literal["ingredient", "code", "site", "name"] | None = None
    """A strength read from a `name` may raise a finding, never clear one."""
    problem: Said | None = None
    diluted: bool = False
    """One of the ingredients is a diluent."""
    mixed: bool = False
    """Computed from the mg and the mL of a whole bag or syringe, not stated in 1 mL."""


def read(
    description: Description,
    identity: Identity,
    valuesets: ValueSets,
    site_products: Mapping[tuple[str, str], Fraction] | None = None,
) -> Concentration:
    """The concentration of an ordered medication.

    Strengths are base; nothing is divided because a name says hydrochloride. A site's product entry
    ((system, code) -> mg base per mL) goes before the shipped codes.
    """
    diluent = valuesets.roles.diluent
    diluted = any(valuesets.member(diluent, each.codings) is not None for each in description.ingredients)
    by_ingredient, problem, mixed = _from_ingredients(description, identity, valuesets)
    if by_ingredient is not None:
        return Concentration(by_ingredient, "ingredient", diluted=diluted, mixed=mixed)
    for coding in description.all_codings:
        if site_products and coding in site_products:
            return Concentration(site_products[coding], "site", diluted=diluted)
    strengths = {units.exact(strength) for strength in identity.strengths}
    if len(strengths) == 1:
        return Concentration(strengths.pop(), "code", diluted=diluted)
    if len(strengths) > 1:
        return Concentration(None, problem=says.TWO_STRENGTHS, diluted=diluted)
    by_name = _from_names(description)
    if by_name is not None:
        return Concentration(by_name, "name", problem=says.STRENGTH_IN_WORDS, diluted=diluted)
    return Concentration(None, problem=problem or says.NO_STRENGTH, diluted=diluted)


def _from_ingredients(
    description: Description, identity: Identity, valuesets: ValueSets
) -> tuple[Fraction | None, Said | None, bool]:
    """The sum of the drug's own ingredients, and whether it is that of a whole bag, mg by mL.

    A strength per vial or bag needs the volume of the medication.
    """
    total: Fraction | None = None
    problem: Said | None = None
    mixed = True
    for ingredient in description.ingredients:
        found = identify(ingredient.codings, ingredient.texts, valuesets)
        if found is None or ingredient.strength is None:
            continue
        if not valuesets.drugs.are_one_family(found.drug, identity.drug):
            continue
        strength = _ratio(ingredient.strength, description.amount)
        if strength is None:
            problem = says.STRENGTH_UNREAD
        else:
            total = (total or Fraction(0)) + strength
            mixed = mixed and _is_whole(ingredient.strength, description.amount)
    return (None, problem, False) if problem else (total, None, mixed)


def _ratio(strength: Ratio, amount: Ratio | None) -> Fraction | None:
    mass = _quantity(strength.numerator, "mass")
    if mass is None:
        return _quantity(strength.numerator, "concentration")
    volume = _quantity(strength.denominator, "volume")
    if volume is None and amount is not None and _is_container(strength.denominator):
        volume = _quantity(amount.numerator, "volume")
    return mass / volume if volume else None


def _is_whole(strength: Ratio, amount: Ratio | None) -> bool:
    """Whether it is stated in another volume than 1 mL: in that of the bag, or per bag of a known volume."""
    volume = _quantity(strength.denominator, "volume")
    if volume is None and amount is not None and _is_container(strength.denominator):
        volume = _quantity(amount.numerator, "volume")
    return volume not in (None, 1)


def _is_container(quantity: Quantity | None) -> bool:
    """One of something: `1`, `{vial}`, `1 {bag}`."""
    return quantity is not None and quantity.value == 1


def _quantity(quantity: Quantity | None, dimension: str) -> Fraction | None:
    if quantity is None or quantity.value is None or quantity.comparator:
        return None
    try:
        value = units.quantity(quantity.value, quantity.unit_text or "", dimension).value
    except units.UnitError:
        return None
    return value if value > 0 else None


def _from_names(description: Description) -> Fraction | None:
    """The largest strength that a name states of the drug: it may only raise."""
    texts = list(map(drugs.plain, description.all_texts))
    strengths = [(match, is_of_another(text, match)) for text in texts for match in _IN_NAME.finditer(text)]
    own = [match for match, is_others in strengths if not is_others] or [match for match, _ in strengths]
    found = [
        units.exact(Decimal(mass.replace(",", "."))) / units.exact(Decimal((volume or "1").replace(",", ".")))
        for mass, volume in (match.groups() for match in own)
        if Decimal((volume or "1").replace(",", "."))
    ]
    return max(found, default=None)
