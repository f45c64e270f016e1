"""The report for the committee: what was counted over a period, rolled up, with what is marked to be looked at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from cds_service.stewardship import counts
from cds_service.stewardship.candidates import Candidate, candidates
from cds_service.stewardship.choices import Choices
from cds_service.stewardship.counts import Cards, Findings, Period
from cds_service.stewardship.rates import Comparison, Rate, percentile
from cds_service.stewardship.reading import Reader, Reading

PERCENTILES = (0.5, 0.95, 0.99)
CALLS = "calls"
"""What stands for the number of calls among the compared rates."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the cards of one group: a severity, a service, a client or a day."""

    name: str
    calls: int
    cards: int
    override: Rate
    """Overridden among the answered."""
    accepted: int

    @property
    def answered(self) -> int:
        return self.override.of


@dataclass(frozen=True, slots=True)
class Week:
    """A week from its Monday on, as far as it lies within the period."""

    monday: date
    calls: int
    cards: Mapping[str, int]
    """Severity -> cards."""
    override: Rate


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule: how it ended, and what became of the cards on which it stood."""

    rule: str
    severities: tuple[str, ...]
    fired: int
    carded: int
    """On so many cards that were sent."""
    override: Rate
    accepted: int
    could_not_tell: int
    suppressed: int
    filtered: int
    """Made milder or silent by a filter of the site."""
    in_shadow: int
    """Fired in shadow mode: nobody saw it."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one service, in whole milliseconds: how many calls, and the percentiles in the order of PERCENTILES."""

    service: str
    calls: int
    at: tuple[int, ...]
    longest: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A rate that jumped or fell: of a rule that ended so, or of the calls themselves (`rule` is CALLS)."""

    rule: str
    status: str
    compared: Comparison


@dataclass(frozen=True, slots=True)
class Marked:
    """What the committee should look at; each over a span of its own, which ends where the report's period ends."""

    overridden: tuple[RuleRow, ...]
    """Rules that are overridden more often than a site may choose."""
    changed: tuple[Changed, ...]
    compared: int
    """So many rates were compared."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the stewardship page shows."""

    period: Period
    calls: int
    failed: int
    in_shadow: int
    cards: int
    cards_in_shadow: int
    interrupting: int
    """Cards that interrupt: critical and warning."""
    override: Rate
    accepted: int
    services: tuple[Row, ...]
    clients: tuple[Row, ...]
    severities: tuple[Row, ...]
    days: tuple[Row, ...]
    """Every day of the period, also those without a call."""
    weeks: tuple[Week, ...]
    rules: tuple[RuleRow, ...]
    reasons: tuple[tuple[tuple[str | None, str], int], ...]
    """(reason, cards), the most frequent first; a card may have several."""
    without_reason: int
    commented: int
    missing: tuple[tuple[str, int, tuple[str, ...]], ...]
    """(fact, findings, rules), the most frequent first."""
    kinds: tuple[tuple[str, int, tuple[str, ...]], ...]
    """(kind of the gravest reason, findings, rules) of what could not be told, the most frequent first."""
    latency: tuple[Latency, ...]
    protocols: tuple[tuple[str, date, date], ...]
    """(version and site, first day, last day) of the protocols that judged."""
    candidates: tuple[Candidate, ...]
    """Policies that run in shadow."""
    known_clients: tuple[str, ...]
    """Whatever client the period has, also those that were not chosen."""
    known_services: tuple[str, ...]


def report(reader: Reader, period: Period, choices: Choices) -> tuple[Report, Marked]:
    """The report of a period, and what is marked at its end. Raises StoreError."""
    with reader.reading() as reading:
        made = _report(reading, period, choices)
        return made, _marked(reading, made, choices)


def rules_by_week(reader: Reader, period: Period, choices: Choices) -> list[tuple[date, RuleRow]]:
    """Each rule in each week of a period, from its Monday on. Raises StoreError."""
    with reader.reading() as reading:
        by_week = counts.findings_by_week(reading, period)
    return [(monday, row) for monday, found in sorted(by_week.items()) for row in rule_rows(found, choices)]


