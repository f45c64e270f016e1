"""Stewardship for the committee: how often rules fire, what becomes of their cards, and what is to be looked at."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from typing import Any

from flask import Flask, Response, abort, render_template, request
from werkzeug.datastructures import MultiDict

from cds_service.console import plots
from cds_service.console.shell import Console
from cds_service.console.words import say
from cds_service.knowledge import Knowledge
from cds_service.stewardship.choices import choices
from cds_service.stewardship.counts import Period
from cds_service.stewardship.rates import Rate
from cds_service.stewardship.reading import NothingRecorded, Reader
from cds_service.stewardship.report import PERCENTILES, Report, Row, RuleRow, report, rules_by_week
from cds_service.store.engines import StoreError

PATH = "/stewardship"
SPANS = (7, 28, 91, 182, 365)
"""Days that the page offers; the address may name any other up to the last."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With these a cell begins that a spreadsheet would run."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was asked for, as the form shows it, and the period that it means."""

    days: int
    until: str
    period: Period


def register(app: Flask, console: Console) -> None:
    console.add("Stewardship", PATH)
    reader, names = Reader(console.settings.store_url), Names(console.knowledge)
    app.jinja_env.globals |= {"percent": percent, "interval": interval, "whisker": plots.whisker}

    @app.get(PATH)
    def stewardship() -> str | tuple[str, int]:
        """The report of a period, of one client and service where these are chosen."""
        chosen = chosen_of(request.args, console.clock())
        try:
            made, marked = report(reader, chosen.period, choices())
        except StoreError as error:
            status = 200 if isinstance(error, NothingRecorded) else 503
            return render_template("stewardship.html", chosen=chosen, trouble=str(error), spans=SPANS), status
        return render_template(
            "stewardship.html",
            chosen=chosen,
            spans=SPANS,
            report=made,
            marked=marked,
            choices=choices(),
            names=names,
            calendar=plots.calendar(made.days),
            weekly=plots.weekly(made.weeks),
            percentiles=[f"{share * 100:g} %" for share in PERCENTILES],
            tables=list(TABLES),
            made_at=console.clock().astimezone(UTC),
        )

    @app.get(f"{PATH}/<table>.csv")
    def stewardship_csv(table: str) -> Response:
        """One table of the report, for a spreadsheet."""
        if table not in (*TABLES, BY_WEEK):
            abort(404)
        chosen = chosen_of(request.args, console.clock())
        try:
            rows = _rows(table, reader, chosen.period)
        except StoreError as error:
            return Response(f"{error}\n", 503, mimetype="text/plain")
        file = f"{table}-{chosen.period.since:%Y-%m-%d}-{chosen.period.until:%Y-%m-%d}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{file}"'}
        return Response(as_csv(rows), mimetype="text/csv", headers=headers)


def chosen_of(given: MultiDict[str, str], now: datetime) -> Chosen:
    """The period that an address names; it ends with the named day, or now. Aborts with 400 for what is no period."""
    try:
        days = int(given.get("days", "91"))
        today = now.astimezone(UTC).date()
        last = min(date.fromisoformat(given["until"]), today) if given.get("until") else today
        until = min(datetime.combine(last + timedelta(days=1), time(), UTC), now.astimezone(UTC))
        since = datetime.combine(last - timedelta(days=days - 1), time(), UTC)
    except (ValueError, OverflowError):
        abort(400)
    if not 1 <= days <= SPANS[-1]:
        abort(400)
    client, service = (given.get(key, "")[:200] or None for key in ("client", "service"))
    return Chosen(days, given.get("until", ""), Period(since, until, client, service))


class Names:
    """What the store's ids are called."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._rules = {name: part.protocol.rules[name].title for name, part in knowledge.by_rule.items()}
        rules = (part.protocol.rules[name] for name, part in knowledge.by_rule.items())
        self._offering = {rule.id for rule in rules if rule.suggests or any(tier.suggests for tier in rule.tiers)}
        reasons = knowledge.valuesets[knowledge.valuesets.roles.override_reasons]
        self._reasons = {(system, member.code): member.display or member.code for system, member in reasons.members}

    def rule(self, name: str) -> str:
        """Its title; of a card for several rules, and of a rule that is not loaded any more, its id as words."""
        return self._rules.get(name) or name.replace("-", " ").capitalize()

    def is_loaded(self, name: str) -> bool:
        return name in self._rules

    def offers_nothing(self, name: str) -> bool:
        """Whether the rule's own cards offer nothing, so that there is nothing to accept."""
        return name in self._rules and name not in self._offering

    def reason(self, reason: tuple[str | None, str]) -> str:
        """As the cards offer it; of any other only that it was another is kept."""
        return self._reasons.get((reason[0] or "", reason[1]), say("another-reason", code=reason[1]))


def percent(share: float | None) -> str:
    """`92 %`; a dash where nothing is known."""
    return "–" if share is None else f"{share * 100:.0f} %"


