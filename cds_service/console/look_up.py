"""Why did it fire last Tuesday: one call with every rule's outcome, its limits, its cards and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import cast

from flask import Flask, abort, render_template, request

from cds_service.console.shell import Console
from cds_service.console.stewardship import Names
from cds_service.console.words import language, say
from cds_service.hooks import discovery
from cds_service.knowledge import Knowledge, Part
from cds_service.protocol.model import Hook, Rule
from cds_service.protocol.words import Words
from cds_service.rules.reads import rules_of
from cds_service.stewardship import look_up
from cds_service.stewardship.counts import Period
from cds_service.stewardship.look_up import Call, Ended, Used
from cds_service.stewardship.reading import NothingRecorded, Reader
from cds_service.store.engines import StoreError
from cds_service.units import said

PATH = "/look-up"


def register(app: Flask, console: Console) -> None:
    console.add("Look-up", PATH)
    reader, names = Reader(console.settings.store_url), Names(console.knowledge)

    @app.get(PATH)
    def look_up_calls() -> str | tuple[str, int]:
        """The calls of a day, or those of an identifier: the call itself where there is just one."""
        given = {key: request.args.get(key, "").strip()[:200] for key in ("id", "day", "rule", "client", "service")}
        day = _day(given["day"], console.clock())
        try:
            calls, says = _found(reader, given, day, console.clock())
        except StoreError as error:
            page = render_template("look_up.html", given=given, day=day, trouble=str(error))
            return page, 200 if isinstance(error, NothingRecorded) else 503
        rules = sorted(console.knowledge.by_rule, key=names.rule)
        if given["id"] and len(calls) == 1:
            return _call_page(calls[0], console, names)
        return render_template(
            "look_up.html",
            given=given,
            day=day,
            calls=calls,
            says=says,
            names=names,
            rules=rules,
            most=look_up.MOST_CALLS,
        )

    @app.get(f"{PATH}/<identifier>")
    def look_up_call(identifier: str) -> str | tuple[str, int]:
        """One call by its own identifier."""
        uuid = look_up.as_uuid(identifier) or abort(404)
        try:
            with reader.reading() as reading:
                calls = [call for call in look_up.of(reading, uuid, console.clock()) if call.id == uuid]
        except StoreError as error:
            page = render_template("look_up.html", given={}, day=_day("", console.clock()), trouble=str(error))
            return page, 503
        return _call_page(calls[0], console, names) if calls else abort(404)


def _day(text: str, now: datetime) -> date:
    try:
        return date.fromisoformat(text) if text else now.astimezone(UTC).date()
    except ValueError:
        abort(400)


def _found(reader: Reader, given: dict[str, str], day: date, now: datetime) -> tuple[Sequence[Call], str]:
    """The calls, and what is to be said of the search."""
    if given["id"]:
        uuid = look_up.as_uuid(given["id"])
        if uuid is None:
            return (), say("no-identifier")
        with reader.reading() as reading:
            calls = look_up.of(reading, uuid, now)
        return calls, "" if calls else say("no-such-call")
    since = datetime.combine(day, time(), UTC)
    period = Period(since, since + timedelta(days=1), given["client"] or None, given["service"] or None)
    with reader.reading() as reading:
        calls = look_up.newest(reading, period, given["rule"] or None)
    return calls, "" if calls else say("no-call-that-day")


def _call_page(call: Call, console: Console, names: Names) -> str:
    knowledge = console.knowledge
    is_same = is_of_what_is_loaded(call, knowledge)
    return render_template(
        "call.html",
        call=call,
        names=names,
        is_same=is_same,
        clear=clear_in(call, knowledge) if is_same else (),
        limits={each: limits_of(each, knowledge, call.at.date()) for each in call.findings} if is_same else {},
        keeps_days=console.settings.keep_facts_days,
        used={each: [used_fact(fact, knowledge) for fact in each.used] for each in call.findings},
        kept_until=max((fact.until for each in call.findings for fact in each.used), default=None),
    )


@dataclass(frozen=True, slots=True)
class UsedFact:
    """A fact as the page shows it: what it is, its codes, its figure, and how old it was."""

    name: str
    codes: tuple[str, ...]
    figure: str
    age: str


def used_fact(used: Used, knowledge: Knowledge) -> UsedFact:
    """In the words of the value sets that are loaded: the chart's own are not kept."""
    sets, spoken = knowledge.valuesets, knowledge.texts.spoken([language()]).words
    titles = dict.fromkeys(spoken.fill(sets[name].named) for name, _ in used.codes if name in sets)
    figure = f"{used.value or ''} {said(used.unit or '')}".strip()
    if used.codes and used.value and not used.unit:
        figure = next((each for each in _displays(used.value, knowledge)), figure)
    return UsedFact(
        name=", ".join(titles) or say(f"used-{used.kind}"),
        codes=tuple(dict.fromkeys(code for _, code in used.codes)),
        figure=figure,
        age="" if used.age_minutes is None else _age(used.age_minutes),
    )


def _displays(code: str, knowledge: Knowledge) -> Iterator[str]:
    """What the value sets call the code of an answer."""
    for name in knowledge.valuesets.names():
        yield from (each.display for _, each in knowledge.valuesets[name].members if each.code == code)


def _age(minutes: int) -> str:
    """In minutes for two hours, in hours for two days, then in days."""
    if minutes < 2 * 60:
        return say("minutes-before", count=minutes)
    if minutes < 2 * 24 * 60:
        return say("hours-before", count=minutes // 60)
    return say("days-before", count=minutes // (24 * 60))


def is_of_what_is_loaded(call: Call, knowledge: Knowledge) -> bool:
    """Whether what judged the call is what is loaded now: only then do today's limits explain it."""
    return set(_versions(call)) <= set(_parts(knowledge)) and call.site == knowledge.protocol.site


def clear_in(call: Call, knowledge: Knowledge) -> list[Rule]:
    """The rules of the call's hook that ended as clear for every order, or were not asked of it."""
    service = discovery.BY_ID.get(call.service)
    if service is None or call.failed:
        return []
    told = {each.rule for each in call.findings}
    hook = cast(Hook, service.hook)
    parts = [part for version, part in _parts(knowledge).items() if version in _versions(call)]
    return [rule for part in parts for rule in rules_of(part.protocol, hook) if rule.id not in told]


def _parts(knowledge: Knowledge) -> dict[str, Part]:
    """The protocols by the version that a record names."""
    return {knowledge.version(part.protocol.drugs[:1]): part for part in knowledge.parts}


def _versions(call: Call) -> list[str]:
    return call.protocol.split(", ")


def limits_of(ended: Ended, knowledge: Knowledge, day: date) -> list[tuple[str, str]]:
    """(title, value) of the limits that the tier shows, as they were in force on the day."""
    part = knowledge.by_rule.get(ended.rule)
    if part is None or ended.tier is None:
        return []
    words = Words(part.protocol, knowledge.valuesets, day)
    shown = next((tier.shown for tier in part.protocol.rules[ended.rule].tiers if tier.name == ended.tier), [])
    return [(part.protocol.limits[name].title, words.limit(name)) for name in shown]