def _report(reading: Reading, period: Period, choices: Choices) -> Report:
    everybody = counts.calls(reading, replace(period, client=None, service=None))
    calls = [
        each for each in everybody if period.client in (None, each.client) and period.service in (None, each.service)
    ]
    cards = counts.cards(reading, period)
    sent = [each for each in cards if not each.shadow]
    reasons, missing = counts.reasons(reading, period), counts.missing(reading, period)
    roll = _Roll(calls, sent, choices)
    by_day = {row.name: row for row in roll.by(lambda each: each.day.isoformat(), lambda each: each.day.isoformat())}
    return Report(
        period=period,
        calls=sum(each.count for each in calls),
        failed=sum(each.count for each in calls if each.failed),
        in_shadow=sum(each.count for each in calls if each.shadow),
        cards=sum(each.count for each in sent),
        cards_in_shadow=sum(each.count for each in cards if each.shadow),
        interrupting=sum(each.count for each in sent if each.indicator != "info"),
        override=_rate(sent, choices),
        accepted=sum(each.accepted for each in sent),
        services=tuple(roll.by(lambda each: each.service, lambda each: each.service)),
        clients=tuple(roll.by(lambda each: each.client, lambda each: each.client)),
        severities=tuple(roll.by(lambda each: each.indicator)),
        days=tuple(by_day.get(day, Row(day, 0, 0, _rate((), choices), 0)) for day in _days(period)),
        weeks=tuple(_weeks(period, calls, sent, choices)),
        rules=tuple(rule_rows(counts.findings(reading, period), choices)),
        reasons=tuple(Counter(_of_each_reason(reasons)).most_common()),
        without_reason=sum(each.count for each in reasons if not each.reasons and not each.commented),
        commented=sum(each.count for each in reasons if each.commented),
        missing=tuple(_told(missing, lambda each: each.facts)),
        kinds=tuple(_told(missing, lambda each: (each.kind,))),
        latency=tuple(_latency(counts.milliseconds(reading, period))),
        protocols=tuple(_protocols(calls)),
        candidates=tuple(candidates(reading, period, choices)),
        known_clients=tuple(sorted({each.client for each in everybody})),
        known_services=tuple(sorted({each.service for each in everybody})),
    )


class _Roll:
    """Rolls calls and cards up by whatever a key makes of them."""

    def __init__(self, calls: Iterable[counts.Calls], cards: Iterable[Cards], choices: Choices) -> None:
        self._calls, self._cards, self._choices = list(calls), list(cards), choices

    def by(self, card: Callable[[Cards], str], call: Callable[[counts.Calls], str] | None = None) -> Iterator[Row]:
        """A row for each key of a card, or of a call where calls have one, by name."""
        made: Counter[str] = Counter()
        for one in self._calls if call else ():
            assert call is not None
            made[call(one)] += one.count
        grouped: dict[str, list[Cards]] = defaultdict(list)
        for each in self._cards:
            grouped[card(each)].append(each)
        for name in sorted({*made, *grouped}):
            of = grouped[name]
            accepted = sum(each.accepted for each in of)
            yield Row(name, made[name], sum(each.count for each in of), _rate(of, self._choices), accepted)


def rule_rows(found: Iterable[Findings], choices: Choices) -> Iterator[RuleRow]:
    """A row for each rule that did not always end as clear, by id."""
    by_rule: dict[str, list[Findings]] = defaultdict(list)
    for each in found:
        by_rule[each.rule].append(each)
    for rule, rows in sorted(by_rule.items()):
        fired = [each for each in rows if each.status == "fired"]
        sent = [each for each in fired if not each.shadow]
        yield RuleRow(
            rule=rule,
            severities=tuple(sorted({each.severity for each in fired if each.severity})),
            fired=sum(each.count for each in sent),
            carded=sum(each.carded for each in sent),
            override=_rate(sent, choices),
            accepted=sum(each.accepted for each in sent),
            could_not_tell=sum(each.count for each in rows if each.status == "could-not-tell"),
            suppressed=sum(each.count for each in rows if each.status == "suppressed"),
            filtered=sum(each.filtered for each in rows),
            in_shadow=sum(each.count for each in fired if each.shadow),
        )


