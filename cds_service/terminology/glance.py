"""A glance at the bytes of a request that there is no time to read: may a drug that is judged be in them?

It errs to the safe side: what is named anywhere counts, and what it cannot see through counts as named.
"""

from __future__ import annotations

import re
from collections.abc import Set
from functools import lru_cache

from cds_service.terminology import products
from cds_service.terminology.products import INGREDIENT_SYSTEM
from cds_service.terminology.systems import DRUG_SYSTEMS, canonical, canonical_system
from cds_service.terminology.valuesets import ValueSets

LARGEST = 256_000
"""Bytes. Looking through more takes longer than a busy service has; they count as naming a drug."""

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_CODE = re.compile(r'"\s*([0-9A-Za-z.-]*[0-9][0-9A-Za-z.-]*)\s*"')
_REFERENCE = re.compile(r'"medicationReference"\s*:\s*(\{[^{}]*\})?')


def may_concern(body: bytes, valuesets: ValueSets) -> bool:
    """Whether `body`, JSON as it was sent, names a judged drug, holds a code of one, or a bare reference."""
    if len(body) > LARGEST:
        return True
    text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), body.decode("utf-8", "replace"))
    if valuesets.drugs.named([text])[0]:
        return True
    if any('"display"' not in (found[1] or "") for found in _REFERENCE.finditer(text)):
        return True
    codes = _codes(valuesets)
    return any(canonical(system, code)[1] in codes for code in set(_CODE.findall(text)) for system in DRUG_SYSTEMS)


@lru_cache(maxsize=64)
def _codes(valuesets: ValueSets) -> Set[str]:
    """The codes of judged drugs and of products that hold them, in the spelling in which codings are compared."""
    members = [
        (canonical_system(s), member.code) for name in valuesets.drugs.sets for s, member in valuesets[name].members
    ]
    ingredients = {code for system, code in members if system == INGREDIENT_SYSTEM}
    return {canonical(system, code)[1] for system, code in members} | products.codes_of(ingredients)
