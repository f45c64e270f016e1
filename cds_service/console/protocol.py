"""The protocol for those who own it: every rule to be searched, with all that it says, rests on and is tried with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, render_template, request

from cds_service import sign_off
from cds_service.cards.model import Card
from cds_service.cards.texts import unescaped
from cds_service.console import markdown
from cds_service.console.rule_view import RuleView, disagreement
from cds_service.console.shell import Console
from cds_service.hooks.errors import HookError
from cds_service.lazy import cached_property
from cds_service.protocol.by_the_site import by_the_site
from cds_service.protocol.model import SEVERITIES, Protocol
from cds_service.protocol.overlay import load_with_overlay
from cds_service.scenarios import files
from cds_service.scenarios.coded import ScenarioError, on_the_day_of
from cds_service.scenarios.expected import Ended, endings, faults, judge

PATH = "/protocol"


@dataclass(frozen=True, slots=True)
class Ran:
    """A scenario that was judged: in what it was not as expected, its cards, and how this rule ended."""

    number: int
    name: str
    faults: Sequence[str]
    cards: Sequence[Card]
    ended: Sequence[Ended]


class Book:
    """All rules of all protocols, with the words by which they are found."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._knowledge = console.knowledge

    @cached_property
    def shipped(self) -> Protocol:
        """The first protocol as it is without the site's overlay."""
        protocol = self._knowledge.protocol
        return load_with_overlay(None, self._knowledge.valuesets) if protocol.site else protocol

    def rule(self, name: str) -> RuleView | None:
        part = self._knowledge.by_rule.get(name)
        if part is None:
            return None
        shipped = self.shipped if part is self._knowledge.parts[0] else None
        return RuleView(self._knowledge, part.protocol.rules[name], self._console.clock().date(), shipped)

    @cached_property
    def _words(self) -> dict[str, str]:
        """Rule -> everything by which it may be found, in lower case."""
        return {name: " ".join(self._said(view)).casefold() for name, view in self._views()}

    def _views(self) -> Iterator[tuple[str, RuleView]]:
        for name in self._knowledge.by_rule:
            view = self.rule(name)
            assert view is not None
            yield name, view

    @staticmethod
    def _said(view: RuleView) -> Iterator[str]:
        yield from (view.rule.id, view.rule.title, view.rule.category, view.trigger)
        for tier in view.tiers:
            yield from (tier.tier.name, *(line for _, line in tier.outline), *tier.tier.shown)
            yield from (words for said in tier.said for words in (said.summary, said.detail))
        yield from (*view.rule.statements, *view.rule.conflicts, *view.rule.citations)

    def found(self, given: dict[str, str]) -> list[RuleView]:
        """The rules that hold every word of `q` and every choice; what is not chosen is not asked."""
        words = given.get("q", "").casefold().split()
        return [view for name, view in self._views() if self._holds(view, words, given, self._words[name])]

    @staticmethod
    def _holds(view: RuleView, words: Sequence[str], given: dict[str, str], text: str) -> bool:
        chosen = {"protocol": (view.protocol.id,), "severity": view.severities, "topic": (view.rule.category,)}
        return (
            all(word in text for word in words)
            and all(given.get(key) in ("", None, *values) for key, values in chosen.items())
            and (given.get("changed") != "yes" or bool(view.by_the_site))
        )


