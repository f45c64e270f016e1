"""Code systems in one canonical form: the URI that FHIR registers, however a sender writes it."""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from importlib import resources
from typing import Any

from cds_service.terminology.written import MEANT

_TABLE: dict[str, Any] = tomllib.loads(resources.files(__package__).joinpath("systems.toml").read_text("utf-8"))
_KNOWN: dict[str, dict[str, Any]] = _TABLE["system"]
LONGEST_CODE, LONGEST_SYSTEM = 128, 512
"""Longer texts are in no set, and are not worth remembering."""
UCUM = "http://unitsofmeasure.org"
DRUG_SYSTEMS = frozenset(uri for uri, said in _KNOWN.items() if said.get("names_drugs"))
"""Systems whose codes name a drug."""
BRANCHED = frozenset(uri for uri, said in _KNOWN.items() if said.get("branched"))
"""Systems in which the codes of a branch begin with the branch's own code."""

_BLANK = " \t\r\n\u00a0"
_SCHEME = re.compile(r"https?:/*(?:www\.)?|www\.", re.IGNORECASE)
_OID = re.compile(r"(?:urn:)?(?:oid:)?([0-9]+(?:\.[0-9]+)+)", re.IGNORECASE)
_NOT_LETTERS = re.compile(r"[\W_]+")


def _bare(uri: str) -> str:
    """A URI without its scheme, `www.`, query, fragment and trailing slashes."""
    return re.split(r"[?#]", _SCHEME.sub("", uri, count=1), maxsplit=1)[0].rstrip("/")


def _letters(name: str) -> str:
    return _NOT_LETTERS.sub("", name.lower())


_BY_URI = {_bare(url).lower(): uri for uri, said in _KNOWN.items() for url in (uri, *said.get("urls", ()))}
_BY_OID = {oid: uri for uri, said in _KNOWN.items() for oid in said.get("oids", ())}
_BY_NAME = {_letters(name): uri for uri, said in _KNOWN.items() for name in said.get("names", ())}
_EDITIONS = {
    f"{_bare(url).lower()}/": uri
    for uri, said in _KNOWN.items()
    if said.get("editions_below")
    for url in (uri, *said.get("urls", ()))
}
_SPELLING: dict[str, str] = {uri: said["spelling"] for uri, said in _KNOWN.items() if "spelling" in said}
_FORMER: dict[str, str] = _TABLE["former"]


def canonical_system(text: str) -> str:
    """The code system's usual URI; of a system that nobody registered, the text in one spelling.

    Scheme, `www.`, `|version`, trailing slash, letter case, OIDs, editions, former URIs and common names make no
    difference.
    """
    return _canonical(text) if len(text) <= LONGEST_SYSTEM else text


def is_registered(system: str) -> bool:
    """Whether a system in its canonical form is one of those that are read: what its codes mean is known."""
    return system in _KNOWN


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    plain = text.translate(MEANT).partition("|")[0].strip(_BLANK).replace("\\", "/")
    if oid := _OID.fullmatch(plain):
        return _BY_OID.get(oid[1], f"urn:oid:{oid[1]}")
    bare = _bare(plain)
    for former, now in _FORMER.items():
        if bare.lower().startswith(former):
            bare = now + bare[len(former) :]
    key = bare.lower()
    known = _BY_URI.get(key) or _BY_NAME.get(_letters(bare))
    if known is not None:
        return known
    for base, uri in _EDITIONS.items():
        if key.startswith(base):
            return uri
    if _SCHEME.match(plain) is None:
        return plain
    host, slash, path = bare.partition("/")
    return f"http://{host.lower()}{slash}{path}"


def spell(system: str, code: str) -> str:
    """A code of a canonical system in the spelling in which its codes are compared."""
    code = code.translate(MEANT).strip(_BLANK)
    match _SPELLING.get(system):
        case "undotted":
            return code.replace(".", "").upper()
        case "ndc":
            parts = code.split("-")
            if len(parts) == 3:
                return "".join(part.zfill(width) for part, width in zip(parts, (5, 4, 2), strict=True))
            return "".join(parts)
    return code


def canonical(system: str, code: str) -> tuple[str, str]:
    """A coding in the spelling in which codings are compared."""
    system = canonical_system(system)
    return system, spell(system, code)
