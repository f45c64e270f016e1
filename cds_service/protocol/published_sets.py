"""The value sets as they are published: what decides, and nothing that a site holds alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from cds_service.folders import COMMON
from cds_service.protocol.model import Protocol
from cds_service.protocol.product_codes import with_products


def value_sets(protocols: Iterable[Protocol]) -> dict[str, dict[str, Any]]:
    """The shipped value sets and those of the protocols' folders by their id, with the codes of products, and without
    the codes that nobody verified: those never decide.

    What a site's own directory adds is not published: its expansions may be licensed to the site alone.
    """
    folders = [Path(protocol.folders[0]).parent for protocol in protocols]
    made = (_with_verified_codes(msgspec.json.decode(file.read_bytes())) for file in _set_files(folders))
    return with_products({each["id"]: each for each in made}, folders)


def published_sets(protocol: Protocol) -> frozenset[str]:
    """The names of the value sets that are published with a protocol."""
    return frozenset(file.stem for file in _set_files([Path(protocol.folders[0]).parent]))


def _set_files(folders: Iterable[Path]) -> list[Path]:
    return [file for folder in (COMMON, *folders) for file in sorted((folder / "valuesets").glob("*.json"))]


def _with_verified_codes(value_set: dict[str, Any]) -> dict[str, Any]:
    compose = value_set.get("compose", {})
    includes = [_include(each) for each in compose.get("include", ()) if not _unverified(each)]
    kept = [each for each in includes if each.get("concept", True)]
    return {**value_set, "compose": {**compose, "include": kept}} if compose else value_set


def _include(include: dict[str, Any]) -> dict[str, Any]:
    if "concept" not in include:
        return include
    return {**include, "concept": [concept for concept in include["concept"] if not _unverified(concept)]}


def _unverified(entry: dict[str, Any]) -> bool:
    parts = (part for extension in entry.get("extension", ()) for part in extension.get("extension", ()))
    return any(part.get("url") == "status" and part.get("valueCode") == "unverified" for part in parts)