def _marked(reading: Reading, made: Report, choices: Choices) -> Marked:
    """What is to be looked at at the end of a period, whatever its own length."""
    period, days = made.period, round(choices.overridden_days.value)
    span = replace(period, since=period.until - timedelta(days=days))
    rows = made.rules if days == period.days else rule_rows(counts.findings(reading, span), choices)
    often = [
        row
        for row in rows
        if not row.override.is_of_few and (row.override.share or 0) > choices.overridden_above.value
    ]
    since = period.until - timedelta(days=choices.recent_days.value)
    both = replace(period, since=since - timedelta(days=choices.before_days.value))
    compared = list(_compared(reading, both, since, choices))
    chance = choices.chance_at_most.value / max(1, len(compared))
    changed = [each for each in compared if each.compared.is_changed(choices.changed_by.value, chance)]
    changed.sort(key=lambda each: each.compared.chance)
    return Marked(tuple(often), tuple(changed), len(compared))


def _compared(reading: Reading, both: Period, since: datetime, choices: Choices) -> Iterator[Changed]:
    """The calls for each day, and how often each rule fired or could not be told among them."""
    calls = counts.calls(reading, replace(both, until=since)), counts.calls(reading, replace(both, since=since))
    before, recent = (sum(each.count for each in some) for some in calls)
    first = min((each.day for each in calls[0]), default=since.date())
    days = min(round(choices.before_days.value), (since.date() - first).days)
    # A call as one of a minute: the same test then compares two counts over spans of time.
    minutes = round(choices.recent_days.value) * 1440, days * 1440
    yield Changed(CALLS, "", Comparison(recent, minutes[0], before, minutes[1]))
    for each in counts.recency(reading, both, since):
        yield Changed(each.rule, each.status, Comparison(each.lately, recent, each.before, before))


def _rate(of: Iterable[Cards | Findings], choices: Choices) -> Rate:
    rows = list(of)
    overridden = sum(each.overridden for each in rows)
    answered = overridden + sum(each.accepted for each in rows)
    return Rate(overridden, answered, choices.confidence.value, round(choices.few_answers.value))


def _of_each_reason(found: Iterable[counts.Reasons]) -> Mapping[tuple[str | None, str], int]:
    made: Counter[tuple[str | None, str]] = Counter()
    for each in found:
        for reason in each.reasons:
            made[reason] += each.count
    return made


def _told(
    found: Iterable[counts.Missing], by: Callable[[counts.Missing], Sequence[str]]
) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """What could not be told by whatever a key makes of it: (name, findings, rules), the most frequent first."""
    number: Counter[str] = Counter()
    rules: dict[str, set[str]] = defaultdict(set)
    for each in found:
        for name in by(each):
            number[name] += each.count
            rules[name].add(each.rule)
    return ((name, count, tuple(sorted(rules[name]))) for name, count in number.most_common())


def _latency(by_service: Mapping[str, Mapping[int, int]]) -> Iterator[Latency]:
    for service, found in sorted(by_service.items()):
        at = tuple(percentile(found, share) or 0 for share in PERCENTILES)
        yield Latency(service, sum(found.values()), at, max(found))


def _protocols(calls: Iterable[counts.Calls]) -> Iterator[tuple[str, date, date]]:
    days: dict[str, list[date]] = defaultdict(list)
    for each in calls:
        days[each.protocol + (f" with the overlay of {each.site}" if each.site else "")].append(each.day)
    for name, on in sorted(days.items(), key=lambda item: min(item[1])):
        yield name, min(on), max(on)


def _weeks(period: Period, calls: Iterable[counts.Calls], cards: Iterable[Cards], choices: Choices) -> Iterator[Week]:
    of_calls: Counter[date] = Counter()
    for one in calls:
        of_calls[_monday(one.day)] += one.count
    of_cards: dict[date, list[Cards]] = defaultdict(list)
    for each in cards:
        of_cards[_monday(each.day)].append(each)
    for monday in dict.fromkeys(_monday(date.fromisoformat(day)) for day in _days(period)):
        shown: Counter[str] = Counter()
        for each in of_cards[monday]:
            shown[each.indicator] += each.count
        yield Week(monday, of_calls[monday], shown, _rate(of_cards[monday], choices))


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _days(period: Period) -> Iterator[str]:
    day, last = period.since.date(), (period.until - timedelta(microseconds=1)).date()
    while day <= last:
        yield day.isoformat()
        day += timedelta(days=1)
