"""Products: the ingredients, form and strength behind an order's product code, from a shipped table."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources

from cds_service.terminology.systems import canonical

TABLE = tomllib.loads(resources.files(__package__).joinpath("products.toml").read_text("utf-8"))
INGREDIENT_SYSTEM: str = TABLE["ingredients"]["system"]
_STRENGTH_UNIT = "mg/mL"


@dataclass(frozen=True, slots=True)
class Product:
    """What a product code says."""

    ingredients: tuple[str, ...]
    """RxNorm codes of the ingredients that a value set holds; others are not in the table."""
    form: str | None
    """injection, oral, inhaled, nasal, topical, ophthalmic, rectal or other; None where the source does not say."""
    strength: Decimal | None
    """mg per mL, of a product with one ingredient that the source gives in it."""


def load() -> None:
    """Read the table, which else is read when it is first asked."""
    _products()


def find(system: str, code: str) -> Product | None:
    """The product of an RxNorm or NDC code in any spelling that value sets take; None for one not in the table."""
    return _products().get(canonical(system, code))


def codes_of(ingredients: Set[str]) -> frozenset[str]:
    """The codes, in the spelling in which they are compared, of all products with one of these ingredients."""
    return frozenset(code for (_, code), each in _products().items() if not ingredients.isdisjoint(each.ingredients))


@cache
def _products() -> Mapping[tuple[str, str], Product]:
    systems: Mapping[str, str] = TABLE["systems"]
    product = cache(_product)  # packs of one drug differ in their codes alone
    with resources.files(__package__).joinpath("products.csv").open(encoding="utf-8") as file:
        return {
            canonical(systems[row["system"]], row["code"]): product(row["ingredients"], row["form"], row["strength"])
            for row in csv.DictReader(file)
        }


def _product(ingredients: str, form: str, strength: str) -> Product:
    return Product(tuple(ingredients.split()), form or None, _strength(strength))


def _strength(written: str) -> Decimal | None:
    if not written:
        return None
    number, unit = written.split()
    if unit != _STRENGTH_UNIT:
        raise ValueError(f"products.csv: a strength in {unit}, expected is {_STRENGTH_UNIT}")
    return Decimal(number)
