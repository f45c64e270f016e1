"""Words: which value sets a text may mean that stands where a code was expected, whatever its language.

A vocabulary (words/*.yaml) lists what clinicians write for a value set. A match only asks: it never says that the
patient has it. What a text denies, or says of the family, is no match. How phrases are found: `phrases`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from cds_service import site_file
from cds_service.errors import UNREADABLE, ConfigurationError
from cds_service.lazy import KEPT
from cds_service.terminology.phrases import (
    ENDS,
    ENTIRE,
    MARKS,
    TOKENS,
    Phrases,
    entire,
    folded,
    spellings,
    tokens,
    words_of,
)

LANGUAGES = ("en", "de", "fr", "es")


class VocabularyError(ConfigurationError):
    """A vocabulary that cannot be used; the service does not start with it."""


class Cues:
    """The words by which a text denies something, or says it of the family (cues.yaml)."""

    def __init__(self, table: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]) -> None:
        def phrases(part: str, name: str) -> Phrases:
            said = table[part][name]
            return Phrases({name: [phrase for language in said.values() for phrase in language]})

        self._denies = phrases("negation", "before")
        self._between = phrases("negation", "between")
        self._or = phrases("negation", "or")
        self._denied = phrases("negation", "after")
        self._linking = phrases("negation", "linking")
        self._may_follow = phrases("negation", "may_follow")
        self._family = phrases("family", "before")
        self._of_family = phrases("family", "after")
        self._no_family = phrases("family", "unless")
        self._remarks = phrases("doubt", "remark")

    def doubts_all(self, words: Sequence[str]) -> bool:
        """Whether a remark takes back what it stands beside: "entered in error", "tolerates it"."""
        return any(self._ends(words, end) for end in self._remarks.ends(words).values())

    def unmeant(self, words: Sequence[str], spans: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        """Those of `spans` (start, end) that the text denies or says of the family."""
        by_start: dict[int, int] = {}
        for start, end in spans:
            by_start[start] = max(end, by_start.get(start, 0))
        if not by_start:
            return set()
        found = {span for span in by_start.items() if self._is_denied_after(words, span[1])}
        for after in self._denies.ends(words).values():
            found.update(self._denied_from(words, after, by_start))
        of_family = self._said_of_family(words)
        found.update(span for span in by_start.items() if span[0] in of_family or self._is_of_family(words, span[1]))
        return _within(spans, found)

    def _skip(
        self, phrases: Phrases, words: Sequence[str], at: int, marks: str = "", until: Container[int] = ()
    ) -> int:
        while at < len(words) and at not in until:
            after = at + 1 if words[at] in marks else phrases.longest(words, at)
            if after == at:
                break
            at = after
        return at

    def _denied_from(self, words: Sequence[str], at: int, by_start: Mapping[int, int]) -> list[tuple[int, int]]:
        """What follows a denial at once: one thing, or a list of them that ends with "or"."""
        listed: list[tuple[int, int]] = []
        is_list = False
        while True:
            at = self._skip(self._between, words, at, marks=":", until=by_start)
            if at not in by_start:
                break
            listed.append((at, by_start[at]))
            at = by_start[at]
            if at < len(words) and words[at] == ",":
                at += 1
            after = self._or.longest(words, at)
            if at < len(words) and words[at] == "/":
                after = at + 1
            if after > at:
                is_list = True
                at = after
            elif words[at - 1] != ",":
                break
        if not listed or not self._ends(words, at):
            return []
        return listed if is_list else listed[:1]

    def _ends(self, words: Sequence[str], at: int) -> bool:
        """Whether what was said is over, so that a denial before it was not of some further word."""
        return (
            at >= len(words)
            or words[at] in MARKS
            or words[at - 1] in MARKS
            or self._may_follow.longest(words, at) > at
        )

    def _is_denied_after(self, words: Sequence[str], at: int) -> bool:
        at = self._skip(self._linking, words, at, marks=":")
        after = self._denied.longest(words, at)
        return after > at and (after == len(words) or words[after] in MARKS or words[after].isdigit())

    def _said_of_family(self, words: Sequence[str]) -> set[int]:
        of_family = self._family.ends(words)
        if not of_family:
            return set()
        unless = self._no_family.ends(words)
        found: set[int] = set()
        is_family = False
        at = 0
        while at < len(words):
            if words[at] in ENDS:
                is_family = False
            elif at in unless:
                at = unless[at]
                continue
            elif at in of_family:
                is_family = True
            if is_family:
                found.add(at)
            at += 1
        return found

    def _is_of_family(self, words: Sequence[str], at: int) -> bool:
        marked = at < len(words) and words[at] in "(:"
        after = self._of_family.longest(words, at + marked)
        if after == at + marked + 1:
            return marked and (after == len(words) or words[after] in MARKS)
        return after > at + marked


def _within(spans: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of `spans` (start, end) that lie in one of `others`."""
    starts: list[int] = []
    furthest: list[int] = []
    for start, end in sorted(others):
        starts.append(start)
        furthest.append(max(end, furthest[-1]) if furthest else end)
    found = set()
    for start, end in spans:
        before = bisect_right(starts, start)
        if before and end <= furthest[before - 1]:
            found.add((start, end))
    return found


