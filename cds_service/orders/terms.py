"""What a protocol says of how orders are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from cds_service.orders.indication import Kinds, Use


@dataclass(frozen=True, slots=True)
class Terms:
    """`indications` by name; `use` is what an order is judged as where its reasons do not say."""

    indications: Mapping[str, Kinds]
    use: Use
    nasal_drug: str | None
    """The drug that has a labelled nasal product, if one has …"""
    nasal_products: str | None
    """… and the value set of such products."""
    site_products: Mapping[tuple[str, str], Fraction]
    """mg of base per mL, by (system, code)."""