def interval(rate: Rate) -> str:
    """`81–97 %`."""
    low, high = rate.interval
    return f"{low * 100:.0f}–{high * 100:.0f} %" if rate.of else "–"


# CSV ------------------------------------------------------------------------------------------------------------


def as_csv(rows: Iterator[Sequence[Any]]) -> str:
    """Rows as a spreadsheet reads them; no cell is taken for a formula."""
    made = StringIO()
    writer = csv.writer(made)
    for row in rows:
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in row])
    return made.getvalue()


_OF_RATE = ("answered", "overridden", "share", "interval_low", "interval_high", "accepted")


def _rate(rate: Rate, accepted: int) -> tuple[Any, ...]:
    low, high = rate.interval
    share = "" if rate.share is None else round(rate.share, 4)
    return rate.of, rate.count, share, round(low, 4), round(high, 4), accepted


def _groups(rows: Sequence[Row]) -> Iterator[Sequence[Any]]:
    yield ("name", "calls", "cards", *_OF_RATE)
    for row in rows:
        yield (row.name, row.calls, row.cards, *_rate(row.override, row.accepted))


_OF_RULE = ("rule", "severities", "fired", "on_cards", "could_not_tell", "suppressed", "filtered", "fired_in_shadow")


def _rule(row: RuleRow) -> Sequence[Any]:
    counted = (row.fired, row.carded, row.could_not_tell, row.suppressed, row.filtered, row.in_shadow)
    return (row.rule, "/".join(row.severities), *counted, *_rate(row.override, row.accepted))


def _rules(made: Report) -> Iterator[Sequence[Any]]:
    yield (*_OF_RULE, *_OF_RATE)
    yield from map(_rule, made.rules)


def _by_week(rows: Sequence[tuple[date, RuleRow]]) -> Iterator[Sequence[Any]]:
    yield ("week_of", *_OF_RULE, *_OF_RATE)
    for monday, row in rows:
        yield (monday, *_rule(row))


def _reasons(made: Report) -> Iterator[Sequence[Any]]:
    yield "system", "code", "cards"
    for (system, code), count in made.reasons:
        yield system or "", code, count
    yield "", "none", made.without_reason


def _told(head: str, rows: Sequence[tuple[str, int, tuple[str, ...]]]) -> Iterator[Sequence[Any]]:
    yield head, "findings", "rules"
    for name, count, rules in rows:
        yield name, count, " ".join(rules)


def _latency(made: Report) -> Iterator[Sequence[Any]]:
    yield ("service", "calls", *(f"p{share * 100:g}_ms" for share in PERCENTILES), "longest_ms")
    for row in made.latency:
        yield (row.service, row.calls, *row.at, row.longest)


def _candidates(made: Report) -> Iterator[Sequence[Any]]:
    cards = ("interruptive_live", "interruptive_candidate")
    yield ("client", "live", "candidate", "first", "last", "calls", "orders", "dropped", "failed", *cards)
    for each in made.candidates:
        days = each.first.date(), each.last.date()
        counts = (each.calls, each.orders, each.dropped, each.failed)
        interrupting = (each.interrupting_live, each.interrupting_candidate)
        yield (each.client, each.live, each.candidate, *days, *counts, *interrupting)


def _transitions(made: Report) -> Iterator[Sequence[Any]]:
    rate = ("orders", "of_orders", "share", "interval_low", "interval_high")
    yield ("client", "live", "candidate", "rule", "was", "becomes", *rate)
    for each in made.candidates:
        for row in each.transitions:
            low, high = row.orders.interval
            share = "" if row.orders.share is None else round(row.orders.share, 4)
            figures = (row.orders.count, row.orders.of, share, round(low, 4), round(high, 4))
            yield (each.client, each.live, each.candidate, row.rule, row.was, row.becomes, *figures)


TABLES: dict[str, Callable[[Report], Iterator[Sequence[Any]]]] = {
    "rules": _rules,
    "severities": lambda made: _groups(made.severities),
    "services": lambda made: _groups(made.services),
    "clients": lambda made: _groups(made.clients),
    "days": lambda made: _groups(made.days),
    "reasons": _reasons,
    "missing": lambda made: _told("fact", made.missing),
    "kinds": lambda made: _told("kind", made.kinds),
    "latency": _latency,
    "candidates": _candidates,
    "transitions": _transitions,
}
"""What can be downloaded of the report, by the name in its address."""
BY_WEEK = "rules-by-week"
"""What is counted only where it is asked for: it has a row for each rule and week."""


def _rows(table: str, reader: Reader, period: Period) -> Iterator[Sequence[Any]]:
    """The rows of a table, its heads first. Raises StoreError."""
    if table == BY_WEEK:
        return _by_week(rules_by_week(reader, period, choices()))
    made, _ = report(reader, period, choices())
    return TABLES[table](made)
