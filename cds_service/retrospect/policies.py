"""The policies of a replay: the protocol with the overlay of today, and with each of those that may come."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cds_service.knowledge import load
from cds_service.retrospect.judging import Policy

OLD, NEW = "old-policy", "new-policy"
SHIPPED = "the shipped protocol"


@dataclass(frozen=True)
class Named:
    """A policy before it is loaded: its name in the report, and its overlay file (None: without one)."""

    name: str
    overlay: str | None

    @property
    def says(self) -> str:
        return Path(self.overlay).name if self.overlay else SHIPPED

    @property
    def digest(self) -> str:
        """Of the overlay's file and of what stands beside it: its own rules and words."""
        if self.overlay is None:
            return ""
        file = Path(self.overlay)
        beside = [
            each for name in ("rules", "texts") for each in sorted((file.parent / name).rglob("*")) if each.is_file()
        ]
        made = hashlib.sha256()
        for each in (file, *beside):
            made.update(each.read_bytes())
        return made.hexdigest()


@dataclass(frozen=True)
class Codes:
    """What all policies of a replay share: the settings of the site."""

    public_url: str
    valuesets: str | None
    protocols: tuple[str, ...]


def named(against: str | None, overlays: Sequence[str]) -> list[Named]:
    """The old policy first; without an overlay it is the only one."""
    new = [Named(NEW if number == 1 else f"{NEW}-{number}", each) for number, each in enumerate(overlays, 1)]
    return [Named(OLD, against), *new]


def load_all(policies: Sequence[Named], codes: Codes) -> list[Policy]:
    """Each policy, with one object for the value sets, which are those of the site whatever the overlay.

    Raises what `knowledge.load` raises.
    """
    made: list[Policy] = []
    for each in policies:
        knowledge = load(codes.public_url, each.overlay, codes.valuesets, codes.protocols)
        if made:
            knowledge = replace(knowledge, valuesets=made[0].knowledge.valuesets)
        made.append(Policy(each.name, knowledge))
    return made
