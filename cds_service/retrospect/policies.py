"""The policies of a replay: the protocol with the overlay of today, and with each of those that may come."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cds_service.errors import reading
from cds_service.knowledge import load
from cds_service.protocol.errors import ProtocolError
from cds_service.retrospect.judging import Policy
from cds_service.site_file import read_bytes

OLD, NEW = "old-policy", "new-policy"
SHIPPED = "the shipped protocol"


@dataclass(frozen=True)
class Named:
    """A policy before it is loaded: its name in the report, and its overlay file (None: without one)."""

    name: str
    overlay: str | None
    digest: str = ""
    """Of the overlay as it stood when the replay began."""

    @property
    def says(self) -> str:
        return Path(self.overlay).name if self.overlay else SHIPPED


def digest_of(overlay: str | None) -> str:
    """SHA-256 of an overlay's file and of what stands beside it, by name: its own rules and words.

    Raises ProtocolError where one cannot be read.
    """
    if overlay is None:
        return ""
    file = Path(overlay)
    folders = [file.parent / name for name in ("rules", "texts")]
    with reading(file, ProtocolError):
        made = hashlib.sha256(read_bytes(file))
    for each in (each for folder in folders for each in sorted(folder.rglob("[!.]*")) if each.is_file()):
        with reading(each, ProtocolError):
            content = read_bytes(each)
        made.update(f" {each.relative_to(file.parent).as_posix()} {len(content)} ".encode() + content)
    return made.hexdigest()


@dataclass(frozen=True)
class Codes:
    """What all policies of a replay share: the settings of the site."""

    public_url: str
    valuesets: str | None
    protocols: tuple[str, ...]


def named(against: str | None, overlays: Sequence[str]) -> list[Named]:
    """The old policy first; without an overlay it is the only one."""
    names = [NEW if number == 1 else f"{NEW}-{number}" for number in range(1, len(overlays) + 1)]
    every = zip((OLD, *names), (against, *overlays), strict=True)
    return [Named(name, overlay, digest_of(overlay)) for name, overlay in every]


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
