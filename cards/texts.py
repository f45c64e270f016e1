"""The words of the cards: one Markdown file per rule, read and checked once, filled with a finding's figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import frontmatter
import yaml
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

SUMMARY_LIMIT = 140
"""A summary must be shorter than this (CDS Hooks 2.0, requirement 83)."""

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#])")
_SCHEME = re.compile(r"(?<=:)//|(?<=www)\.", re.IGNORECASE)


class TextError(Exception):
    """A card text that cannot be used; the service does not start with it."""


def escaped(text: str) -> str:
    """Text from outside, so that no Markdown renderer takes it for markup, a link or HTML."""
    text = " ".join(text.split()).replace("&", "&amp;")
    text = _MARKDOWN.sub(r"\\\1", text)
    return _SCHEME.sub(lambda match: "​" + match.group(0), text)


def one_line(text: str) -> str:
    """A summary: one line, shorter than 140 characters, without control characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) < SUMMARY_LIMIT else text[: SUMMARY_LIMIT - 2].rstrip() + "…"


_DETAIL = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=lambda v: escaped(str(v))
)
_PLAIN = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
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


def load(rules: Iterable[tuple[str, Iterable[str]]], extra: Traversable | None = None) -> Texts:
    """The texts of the shipped folder, and of a site's own where it has one; the site's win.

    `rules` are (id, tiers): each must have a text with a summary for each tier. Raises TextError.
    """
    shipped = resources.files(__package__).joinpath("texts")
    files = {f.name: f for folder in (shipped, extra) if folder for f in folder.iterdir() if f.name.endswith(".md")}
    by_rule = {}
    for rule, tiers in rules:
        file = files.get(f"{rule}.md")
        if file is None:
            raise TextError(f"the rule {rule} has no card text {rule}.md")
        by_rule[rule] = text = _read(rule, file.read_text("utf-8"))
        for tier in tiers:
            if tier not in text.summaries and "" not in text.summaries:
                raise TextError(f"{rule}.md: no summary for the tier {tier}")
    words = yaml.safe_load(shipped.joinpath("words.yaml").read_text("utf-8"))
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
