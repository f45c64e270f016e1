"""The words of the cards: one Markdown file per rule, read and checked once, filled with a finding's figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import frontmatter
import yaml
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cds_service import bounds
from cds_service.folders import COMMON

SUMMARY_LIMIT = 140
"""A summary must be shorter than this (CDS Hooks 2.0, requirement 83)."""

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


class TextError(Exception):
    """A card text that cannot be used; the service does not start with it."""


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


_DETAIL = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=lambda v: escaped(str(v))
)
_PLAIN = ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=lambda v: plain(str(v)))
for _environment in (_DETAIL, _PLAIN):
    _environment.globals.clear()  # no text calls range() and the like; without them each is filled in half the time


@dataclass(frozen=True, slots=True)
class Text:
    """One rule's words. A tier may have its own summary, and one for a sum of doses (`tier/sum`, `tier/repeats`)."""

    rule: str
    title: str
    short: str
    """What is said of it in a list: "weight", "dose"."""
    summaries: Mapping[str, Template]
    body: Template
    links: tuple[tuple[str, str], ...] = ()

    def summary(self, tier: str | None, values: Mapping[str, str]) -> str:
        keys = (f"{tier}/{values.get('how')}", f"{tier}", "")
        template = next((self.summaries[key] for key in keys if key in self.summaries), None)
        if template is None:
            raise TextError(f"{self.rule}: no summary for the tier {tier}")
        return one_line(template.render(tier=tier, **values))

    def detail(self, tier: str | None, values: Mapping[str, str]) -> str:
        return self.body.render(tier=tier, **values).strip()


@dataclass(frozen=True, slots=True)
class Words:
    """The words that all cards share: headings, suggestion labels, notes."""

    entries: Mapping[str, Template]
    fixed: Mapping[str, str]
    """Those that have no placeholder."""

    def say(self, key: str, **values: object) -> str:
        """Plain text: labels and descriptions are no Markdown."""
        return self.fixed[key] if key in self.fixed else self.entries[key].render(**values)


@dataclass(frozen=True, slots=True)
class Texts:
    by_rule: Mapping[str, Text]
    words: Words


def load(rules: Iterable[tuple[str, Iterable[str]]], folders: Sequence[Path], extra: Path | None = None) -> Texts:
    """The card of each rule, from its own folder in one of `folders`; a site's RULE.md in `extra` takes its place.

    `rules` are (id, tiers): each must have a text with a summary for each tier. Raises TextError.
    """
    by_rule = {}
    for rule, tiers in rules:
        own = [extra / f"{rule}.md"] if extra else []
        files = [file for file in (*own, *(folder / rule / "card.md" for folder in folders)) if file.is_file()]
        if not files:
            raise TextError(f"the rule {rule} has no card text card.md")
        file = files[0]
        by_rule[rule] = text = _read(rule, file.read_text("utf-8"))
        for tier in tiers:
            if tier not in text.summaries and "" not in text.summaries:
                raise TextError(f"{rule}.md: no summary for the tier {tier}")
    words = yaml.safe_load((COMMON / "words.yaml").read_text("utf-8"))
    entries = {key: _PLAIN.from_string(value) for key, value in words.items()}
    fixed = {key: entries[key].render() for key, value in words.items() if "{" not in value}
    return Texts(by_rule, Words(entries, fixed))


def _read(rule: str, source: str) -> Text:
    try:
        post = frontmatter.loads(source)
        head: Mapping[str, Any] = post.metadata
        summary = head["summary"]
        summaries = summary if isinstance(summary, dict) else {"": summary}
        return Text(
            rule=rule,
            title=head["title"],
            short=head.get("short", head["title"].lower()),
            summaries={tier: _PLAIN.from_string(words) for tier, words in summaries.items()},
            body=_DETAIL.from_string(post.content),
            links=tuple((link["label"], link["url"]) for link in head.get("links", ())),
        )
    except (KeyError, TypeError, AttributeError, yaml.YAMLError, TemplateError) as error:
        raise TextError(f"{rule}.md cannot be read: {error!r}") from error