def register(app: Flask, console: Console) -> None:
    console.add("Protocol", PATH)
    book, knowledge = Book(console), console.knowledge
    app.jinja_env.globals["plain"] = _plain

    @app.get(PATH)
    def protocol_rules() -> str:
        """Every rule that fits what was searched for; for a search while typing, the list alone."""
        given = {key: value.strip()[:200] for key, value in request.args.items()}
        found = book.found(given)
        topics = list(dict.fromkeys(part.protocol.rules[name].category for name, part in knowledge.by_rule.items()))
        return render_template(
            "part_rules.html" if "HX-Request" in request.headers else "protocol.html",
            found=found,
            given=given,
            all=len(knowledge.by_rule),
            protocols=[part.protocol for part in knowledge.parts],
            topics=topics,
            severities=SEVERITIES,
        )

    @app.get(f"{PATH}/rules/<name>")
    def protocol_rule(name: str) -> str:
        view = book.rule(name) or abort(404)
        try:
            names, trouble = [each["name"] for each in _scenarios(view)], ""
        except ScenarioError as error:  # of a file that was changed since the start
            names, trouble = [], str(error)
        return render_template("rule.html", view=view, scenarios=names, trouble=trouble)

    @app.post(f"{PATH}/rules/<name>/scenarios")
    def protocol_scenarios(name: str) -> str:
        """Judge one scenario of a rule, or all of them, with what is loaded here."""
        view = book.rule(name) or abort(404)
        chosen = request.form.get("number", "")
        try:
            written = _scenarios(view)
        except ScenarioError:
            abort(404)
        numbers = range(len(written)) if chosen == "all" else [int(chosen)] if chosen.isdecimal() else []
        if any(number >= len(written) for number in numbers):
            abort(404)
        ran = [_run(number, written[number], console, name) for number in numbers]
        template = "part_scenarios.html" if "HX-Request" in request.headers else "scenarios.html"
        return render_template(template, view=view, ran=ran)

    @app.get(f"{PATH}/disagreements")
    def protocol_disagreements() -> str:
        """Where the two source documents disagree, side by side."""
        parts = [
            (part.protocol, [disagreement(part.protocol, name) for name in part.protocol.conflicts])
            for part in knowledge.parts
            if part.protocol.conflicts
        ]
        return render_template("disagreements.html", parts=parts)

    @app.get(f"{PATH}/changes")
    def protocol_changes() -> str:
        """What the overlay changed, by whom and why."""
        changed = [view for view in book.found({}) if view.by_the_site]
        lines = by_the_site(knowledge.protocol, knowledge.valuesets, console.clock().date())
        return render_template("changes.html", changed=changed, lines=lines)

    @app.get(f"{PATH}/sign-off/<name>")
    def protocol_sign_off(name: str) -> Response | str:
        """The sheet that a pharmacist signs, of the version that is loaded; as Markdown where that is asked for."""
        sheet = _sheet(console, name)
        if sheet is None:
            abort(404)
        if request.args.get("as") == "markdown":
            file = f"sign-off-{name}.md"
            headers = {"Content-Disposition": f'attachment; filename="{file}"'}
            return Response(sheet, mimetype="text/markdown", headers=headers)
        return render_template("sign_off.html", name=name, sheet=markdown.as_html(sheet))


def _plain(detail: str) -> str:
    """A card's detail without its Markdown."""
    return unescaped(detail).replace("**", "")


def _sheet(console: Console, name: str) -> str | None:
    knowledge, day = console.knowledge, console.clock().date()
    protocol = next((part.protocol for part in knowledge.parts if part.protocol.id == name), None)
    if protocol is None:
        return None
    is_shipped = protocol is knowledge.protocol
    lines = by_the_site(protocol, knowledge.valuesets, day) if is_shipped and protocol.site else ()
    return sign_off.page(knowledge, protocol, day, lines)


def _scenarios(view: RuleView) -> Sequence[dict[str, Any]]:
    """Those of the rule's folder as they are now. Raises ScenarioError."""
    file = view.scenario_file
    return _read(file, file.stat().st_mtime_ns) if file is not None else ()


@lru_cache(maxsize=256)
def _read(file: Path, changed: int) -> Sequence[dict[str, Any]]:
    return files.read(file)


def _run(number: int, scenario: dict[str, Any], console: Console, rule: str) -> Ran:
    try:
        made = judge(scenario, console.knowledge, now=on_the_day_of(console.clock()))
    except (ScenarioError, HookError) as error:
        return Ran(number, scenario["name"], [str(error)], (), ())
    ended = [each for each in endings(made) if each.rule == rule]
    return Ran(number, scenario["name"], faults(scenario, made), made.response.cards, ended)
