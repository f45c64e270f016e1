"""Words: which value sets a text may mean that stands where a code was expected, whatever its language.

A vocabulary (words/*.yaml) lists what clinicians write for a value set. A match only asks: it never says that the
patient has it. What a text denies, or says of the family, is no match. Everything is compared as folded whole words:
case, accents and hyphens make no difference. A phrase that ends with * stands for all words that begin so, one that
begins with = is meant only where it is the whole text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import Any

import yaml

from cds_service.errors import UNREADABLE, ConfigurationError
from cds_service.lazy import KEPT

LANGUAGES = ("en", "de", "fr", "es")
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ı": "i"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa"})
_TOKENS = re.compile(r"[^\W_]+|[.,;:()\n/]")
_FOREIGN = re.compile(r"[^\x00-\x7f]+")
_ENDS = frozenset(".;\n")
_MARKS = frozenset(".,;:()\n/")
_WRITTEN_MARKS = frozenset("/:")
"""Those that a phrase may have itself: h/o, FH:."""
_STEM, ENTIRE = "*", "="


class VocabularyError(ConfigurationError):
    """A vocabulary that cannot be used; the service does not start with it."""


def folded(text: str) -> str:
    """Lower case without accents; what cannot be seen is left out."""
    if text.isascii():
        return text.lower()
    return _FOREIGN.sub(_fold_run, text.lower())


def _fold_run(run: re.Match[str]) -> str:
    """Letters beyond ASCII between two of it. Alone they are an umlaut or an accent, and the same few again."""
    return _fold_letter(run[0]) if len(run[0]) == 1 else _fold_letters(run[0])


def _fold_letters(letters: str) -> str:
    plain = unicodedata.normalize("NFKD", letters.translate(_LETTERS))
    return "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Cf"))


_fold_letter = lru_cache(maxsize=4096)(_fold_letters)


def tokens(text: str) -> list[str]:
    """The words of a text, folded, with the marks that part them."""
    return _TOKENS.findall(folded(text))


_BLANKS = {code: " " for code in range(128) if not chr(code).isalnum()}


def _words(written: str) -> Sequence[str]:
    """The words of a folded text, without the marks between them."""
    if written.isascii():
        return written.translate(_BLANKS).split()
    return _unmarked(_TOKENS.findall(written))


def _spellings(phrase: str) -> Iterator[tuple[str, ...]]:
    """A phrase as words, with its umlauts as one letter and as two."""
    composed = unicodedata.normalize("NFC", phrase).lower().removeprefix(ENTIRE)
    for written in dict.fromkeys((composed, composed.translate(_UMLAUTS))):
        words = [word for word in tokens(written.removesuffix(_STEM)) if word not in _MARKS or word in _WRITTEN_MARKS]
        if words:
            yield (*words, _STEM) if written.endswith(_STEM) else tuple(words)


def _entire(phrase: str) -> Iterator[tuple[str, ...]]:
    """As `_spellings`, of what is a whole text, without marks. Most are terms of a code system, in plain letters."""
    if phrase.isascii() and not phrase.endswith(_STEM):
        if words := _words(phrase.lower()):
            yield tuple(words)
    else:
        yield from map(_unmarked, _spellings(phrase))


def _unmarked(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for word in words if word not in _MARKS)


class Phrases:
    """Phrases by their first two words. One that ends with * stands for all words that begin so."""

    def __init__(self, phrases: Mapping[str, Iterable[str]]) -> None:
        """`phrases`: what a phrase stands for -> its phrases."""
        self._by_pair: dict[tuple[str, str], list[tuple[tuple[str, ...], str]]] = {}
        self._by_word: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        """Of one word, or with a stem for a second."""
        self._stems: dict[str, list[tuple[str, str]]] = {}
        split = [(words, meaning) for meaning, all_of in phrases.items() for p in all_of for words in _spellings(p)]
        stems = [(words[0], meaning) for words, meaning in split if len(words) == 2 and words[1] == _STEM]
        self._shortest = min((len(stem) for stem, _ in stems), default=0)
        for stem, meaning in dict.fromkeys(stems):
            self._stems.setdefault(stem[: self._shortest], []).append((stem, meaning))
        for words, meaning in dict.fromkeys(split):
            if len(words) == 2 and words[1] == _STEM:
                continue
            if len(words) == 1 or words[2:] == (_STEM,):
                self._by_word.setdefault(words[0], []).append((words, meaning))
            else:
                self._by_pair.setdefault((words[0], words[1]), []).append((words, meaning))
        self._words, self._pairs = frozenset(self._by_word), frozenset(self._by_pair)
        self._prefixes = frozenset(self._stems)
        unmarked = [_unmarked(words) for of_pair in self._by_pair.values() for words, _ in of_pair]
        self._hints = frozenset(words[:2] for words in unmarked)
        self._is_marked = any(len(hint) < 2 for hint in self._hints) or not _MARKS.isdisjoint(self._words)

    def may_be_in(self, words: Sequence[str]) -> bool:
        """Whether a phrase may be in a text of these words, without the marks between them: in most there is none."""
        return self._is_marked or bool(self._beginning(words, self._hints))

    def _beginning(self, words: Sequence[str], pairs: frozenset[tuple[str, ...]]) -> set[str]:
        """The words of a text with which a phrase may begin, of one word or with one of `pairs`."""
        different = set(words)
        found = {pair[0] for pair in pairs.intersection(set(pairwise(words)))}
        found.update(self._words & different)
        shortest = self._shortest
        if self._prefixes and not self._prefixes.isdisjoint([word[:shortest] for word in different]):
            found.update(word for word in different if word[:shortest] in self._prefixes)
        return found

    def at(self, words: Sequence[str], start: int) -> list[tuple[int, str]]:
        """(end, meaning) of each phrase that begins at `start`."""
        first = words[start]
        stems = self._stems.get(first[: self._shortest], ())
        found = [(start + 1, meaning) for stem, meaning in stems if first.startswith(stem)]
        phrases = self._by_word.get(first, ())
        if start + 1 < len(words) and (of_pair := self._by_pair.get((first, words[start + 1]))):
            phrases = (*phrases, *of_pair)
        for phrase, meaning in phrases:
            if (end := _follows(words, start, phrase)) is not None:
                found.append((end, meaning))
        return found

    def all(self, words: Sequence[str]) -> list[tuple[int, int, str]]:
        """(start, end, meaning) of each phrase in a text."""
        beginning = self._beginning(words, self._pairs)
        if not beginning:
            return []
        return [
            (start, end, meaning)
            for start, word in enumerate(words)
            if word in beginning
            for end, meaning in self.at(words, start)
        ]

    def ends(self, words: Sequence[str]) -> dict[int, int]:
        """Where each phrase of a text begins, and where the longest that begins there ends."""
        found: dict[int, int] = {}
        for start, end, _ in self.all(words):
            found[start] = max(end, found.get(start, 0))
        return found

    def longest(self, words: Sequence[str], start: int) -> int:
        """Where the longest phrase ends that begins at `start`; `start` where none does."""
        return max((end for end, _ in self.at(words, start)), default=start) if start < len(words) else start


def _follows(words: Sequence[str], start: int, phrase: tuple[str, ...]) -> int | None:
    """Where the phrase ends that begins at `start`, if it stands there."""
    if phrase[-1] == _STEM:
        last = start + len(phrase) - 2
        whole = last < len(words) and tuple(words[start:last]) == phrase[:-2]
        return last + 1 if whole and words[last].startswith(phrase[-2]) else None
    end = start + len(phrase)
    return end if tuple(words[start:end]) == phrase else None


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
            or words[at] in _MARKS
            or words[at - 1] in _MARKS
            or self._may_follow.longest(words, at) > at
        )

    def _is_denied_after(self, words: Sequence[str], at: int) -> bool:
        at = self._skip(self._linking, words, at, marks=":")
        after = self._denied.longest(words, at)
        return after > at and (after == len(words) or words[after] in _MARKS or words[after].isdigit())

    def _said_of_family(self, words: Sequence[str]) -> set[int]:
        of_family = self._family.ends(words)
        if not of_family:
            return set()
        unless = self._no_family.ends(words)
        found: set[int] = set()
        is_family = False
        at = 0
        while at < len(words):
            if words[at] in _ENDS:
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
            return marked and (after == len(words) or words[after] in _MARKS)
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
                    for spelling in _entire(phrase):
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
        words = _words(written)
        if not words:
            return None
        entire = self._entire.get(tuple(words), ()) if len(words) <= self._longest_entire else ()
        if not self._phrases.may_be_in(words):
            return frozenset(entire)
        parted = _TOKENS.findall(written)
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
        return yaml.load(file.read_text("utf-8"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, *UNREADABLE) as error:
        raise VocabularyError(f"{file.name} cannot be read: {error}") from error


def _checked(said: Any, where: str) -> dict[str, list[str]]:
    if not isinstance(said, dict) or not said:
        raise VocabularyError(f"{where}: expected is a language with its phrases: en: [heart attack, …]")
    for language, phrases in said.items():
        if language not in (*LANGUAGES, "not"):
            raise VocabularyError(f"{where}: {language!r} is none of {', '.join((*LANGUAGES, 'not'))}")
        if not isinstance(phrases, list) or not all(isinstance(p, str) and any(_spellings(p)) for p in phrases):
            raise VocabularyError(f"{where}: {language} must be a list of phrases; quote yes, no and numbers")
    return said
