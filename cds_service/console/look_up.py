"""Why did it fire last Tuesday: one call with every rule's outcome, its limits, its cards and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import cast

from flask import Flask, abort, render_template, request

from cds_service.console.shell import Console
from cds_service.console.stewardship import Names
from cds_service.console.words import say
from cds_service.hooks import discovery
from cds_service.knowledge import Knowledge, Part
from cds_service.protocol.model import Hook, Rule
from cds_service.protocol.words import Words
from cds_service.rules.reads import rules_of
from cds_service.stewardship import look_up
from cds_service.stewardship.counts import Period
from cds_service.stewardship.look_up import Call, Ended
from cds_service.stewardship.reading import NothingRecorded, Reader
from cds_service.store.engines import StoreError

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
            calls, says = _found(reader, given, day)
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
                calls = [call for call in look_up.of(reading, uuid) if call.id == uuid]
        except StoreError as error:
            page = render_template("look_up.html", given={}, day=_day("", console.clock()), trouble=str(error))
            return page, 503
        return _call_page(calls[0], console, names) if calls else abort(404)


def _day(text: str, now: datetime) -> date:
    try:
        return date.fromisoformat(text) if text else now.astimezone(UTC).date()
    except ValueError:
        abort(400)


def _found(reader: Reader, given: dict[str, str], day: date) -> tuple[Sequence[Call], str]:
    """The calls, and what is to be said of the search."""
    if given["id"]:
        uuid = look_up.as_uuid(given["id"])
        if uuid is None:
            return (
                (),
                say("no-identifier"),
            )
        with reader.reading() as reading:
            calls = look_up.of(reading, uuid)
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
    )


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