class Vocabulary:
    """The words of all value sets in one structure. A text is read once and remembered."""

    def __init__(self, by_set: Mapping[str, Mapping[str, Iterable[str]]], cues: Cues | None = None) -> None:
        """`by_set`: value set -> language -> phrases; under `not` are phrases that look like it and are not."""
        meant: dict[str, list[str]] = {}
        self._entire: dict[tuple[str, ...], set[str]] = {}
        for name, said in by_set.items():
            for phrase in (p for language, all_of in said.items() if language != "not" for p in all_of):
                if phrase.startswith(ENTIRE):
                    for spelling in entire(phrase):
                        self._entire.setdefault(spelling, set()).add(name)
                else:
                    meant.setdefault(name, []).append(phrase)
        self._longest_entire = max(map(len, self._entire), default=0)
        self._phrases = Phrases(meant)
        self._others = Phrases({name: said["not"] for name, said in by_set.items() if said.get("not")})
        self._cues = cues or shipped_cues()
        self._remembered = lru_cache(maxsize=KEPT)(self._read)

    def asking(self, text: str) -> frozenset[str] | None:
        """The value sets that a text may mean; None where it has no letter or digit that could say something."""
        return self._remembered(text) if len(text) <= _LONGEST_REMEMBERED else self._read(text)

    def denies(self, text: str) -> bool:
        """Whether a text names something of the vocabulary, and all that it names it denies or says of the family."""
        return not self.asking(text) and bool(self._phrases.all(tokens(text)))

    def doubts(self, text: str) -> bool:
        """As `denies`, where some of it is said to be borne ("tolerates ketamine"), or to be a relative's."""
        words = tokens(text)
        spans = [(start, end) for start, end, _ in self._phrases.all(words)]
        unmeant = self._cues.unmeant(words, spans) | doubtful_cues().unmeant(words, spans)
        return bool(spans) and unmeant.issuperset(spans)

    def names(self, text: str) -> bool:
        """Whether a text names something of the vocabulary, denied or not."""
        return bool(self._phrases.all(tokens(text)))

    def _read(self, text: str) -> frozenset[str] | None:
        written = folded(text)
        words = words_of(written)
        if not words:
            return None
        entire = self._entire.get(tuple(words), ()) if len(words) <= self._longest_entire else ()
        if not self._phrases.may_be_in(words):
            return frozenset(entire)
        parted = TOKENS.findall(written)
        found = self._phrases.all(parted)
        if found and (others := self._others.all(parted)):
            found = [
                (at, end, name)
                for at, end, name in found
                if not any(of == name and start <= at and end <= last for start, last, of in others)
            ]
        unmeant = self._cues.unmeant(parted, [(at, end) for at, end, _ in found])
        return frozenset(name for at, end, name in found if (at, end) not in unmeant).union(entire)


_LONGEST_REMEMBERED = 256


@lru_cache(maxsize=1)
def shipped_cues() -> Cues:
    return Cues(_yaml(resources.files(__package__).joinpath("cues.yaml")))


@lru_cache(maxsize=1)
def doubtful_cues() -> Cues:
    """Those by which an entry of an allergy list may not hold: in the place of a denial."""
    table = _yaml(resources.files(__package__).joinpath("cues.yaml"))
    doubt, negation = table["doubt"], table["negation"]
    said = {
        part: {lang: [*negation[part].get(lang, ()), *doubt.get(part, {}).get(lang, ())] for lang in LANGUAGES}
        for part in ("between", "or", "linking", "may_follow")
    }
    return Cues({**table, "negation": {**said, "before": doubt["before"], "after": doubt["after"]}})


def read(directory: Traversable, ending: str = ".yaml") -> dict[str, dict[str, list[str]]]:
    """The vocabularies of a directory: value set -> language -> phrases. Raises VocabularyError."""
    files = sorted((f for f in directory.iterdir() if f.name.endswith(ending)), key=lambda f: f.name)
    return {file.name.removesuffix(ending): _checked(_yaml(file), file.name) for file in files}


def _yaml(file: Traversable) -> Any:
    try:
        return yaml.load(file.read_text("utf-8"), Loader=site_file.Loader)
    except (yaml.YAMLError, *UNREADABLE) as error:
        raise VocabularyError(f"{file.name} cannot be read: {error}") from error


def _checked(said: Any, where: str) -> dict[str, list[str]]:
    if not isinstance(said, dict) or not said:
        raise VocabularyError(f"{where}: expected is a language with its phrases: en: [heart attack, …]")
    for language, phrases in said.items():
        if language not in (*LANGUAGES, "not"):
            raise VocabularyError(f"{where}: {language!r} is none of {', '.join((*LANGUAGES, 'not'))}")
        if not isinstance(phrases, list) or not all(isinstance(p, str) and any(spellings(p)) for p in phrases):
            raise VocabularyError(f"{where}: {language} must be a list of phrases; quote yes, no and numbers")
    return said
