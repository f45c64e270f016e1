"""What a signature stands for: the digest of what was loaded, owner, date and replay, and whether it still holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import date

import msgspec
from msgspec.structs import replace

from cds_service.knowledge import Knowledge
from cds_service.protocol.model import Protocol


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


def faults(signed: str, loaded: Sequence[str], present: Signature, today: date) -> list[str]:
    """Why signed pages do not stand for what is loaded (the `digests` of it) with this overlay and replay.

    A page without an owner was signed by hand, and only its digest is compared.
    """
    found_in = [(name, said.strip()) for name, said in _ROW.findall(signed)]
    rows = dict(found_in) | {"digest": ", ".join(said for name, said in found_in if name == "digest")}
    is_owned = bool(present.replay) or rows.keys() >= {"owner"}
    asked = {"digest": ", ".join(loaded)} | (
        {"overlay": present.overlay, "replay": present.replay} if is_owned else {}
    )
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


def digest(knowledge: Knowledge) -> str:
    """Of a policy: of all protocols that are loaded; of one alone as its page has it."""
    one_by_one = digests(knowledge)
    return one_by_one[0] if len(one_by_one) == 1 else _short(" ".join(one_by_one).encode())


def digests(knowledge: Knowledge) -> list[str]:
    """Of each protocol, as its page has it, in their order."""
    return [digest_of(part.protocol, knowledge) for part in knowledge.parts]


def digest_of(protocol: Protocol, knowledge: Knowledge) -> str:
    """The same for the same rules, limits, sources, codes and words of cards, wherever they are loaded.

    The words are all that its cards may say in any language: those of its rules, those that all cards share, and a
    site's own in place of either.
    """
    told = msgspec.to_builtins(replace(protocol, folders=()), str_keys=True)
    valuesets = knowledge.valuesets
    known = [(name, valuesets[name]) for name in sorted(valuesets.names())]
    codes = [repr((name, each.members, each.branches, each.excluded)) for name, each in known]
    made = [msgspec.json.encode(told, order="deterministic"), *(each.encode() for each in codes)]
    return _short(b"".join([*made, knowledge.texts.digests[protocol.id].encode()]))


def _short(said: bytes) -> str:
    return hashlib.sha256(said).hexdigest()[:16]
