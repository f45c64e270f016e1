"""What a protocol says of how orders are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from cds_service.orders.indication import Kinds, Use
from cds_service.terminology.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Nasal:
    """The labelled nasal product of one drug."""

    drug: str
    products: str
    """The value set of its codes."""
    mg_per_ml: Fraction
    mg_in: Mapping[str, Fraction]
    """mg in one of each unit that it is counted in."""


@dataclass(frozen=True, slots=True)
class Terms:
    """`indications` by name; `use` is what an order is judged as where its reasons do not say."""

    indications: Mapping[str, Kinds]
    words: Vocabulary
    """What clinicians write for them where there is no code."""
    use: Use
    nasal: Nasal | None
    """The labelled nasal product of one of the drugs, where one has such a product."""
    site_products: Mapping[tuple[str, str], Fraction]
    """mg of base per mL, by (system, code)."""
