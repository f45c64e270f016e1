"""What changes from one policy to another: the text of it, and at how many orders each rule ends otherwise."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from cds_service import signature
from cds_service.candidate import Fetched, Pair, Policy, Seen, compare
from cds_service.commands.refused import Refused
from cds_service.hooks.errors import HookError
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.by_the_site import by_the_site
from cds_service.retrospect import results
from cds_service.retrospect.results import Result
from cds_service.scenarios import files
from cds_service.scenarios.coded import on_the_day_of
from cds_service.scenarios.request import SIGNING, encoded, hook_request
from cds_service.settings import Settings


@dataclass(frozen=True)
class Effect:
    """At how many of so many orders each rule ends otherwise: (rule, before, after) -> orders."""

    judged: int
    of_what: str
    interrupting: tuple[float, float] | None
    """Interruptive cards for 100 orders, before and after."""
    changes: Counter[tuple[str, str, str]]


def lines(settings: Settings, one: str, other: str | None, report: str | None) -> Iterator[str]:
    """What changes from overlay `one` to `other`, or with `other` None from the shipped protocol to `one`.

    Raises Refused where the report is of other files, and what loading raises.
    """
    old, new = (one, other) if other is not None else (None, one)
    policies = _policies(settings, old, new)
    yield from _text(policies, old, new)
    yield ""
    made = _scenarios(policies) if report is None else _replayed(results.opened(Path(report)), policies, report)
    yield from _said(made)


def _policies(settings: Settings, old: str | None, new: str) -> Pair:
    live = load(settings.base_url, old, settings.valuesets, settings.protocols)
    loaded = load(settings.base_url, new, settings.valuesets, settings.protocols)
    return Pair(_policy(live), _policy(replace(loaded, valuesets=live.valuesets)))


def _policy(knowledge: Knowledge) -> Policy:
    return Policy(knowledge, signature.digest(knowledge))


def _text(policies: Pair, old: str | None, new: str) -> Iterator[str]:
    """What each overlay says that the other does not."""
    was, now = (_changed(each.knowledge) for each in (policies.live, policies.candidate))
    named = Path(old).name if old else "the shipped protocol"
    told = [line for line in difflib.unified_diff(was, now, named, Path(new).name, "", "", 0, "") if line[:2] != "@@"]
    yield from told or ["the text is the same"]


def _changed(knowledge: Knowledge) -> list[str]:
    return list(by_the_site(knowledge.protocol, knowledge.valuesets, date.today()))


def _said(made: Effect) -> Iterator[str]:
    yield f"effect on {made.judged} orders of {made.of_what}"
    if made.interrupting is not None:
        before, after = made.interrupting
        yield f"  interruptive cards for 100 orders: {before:.1f} -> {after:.1f}"
    for (rule, was, becomes), orders in sorted(made.changes.items(), key=lambda each: (-each[1], each[0])):
        yield f"  {orders:6} {rule}: {was} -> {becomes}"
    if not made.changes:
        yield "  every rule ends alike at each of them" if made.judged else "  nothing is known of it"


# From a report ----------------------------------------------------------------------------------------------------


def _replayed(result: Result, policies: Pair, report: str) -> Effect:
    names = {each.digest: each.name for each in result.new}
    name = names.get(policies.candidate.digest)
    if result.old is None or result.old.digest != policies.live.digest or name is None:
        compared = f"{policies.live.digest} and {policies.candidate.digest}"
        raise Refused(f"{report}: the replay was of other files: {result.of_what}; compared are {compared}")
    changes: Counter[tuple[str, str, str]] = Counter()
    for row in result.table("transitions"):
        if row["policy"] == name:
            changes[row["rule"], row["was"], row["becomes"]] += int(row["changed"]) + int(row["by_switch"])
    measures, interrupting = result.summary.measures, None
    if len(result.new) == 1 and {"interruptive-per-100", "new-interruptive-per-100"} <= measures.keys():
        after = measures["interruptive-per-100"]
        interrupting = (after - measures["new-interruptive-per-100"], after)
    return Effect(result.summary.judged, f"the replay in {report}", interrupting, changes)


# From the scenarios -----------------------------------------------------------------------------------------------


def _scenarios(policies: Pair) -> Effect:
    """Every scenario of both protocols' rules, under both policies."""
    now = on_the_day_of(datetime.now(UTC))
    counts, changes = Counter[str](), Counter[tuple[str, str, str]]()
    for scenario in _written(policies):
        hook = str(scenario.get("hook", SIGNING))
        body = encoded(hook_request(scenario, now))
        seen = Seen("", policies, body, hook, hook == SIGNING, now, None, Fetched())
        try:
            counted, changed = compare(seen)
        except HookError:  # a scenario of a request that is refused
            continue
        counts += counted
        for (rule, was, severity, becomes, worse), orders in changed.items():
            changes[rule, _ended(was, severity), _ended(becomes, worse)] += orders
    orders = counts["orders"]
    cards = (counts["interrupting_live"], counts["interrupting_candidate"])
    per_100 = (100 * cards[0] / orders, 100 * cards[1] / orders) if orders else None
    return Effect(orders, "the protocol's scenarios, which are no sample of any hospital's", per_100, changes)


def _ended(status: str, severity: str | None) -> str:
    return f"{status} {severity}" if severity else status.replace("switched-off", "switched off")


def _written(policies: Pair) -> Iterator[dict[str, object]]:
    folders = dict.fromkeys(
        folder
        for policy in (policies.live, policies.candidate)
        for part in policy.knowledge.parts
        for folder in part.protocol.folders
    )
    for folder in folders:
        for file in sorted(Path(folder).glob("*/scenarios.yaml")):
            yield from files.read(file)
