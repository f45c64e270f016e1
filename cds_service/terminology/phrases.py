"""Phrases in a text, compared as folded whole words: case, accents and hyphens make no difference.

A phrase that ends with * stands for all words that begin so, one that begins with = is meant only where it is the
whole text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from cds_service.terminology.written import normalized

_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ı": "i"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa"})
TOKENS = re.compile(r"[^\W_]+|[.,;:()\n/]")
_FOREIGN = re.compile(r"[^\x00-\x7f]+")
ENDS = frozenset(".;\n")
MARKS = frozenset(".,;:()\n/")
_WRITTEN_MARKS = frozenset("/:")
"""Those that a phrase may have itself: h/o, FH:."""
_STEM, ENTIRE = "*", "="


def folded(text: str) -> str:
    """Lower case without accents; what cannot be seen is left out."""
    if text.isascii():
        return text.lower()
    return _FOREIGN.sub(_fold_run, text.lower())


def _fold_run(run: re.Match[str]) -> str:
    """Letters beyond ASCII between two of it. Alone they are an umlaut or an accent, and the same few again."""
    return _fold_letter(run[0]) if len(run[0]) == 1 else _fold_letters(run[0])


def _fold_letters(letters: str) -> str:
    plain = normalized("NFKD", letters.translate(_LETTERS))
    return "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Cf"))


_fold_letter = lru_cache(maxsize=4096)(_fold_letters)


def tokens(text: str) -> list[str]:
    """The words of a text, folded, with the marks that part them."""
    return TOKENS.findall(folded(text))


_BLANKS = {code: " " for code in range(128) if not chr(code).isalnum()}


def words_of(written: str) -> Sequence[str]:
    """The words of a folded text, without the marks between them."""
    if written.isascii():
        return written.translate(_BLANKS).split()
    return _unmarked(TOKENS.findall(written))


def spellings(phrase: str) -> Iterator[tuple[str, ...]]:
    """A phrase as words, with its umlauts as one letter and as two."""
    composed = unicodedata.normalize("NFC", phrase).lower().removeprefix(ENTIRE)
    for written in dict.fromkeys((composed, composed.translate(_UMLAUTS))):
        words = [word for word in tokens(written.removesuffix(_STEM)) if word not in MARKS or word in _WRITTEN_MARKS]
        if words:
            yield (*words, _STEM) if written.endswith(_STEM) else tuple(words)


def entire(phrase: str) -> Iterator[tuple[str, ...]]:
    """As `spellings`, of what is a whole text, without marks. Most are terms of a code system, in plain letters."""
    if phrase.isascii() and not phrase.endswith(_STEM):
        if words := words_of(phrase.lower()):
            yield tuple(words)
    else:
        yield from map(_unmarked, spellings(phrase))


def _unmarked(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for word in words if word not in MARKS)


class Phrases:
    """Phrases by their first two words. One that ends with * stands for all words that begin so."""

    def __init__(self, phrases: Mapping[str, Iterable[str]]) -> None:
        """`phrases`: what a phrase stands for -> its phrases."""
        self._by_pair: dict[tuple[str, str], list[tuple[tuple[str, ...], str]]] = {}
        self._by_word: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        """Of one word, or with a stem for a second."""
        self._stems: dict[str, list[tuple[str, str]]] = {}
        split = [(words, meaning) for meaning, all_of in phrases.items() for p in all_of for words in spellings(p)]
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
        self._is_marked = any(len(hint) < 2 for hint in self._hints) or not MARKS.isdisjoint(self._words)

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
