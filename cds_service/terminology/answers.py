"""Answers to questions and tests: by the codes of a value set of answers, or by the words that stand for them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources

from cds_service.terminology.drugs import plain
from cds_service.terminology.valuesets import ValueSets

_WORDS = {
    name: frozenset(words)
    for name, words in tomllib.loads(resources.files(__package__).joinpath("answers.toml").read_text("utf-8")).items()
}
_REST = re.compile(r"\s*[,:;.!(\[].*$", re.DOTALL)
_LONGEST = 200
"""Longer texts are a report, and no answer."""


@lru_cache(maxsize=2048)
def _forms(text: str) -> frozenset[str]:
    """The whole answer, and what of it stands before the first comma, colon, full stop or bracket."""
    whole = plain(text).rstrip(".!")
    return frozenset((whole, _REST.sub("", whole))) - {""}


def holds(name: str, codings: Iterable[tuple[str, str]], words: Sequence[str], valuesets: ValueSets) -> bool:
    """Whether an answer, by a code or by words, is in the value set `name`."""
    if name in valuesets and valuesets.member(name, codings) is not None:
        return True
    known = _WORDS.get(name.partition("/")[0], frozenset())
    return any(not known.isdisjoint(_forms(text)) for text in words if len(text) <= _LONGEST)
