"""How the files of one language are read: its shared words, which the filters say, and its templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cds_service.cards.literals import Literals, Quote
from cds_service.cards.sentences import KEYS, SENTENCES
from cds_service.cards.shown import TextError, filters
from cds_service.cards.templates import Logical, Plain, Template, pieces
from cds_service.cards.texts import Phrase, Wording, Words, escaped, plain
from cds_service.lazy import cached_property
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.parsing import parse_yaml
from cds_service.site_file import read_bytes

_VALUE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_NUMBERS = frozenset({"counted", "one-hour"})
"""Words of the code that may hold a number: what is counted, and the hour of a rate. So may names of the data."""

Word = Wording | Phrase


@dataclass(frozen=True)
class File:
    """One file of a folder of texts."""

    path: Path
    language: str
    site: bool
    drug: str | None = None
    """The drug of which alone it is said."""

    @property
    def shown(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    def read(self) -> str:
        try:
            return read_bytes(self.path).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise TextError(f"{self.shown}: cannot be read as UTF-8") from error

    @cached_property
    def words(self) -> dict[str, str]:
        """The words of a file of shared words, by key. Raises TextError."""
        try:
            content = parse_yaml(self.read(), self.shown)
        except ProtocolError as error:
            raise TextError(" ".join(str(error).split())) from error
        if not isinstance(content, dict) or not all(isinstance(w, str) for each in content.items() for w in each):
            raise TextError(f"{self.shown}: expected are lines of `key: words`, the words in quotes")
        return content


@dataclass
class Language:
    """The templates of one language, and the shared words as they are read."""

    code: str
    limits: Mapping[str, str]
    """Placeholder -> id of the limit."""
    words: dict[str, Word] = field(default_factory=dict)
    """The shared words, by key."""

    def __post_init__(self) -> None:
        self.detail = _environment(lambda value: escaped(str(value)), trim_blocks=True, lstrip_blocks=True)
        self.plain = _environment(lambda value: plain(str(value)))
        self.raw = _environment(None)
        for environment in (self.detail, self.plain, self.raw):
            environment.globals.clear()  # no text calls range() and the like; each is filled in half the time
            environment.filters.update(filters(self.say))

    def say(self, key: str, values: Mapping[str, object]) -> str | None:
        word = self.words.get(key)
        if word is None:
            return None
        return word.fill(values) if isinstance(word, Wording) else word.fill(())

    def wording(self, environment: Environment, source: str) -> Wording:
        """Raises TemplateError."""
        template: Template
        if (found := pieces(source)) is not None:
            template, named = Plain(found, environment.finalize or str), frozenset(found[1::2])
        else:
            named = frozenset(meta.find_undeclared_variables(environment.parse(source)))
            template = Logical(environment, source)
        limits = {placeholder: self.limits[placeholder] for placeholder in sorted(named & self.limits.keys())}
        return Wording(template, named, limits, self.say)

    def word(self, file: File, key: str, source: str) -> tuple[Word, frozenset[str]]:
        """A shared word, and the placeholders that it names. Raises TextError for one that is no template."""
        try:
            if key in SENTENCES:
                return self._phrase(SENTENCES[key], source)
            if "{" not in source:
                return Phrase((source,), ()), frozenset()
            word = self.wording(self.plain, source)
            return word, word.names
        except TemplateError as error:
            raise TextError(f"{file.shown}: {key} cannot be read: {error}") from error

    def _phrase(self, names: tuple[str, ...], source: str) -> tuple[Phrase, frozenset[str]]:
        pieces = _VALUE.split(source)
        if any("{" in piece for piece in pieces[::2]):
            named = meta.find_undeclared_variables(self.raw.parse(source))
            return Phrase((), names, Logical(self.raw, source)), frozenset(named)
        named = set(pieces[1::2])
        if not named.issubset(names):
            return Phrase((), names), frozenset(named)
        parts = (names.index(piece) if at % 2 else piece for at, piece in enumerate(pieces))
        return Phrase(tuple(part for part in parts if part != ""), names), frozenset(named)

    def made(self) -> Words:
        """The words as cards use them."""
        entries = {key: word for key, word in self.words.items() if isinstance(word, Wording)}
        phrases = {key: word for key, word in self.words.items() if isinstance(word, Phrase)}
        return Words(entries, self._fixed(), phrases)

    def _fixed(self) -> dict[str, str]:
        """Those that have no placeholder."""
        texts = {key: self.say(key, {}) for key, word in self.words.items() if not word.names}
        return {key: text for key, text in texts.items() if text is not None}

    def literals(self) -> Literals:
        return Literals(self.plain, self._fixed())

    def check_numbers(self, file: File) -> None:
        """No shared word writes a number itself. Raises TextError."""
        literals = self.literals()
        for key, source in file.words.items():
            numbers = [] if key not in KEYS or key in _NUMBERS else literals.found(source)
            if numbers:
                raise TextError(f"{file.shown}: {key} {refused(numbers)}")


def check_keys(file: File) -> None:
    """The shipped English words have words for all that the code says. Raises TextError."""
    missing = sorted(KEYS.keys() - file.words.keys())
    if missing:
        raise TextError(f"{file.shown}: has no words for {missing[0]}, which is said in the code")


def refused(numbers: Iterable[str]) -> str:
    """That a text writes numbers itself, as the end of a sentence."""
    return (
        f"writes the number {', '.join(dict.fromkeys(numbers))} itself; name a limit as {{{{ limit_id }}}}, or put "
        "what a source says between {% quote %} and {% endquote %}"
    )


def _environment(finalize: Callable[[Any], str] | None, **options: bool) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, extensions=[Quote], finalize=finalize, **options)
