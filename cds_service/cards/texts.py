"""The words of the cards: a Markdown file per rule and the words that all share, filled where a card is made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cds_service import bounds
from cds_service.cards.shown import Say, TextError, shown
from cds_service.cards.templates import Template
from cds_service.figures import show
from cds_service.protocol.limits import LimitBook, listed
from cds_service.says import Named, Said, Says

ENGLISH = "en"
SUMMARY_LIMIT = 140
"""A summary must be shorter than this (CDS Hooks 2.0, requirement 83)."""

_SUBTAGS = 4
"""Of a language tag so many parts are looked at."""
_TAIL = 60
"""Of a text that is too long so much of its end is shown: dates and states stand there."""
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#])")
_BLOCK = re.compile(r"^(?:([-+=])(?=[-+=\s]|$)|(\d+)([.)])(?=\s|$))")
"""What begins a list, a line or a heading at the start of a line."""
_SCHEME = re.compile(r"(?<=:)//|(?<=www)\.", re.IGNORECASE)
_MAIL = re.compile(r"(?<=\S)@(?=\S)")
_ESCAPED = re.compile(r"\\([\\`*_\[\]<>|~#/.)=+-])")
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Letters and marks that show nothing; controls, joiners and overrides of direction are not printable at all."""


def visible(text: str) -> str:
    """The text without what is not seen: control characters, overrides of direction, joiners, fillers."""
    if text.isascii() and text.isprintable():
        return text
    seen = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    return _UNSEEN.sub("", seen)


def plain(text: str, longest: int = bounds.SHOWN) -> str:
    """Text from outside, as a label or a description shows it: one line of visible characters, at most `longest`.

    Everything of a request that reaches an answer goes through here: as the value of a placeholder, or as a whole
    line that a rule made of it.
    """
    if len(text) > 4 * longest:
        text = f"{text[: 2 * longest]}…{text[-2 * longest :]}"
    text = " ".join(visible(text).split())
    if len(text) > longest:
        text = f"{text[: longest - _TAIL - 1].rstrip()}…{text[-_TAIL:].lstrip()}"
    return text


def as_markdown(text: str) -> str:
    """One line of plain text, so that no Markdown renderer takes it for markup, a link or HTML."""
    text = " ".join(text.split()).replace("&", "&amp;")
    text = _MARKDOWN.sub(r"\\\1", text)
    text = _BLOCK.sub(lambda begun: f"\\{begun[1]}" if begun[1] else f"{begun[2]}\\{begun[3]}", text)
    return _MAIL.sub(" @ ", _SCHEME.sub(lambda found: found[0].replace("/", "\\/").replace(".", "\\."), text))


def escaped(text: str) -> str:
    """Text from outside, as a detail shows it."""
    return as_markdown(plain(text))


def unescaped(text: str) -> str:
    """What `as_markdown` was given, for those who show no Markdown."""
    return _ESCAPED.sub(r"\1", text).replace("&amp;", "&")


def one_line(text: str) -> str:
    """A summary: one line, shorter than 140 characters."""
    text = " ".join(visible(text).split())
    return text if len(text) < SUMMARY_LIMIT else text[: SUMMARY_LIMIT - 2].rstrip() + "…"


@dataclass(frozen=True, slots=True)
class Wording:
    """A template of one language, with the limits that it names."""

    template: Template
    names: frozenset[str]
    """All placeholders."""
    limits: Mapping[str, str]
    """Of those that are limits: placeholder -> id of the limit."""
    say: Say

    def fill(self, values: Mapping[str, object], book: LimitBook | None = None) -> str:
        """With `values`, and the limits of `book`. A value of a limit's name that differs from the limit wins."""
        if not self.limits or book is None:
            return self.template.render(values)
        filled = dict(values)
        for placeholder, name in self.limits.items():
            if name not in book:
                continue  # words that all protocols share may name a limit of one of them
            given = filled.get(placeholder)
            if given is None or given == listed([show(number) for number in book.numbers(name)]):
                filled[placeholder] = shown(book, name, self.say)
        return self.template.render(filled)


