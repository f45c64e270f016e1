"""As much of a card's lines as anybody reads: the most important first, and the rest by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from cds_service import bounds

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_a-z])")
_JOINTS = {"body": " ", "facts": "; ", "sums": "; ", "notes": " ", "list": "\n"}
"""What stands between the lines of one group."""
_PARAGRAPH = "\n\n"

Rest = Callable[[Sequence[str], int], str]
"""What says of the lines that did not fit which they are, and how many more there are."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a card may say, as Markdown. Lines of one `group` stand in one paragraph."""

    text: str
    rank: int
    """The least is kept first where not all fits."""
    group: str
    short: str | None = None
    """What names it where it did not fit; a line without a name is then left to the page of the rule."""


def bullet(text: str, rank: int, short: str) -> Line:
    return Line(f"- {text}", rank, "list", short)


def sentences(paragraph: str) -> list[str]:
    return [each for each in _SENTENCE.split(" ".join(paragraph.split())) if each]


def fitted(lines: Sequence[Line], rest: Rest) -> str:
    """The lines that fit, in their order, and at the end the names of those that did not."""
    whole = _joined(lines) if len(lines) <= bounds.WORDS else ""
    if whole and fits(whole):  # as nearly always
        return whole
    kept: set[int] = set()
    told = ""
    ranked = sorted(range(len(lines)), key=lambda place: lines[place].rank)
    for place in ranked[: bounds.WORDS]:  # there may be thousands
        tried = _told(lines, kept | {place}, rest)
        if tried is not None:
            kept.add(place)
            told = tried
    return told or _cut(lines, rest)


def fits(text: str) -> bool:
    return len(text) <= bounds.DETAIL and len(text.split()) <= bounds.WORDS


def _told(lines: Sequence[Line], kept: Collection[int], rest: Rest) -> str | None:
    """The kept lines with as many names of the others as fit; None where not even their number does."""
    chosen = [lines[place] for place in sorted(kept)]
    left = [line.short for place, line in enumerate(lines) if place not in kept and line.short is not None]
    names = list(dict.fromkeys(left))
    text = _joined(chosen)
    if not names:
        return text if fits(text) else None
    for count in range(min(len(names), bounds.WORDS), -1, -1):
        whole = _PARAGRAPH.join(part for part in (text, rest(names[:count], len(names) - count)) if part)
        if fits(whole):
            return whole
    return None


def _joined(lines: Sequence[Line]) -> str:
    groups = (list(each) for _, each in groupby(lines, key=lambda line: line.group))
    return _PARAGRAPH.join(_JOINTS[each[0].group].join(line.text for line in each) for each in groups)


def _cut(lines: Sequence[Line], rest: Rest) -> str:
    """The first line as far as it fits, where none fits whole."""
    if not lines:
        return ""
    words = lines[0].text[: bounds.DETAIL // 2].split(" ")[: bounds.WORDS // 2]
    left = len([line for line in lines[1:] if line.short is not None])
    text = f"{' '.join(words[:-1]).rstrip(chr(92))}…"
    return _PARAGRAPH.join([text, rest((), left)]) if left else text
