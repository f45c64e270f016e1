"""What a signature stands for: the digest of what was loaded, owner, date and replay, and whether it still holds."""

from __future__ import annotations

import hashlib
import re
from datetime import date
from pathlib import Path

import msgspec
from msgspec.structs import replace

from cds_service.protocol.model import Protocol
from cds_service.terminology.valuesets import ValueSets


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers for a change, since when, and the replay by which its effect was seen; each may be left out."""

    owner: str = ""
    day: date | None = None
    overlay: str = ""
    """SHA-256 of the overlay file and of what stands beside it."""
    replay: str = ""
    """SHA-256 of the report's summary, which names all else of it."""

    @property
    def rows(self) -> dict[str, str]:
        """As they stand on the page."""
        named = {
            "owner": self.owner,
            "owned since": str(self.day or ""),
            "overlay": self.overlay,
            "replay": self.replay,
        }
        return {name: said for name, said in named.items() if said}


UNSIGNED = Signature()
_ROW = re.compile(r"^\| (owner|owned since|overlay|replay|digest) \| `?([^|`]*)`? \|", re.MULTILINE)


def faults(signed: str, digest: str, present: Signature, today: date) -> list[str]:
    """Why a signed page does not stand for what is loaded (`digest`) with this overlay and replay.

    A page without an owner was signed by hand, and only its digest is compared.
    """
    rows = {name: said.strip() for name, said in _ROW.findall(signed)}
    is_owned = bool(present.replay) or rows.keys() >= {"owner"}
    asked = {"digest": digest} | ({"overlay": present.overlay, "replay": present.replay} if is_owned else {})
    found = []
    for name, now in asked.items():
        was = rows.get(name, "")
        if was != now:
            found.append(f"the page was signed for {name} {was or '(none)'}, and this is {now or '(none)'}")
    if is_owned:
        found += [f"the page names no {name}" for name in ("owner", "owned since") if not rows.get(name)]
    if rows.get("owned since", "") > str(today):
        found.append(f"the page is owned since {rows['owned since']}, which is not yet")
    return found


def digest(protocol: Protocol, valuesets: ValueSets) -> str:
    """The same for the same rules, limits, sources, codes and words of the rules, wherever they are loaded."""
    told = msgspec.to_builtins(replace(protocol, folders=()), str_keys=True)
    made = hashlib.sha256(msgspec.json.encode(told, order="deterministic"))
    for name in sorted(valuesets.names()):
        known = valuesets[name]
        made.update(repr((name, known.members, known.branches, known.excluded)).encode())
    for folder in protocol.folders:
        for file in sorted(Path(folder).glob("*/card*.md")):
            made.update(f"{file.parent.name}/{file.name}".encode() + file.read_bytes())
    return made.hexdigest()[:16]