@dataclass(frozen=True, slots=True)
class Text:
    """One rule's words. A tier may have its own summary, and one for a sum of doses (`tier/sum`, `tier/repeats`)."""

    rule: str
    heading: Wording
    short: str
    """What is said of it in a list: "weight", "dose"."""
    summaries: Mapping[str, Wording]
    body: Wording
    links: tuple[tuple[str, str], ...] = ()
    citations: tuple[str, ...] = ()
    """Its own sources, in place of the rule's."""
    because: Mapping[str, str] = field(default_factory=dict)
    """What changes its severity, in another language: what the rule says of it -> its words."""

    def title(self, book: LimitBook) -> str:
        return self.heading.fill({}, book)

    def summary(self, tier: str | None, values: Mapping[str, str], book: LimitBook) -> str:
        return one_line(self.uncut(tier, values, book))

    def uncut(self, tier: str | None, values: Mapping[str, str], book: LimitBook) -> str:
        """A summary as long as it is."""
        keys = (f"{tier}/{values.get('how')}", f"{tier}", "")
        wording = next((self.summaries[key] for key in keys if key in self.summaries), None)
        if wording is None:
            raise TextError(f"{self.rule}: no summary for the tier {tier}")
        return wording.fill({**values, "tier": tier}, book)

    def detail(self, tier: str | None, values: Mapping[str, str], book: LimitBook) -> str:
        return self.body.fill({**values, "tier": tier}, book).strip()


@dataclass(frozen=True, slots=True)
class Phrase:
    """The words of a sentence of one key. Its values stand as they are: what comes of them is made safe whole."""

    parts: tuple[str | int, ...]
    """Text, and the numbers of the values between it; of one with a `template` none."""
    names: tuple[str, ...]
    template: Template | None = None
    """Where it holds more than its values."""

    def fill(self, values: Sequence[str]) -> str:
        if self.template is not None:
            return self.template.render(dict(zip(self.names, values, strict=True)))
        return "".join([part if isinstance(part, str) else values[part] for part in self.parts])


@dataclass(frozen=True, slots=True)
class Words:
    """The words that all cards share: headings, suggestion labels, notes, and what rules say by key."""

    entries: Mapping[str, Wording]
    fixed: Mapping[str, str]
    """Those that have no placeholder."""
    phrases: Mapping[str, Phrase] = field(default_factory=dict)
    """By key what rules, charts and orders say."""

    def say(self, key: str, book: LimitBook | None = None, **values: Says | int) -> str:
        """Plain text: labels and descriptions are no Markdown. Some name limits, and need the `book` of the drug."""
        if key in self.fixed:
            return self.fixed[key]
        return self.entries[key].fill(
            {n: v if isinstance(v, str | int) else self.fill(v) for n, v in values.items()}, book
        )

    def fill(self, says: Says) -> str:
        """What is said, in words. What came from outside is not made safe to show by this."""
        if isinstance(says, str):
            return says
        if isinstance(says, Said):
            return self.phrases[says.key].fill([self.fill(value) for value in says.values])
        if isinstance(says, Named):
            return self.fixed.get(says.key, says.name)
        return self.fill(says.between).join([self.fill(part) for part in says.parts])

    def filled(self, values: Mapping[str, Says]) -> dict[str, str]:
        """The values of a card's text."""
        return {name: value if isinstance(value, str) else self.fill(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of one language, and those of the others."""

    by_rule: Mapping[str, Text]
    """What is said of every drug that has no text of its own."""
    words: Words
    language: str = ENGLISH
    by_drug: Mapping[tuple[str, str], Text] = field(default_factory=dict)
    """By rule and drug."""
    others: Mapping[str, Texts] = field(default_factory=dict)
    """By language: what a file of another language says instead."""
    shipped: Words = field(default_factory=lambda: Words({}, {}))
    """The English words that the service came with."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """By protocol: SHA-256 of every file that its cards are worded by, a site's own among them. None where texts are
    read on demand."""

    def recorded(self, says: Says) -> str:
        """What is said as machines, logs and the store keep it: in the English that the service came with."""
        return self.shipped.fill(says)

    def of(self, rule: str, drug: str) -> Text:
        """The text of a rule for an order of a drug."""
        own = (rule, drug)
        return self.by_drug[own] if own in self.by_drug else self.by_rule[rule]

    def untold(self, language: str) -> tuple[list[str], list[str]]:
        """(keys of shared words, rules) that another language says in English."""
        other = self.others[language]
        pairs = ((self.words.entries, other.words.entries), (self.words.phrases, other.words.phrases))
        keys = [key for ours, theirs in pairs for key, word in ours.items() if theirs.get(key) is word]
        return sorted(keys), [rule for rule, text in self.by_rule.items() if other.by_rule[rule] is text]

    def spoken(self, wanted: Iterable[str]) -> Texts:
        """The texts of the first language that there is: `de-CH` finds `de`. English where there is none."""
        for tag in wanted:
            parts = tag.lower().split("-")[:_SUBTAGS]
            for length in range(len(parts), 0, -1):
                language = "-".join(parts[:length])
                if language == self.language:
                    return self
                if language in self.others:
                    return self.others[language]
        return self
