"""The console's own words by key, in each language that has a file of them: words.yaml, words.de.yaml.

A person's browser says which language it prefers, and the switch on each page decides before it. What the protocol
names (rules, limits, kinds of rules) has the names that its cards have in that language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from urllib.parse import quote, urlencode

import yaml
from flask import Flask, has_request_context, redirect, request
from markupsafe import Markup, escape
from werkzeug.wrappers import Response

from cds_service.cards.texts import ENGLISH, Texts
from cds_service.console.shell import Console
from cds_service.knowledge import Knowledge
from cds_service.protocol.limits import LimitBook
from cds_service.protocol.model import Limit, Rule

COOKIE = "console-language"
_CHOSEN = "language"
_YEAR = 31_536_000
_FILE = re.compile(r"words(?:\.([a-z]{2,3}))?\.yaml")
_PLACE = re.compile(r"\{\{ (\w+) \}\}")
_CODE = re.compile(r"`([^`]+)`")


@cache
def tables() -> Mapping[str, Mapping[str, str]]:
    """Language -> its words by key; English first."""
    found = {
        match[1] or ENGLISH: yaml.safe_load(file.read_text("utf-8"))
        for file in resources.files(__package__).iterdir()
        if (match := _FILE.fullmatch(file.name))
    }
    return dict(sorted(found.items(), key=lambda each: (each[0] != ENGLISH, each[0])))


def language() -> str:
    """That of the page which is made now: the one that was chosen, else the browser's first that there is."""
    if not has_request_context():
        return ENGLISH
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in tables() else request.accept_languages.best_match(tables(), ENGLISH)


def say(key: str, **values: object) -> str:
    """The words of a key as plain text. With `count=1` those of `KEY-1` are taken, where there are such."""
    return say_in(language(), key, **values)


def say_in(spoken: str, key: str, **values: object) -> str:
    """As `say`, in one language wherever it is read: for logs."""
    words = tables()[spoken]
    if values.get("count") == 1 and f"{key}-1" in words:
        key = f"{key}-1"
    return _PLACE.sub(lambda place: str(values[place[1]]), words[key])


def word(key: str, otherwise: str) -> str:
    """The words of a key that data gave; `otherwise` where there are none, and the data speaks for itself."""
    return tables()[language()].get(key, otherwise)


def rich(key: str, **values: object) -> Markup:
    """As `say`, with what stands between backticks as code."""
    parts = _CODE.split(say(key, **values))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def problem(status: int | None) -> str:
    """What an answer of that status says to a person."""
    key = f"problem-{status}"
    return say(key if key in tables()[ENGLISH] else "problem")


def in_english() -> Markup:
    """The attribute of an element whose words are English on every page: what the protocol's own files say."""
    return Markup("") if language() == ENGLISH else Markup(f' lang="{ENGLISH}"')


class Names:
    """What the data names, in the language of the page."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @property
    def _knowledge(self) -> Knowledge:
        return self._console.knowledge

    @property
    def texts(self) -> Texts:
        """The words of the cards."""
        return self._knowledge.texts.spoken([language()])

    def named(self, key: str, name: str) -> str:
        return self.texts.words.fixed.get(key, name)

    def section(self, path: str, title: str) -> str:
        """An entry of the menu."""
        return word(f"section-{path.strip('/') or 'order'}", title)

    def choice(self, value: str, label: str) -> str:
        """An entry of a list of the order form: a word of the sandbox, a drug or a product of the protocols."""
        return word(f"choice-{value}", self.named(f"drug-{value}", self.named(f"title-of-{value}", label)))

    def rule(self, rule: Rule) -> str:
        text = self.texts.by_rule[rule.id]
        if text is self._knowledge.texts.by_rule[rule.id]:
            return rule.title
        protocol = self._knowledge.by_rule[rule.id].protocol
        return text.title(LimitBook(protocol, protocol.drugs[0], self._console.clock().date()))

    def title(self, name: str, otherwise: str) -> str:
        """Of a rule by its id; of one that is not loaded `otherwise`."""
        part = self._knowledge.by_rule.get(name)
        return self.rule(part.protocol.rules[name]) if part is not None else otherwise

    def limit(self, limit: Limit) -> str:
        return self.named(f"limit-{limit.id}", limit.title)

    def category(self, name: str) -> str:
        return self.named(f"category-{name}", name)


def register(app: Flask, console: Console) -> None:
    """`say(key)`, `word(key, otherwise)`, `rich(key)`, `named` and the language for templates; the switch."""
    app.jinja_env.globals |= {
        "say": say,
        "word": word,
        "rich": rich,
        "in_english": in_english,
        "named": Names(console),
    }
    app.context_processor(lambda: {"language": language(), "languages": list(tables()), "spoken_in": _spoken_in})
    is_https = console.settings.console_url.startswith("https://")

    @app.before_request
    def switch() -> Response | None:
        """A page that is asked for in a language is shown in it, and so is every page after it."""
        chosen = request.args.get(_CHOSEN)
        if request.method != "GET" or chosen not in tables():
            return None
        answer = redirect(_address(request.args.to_dict()), 303)
        answer.set_cookie(COOKIE, str(chosen), max_age=_YEAR, httponly=True, samesite="Strict", secure=is_https)
        return answer


def _spoken_in(chosen: str) -> str:
    """The address of the present page in a language; of one that was sent, the start."""
    return _address(request.args.to_dict() if request.method == "GET" else {}, chosen)


def _address(given: Mapping[str, str], chosen: str | None = None) -> str:
    kept = {key: value for key, value in given.items() if key != _CHOSEN}
    asked = urlencode(kept | ({_CHOSEN: chosen} if chosen else {}))
    path = quote(request.path) if request.method == "GET" else "/"
    return f"/{path.lstrip('/')}" + (f"?{asked}" if asked else "")
