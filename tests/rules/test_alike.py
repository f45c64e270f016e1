"""What one policy found of an order is taken over by another only where nothing differs that the rule may read."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cds_service.advise import Found, find, open_request
from cds_service.fhir.source import NoSource
from cds_service.hooks.errors import HookError
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.limits import LimitBook, Limits
from cds_service.protocol.model import Limit, Protocol, Rule
from cds_service.rules import alike, dose_outcomes, judge, reads
from cds_service.rules.case import Case
from tests.rules.build import cases
from tests.scenarios.build import NOW, scenarios, sent

SEVENTH = [each for _, each in scenarios()][::7]
OVERLAY = """\
site: Example Hospital
limits:
{limits}
rules:
  - {{rule: bp-uncontrolled, off: true, owner: Pharmacy, date: 2026-01-01, reason: to be tried}}
  - {{rule: weight-missing, severity: info, owner: Pharmacy, date: 2026-01-01, reason: to be tried}}
"""


class RecordingBook(LimitBook):
    """Notes which limits are asked for."""

    asked: set[str]

    def limit(self, name: str) -> Limit:
        self.asked.add(name)
        return super().limit(name)

    def numbers(self, name: str) -> tuple[Any, ...]:
        self.asked.add(name)
        return super().numbers(name)

    def number(self, name: str) -> Any:
        self.asked.add(name)
        return super().number(name)

    def canonical(self, name: str, dimension: str) -> Any:
        self.asked.add(name)
        return super().canonical(name, dimension)

    def window(self, name: str, now: Any) -> Any:
        self.asked.add(name)
        return super().window(name, now)


class RecordingRules(dict[str, Rule]):
    """The rules of a protocol, none of which a judgement of one rule may look at."""

    asked: bool = False

    def __getitem__(self, name: str) -> Rule:
        self.asked = True
        return super().__getitem__(name)

    def values(self) -> Any:
        self.asked = True
        return super().values()


def shared(protocol: Protocol) -> Iterator[Rule]:
    for rule in protocol.rules.values():
        code = judge.JUDGEMENTS.get(rule.judge)
        if not rule.off and rule.judge != dose_outcomes.UNIT_SLIP and not (code and reads.reads_other_rules(code)):
            yield rule


def find_alone(case: Case, rule: Rule) -> None:
    """Judge one rule as if there were no other."""
    if rule.judge in dose_outcomes.JUDGEMENTS:
        dose_outcomes.JUDGEMENTS[rule.judge](case, rule)
    else:
        judge._judged(case, rule)


def test_a_rule_that_policies_share_reads_only_what_is_in_its_mark(knowledge: Knowledge) -> None:
    outside: set[tuple[str, str]] = set()
    judged: set[str] = set()
    for scenario in SEVENTH:
        found: list[Case] = []
        with suppress(HookError):
            found = cases(scenario, knowledge)
        for each in found:
            book = RecordingBook(each.protocol, each.order.drug, NOW.date())
            limits = Limits(each.protocol)
            limits.book = lambda drug, day, book=book: book  # type: ignore[method-assign, misc]
            for rule in shared(each.protocol):
                book.asked = set()
                find_alone(replace(each, limits=limits, _of_patient={}), rule)
                outside |= {(rule.id, name) for name in book.asked - alike.limits_named(each.protocol, rule)}
                judged.add(rule.id)
    assert outside == set()
    assert len(judged) > 60


def test_no_rule_that_policies_share_looks_at_others(knowledge: Knowledge) -> None:
    looking: set[str] = set()
    for scenario in SEVENTH[::5]:
        with suppress(HookError):
            for each in cases(scenario, knowledge):
                for rule in shared(each.protocol):
                    rules = RecordingRules(each.protocol.rules)
                    protocol = each.protocol.__class__(
                        **{name: getattr(each.protocol, name) for name in each.protocol.__struct_fields__}
                        | {"rules": rules}
                    )
                    find_alone(replace(each, protocol=protocol, _of_patient={}), rule)
                    looking |= {rule.id} if rules.asked else set()
    assert looking == set()


def of_the_ground(protocol: Protocol) -> frozenset[str]:
    """The limits that every rule may read."""
    return frozenset.intersection(*(alike.limits_named(protocol, rule) for rule in protocol.rules.values()))


def changed(knowledge: Knowledge, folder: Path, seed: int, ground: bool = False) -> Knowledge:
    """The protocol with another value for one limit in five of those of the ground, or of all others."""
    dice, grounded = random.Random(seed), of_the_ground(knowledge.protocol)
    own = "owner: Pharmacy, date: 2020-01-01, reason: to be tried"
    lines = []
    for name, limit in knowledge.protocol.limits.items():
        value = limit.values[max(limit.values)]
        of_ground = name in grounded or limit.stands_for in grounded
        if of_ground is ground and dice.random() < 0.2 and isinstance(value, Decimal) and value > 1:
            lines.append(f"  - {{limit: {name}, value: {value + 1}, {own}}}")
    file = folder / f"{seed}.yaml"
    file.write_text(OVERLAY.format(limits="\n".join(lines)), "utf-8")
    loaded = load(overlay=str(file))
    return replace(loaded, valuesets=knowledge.valuesets, queries=knowledge.queries)


def ended(found: Found) -> Sequence[Any]:
    outcomes = [
        (o.rule.id, o.status, o.tier, o.severity, o.facts, sorted(o.values), o.limits, o.reasons, o.exceptions)
        for each in found.judged
        for o in each.outcomes
    ]
    return [outcomes, [(card.topic, card.severity, len(card.stands_for)) for card in found.cards]]


@pytest.mark.parametrize("seed", [1, 2])
def test_policies_that_judge_one_reading_find_what_each_finds_alone(
    seed: int, knowledge: Knowledge, tmp_path: Path
) -> None:
    policies = [knowledge, changed(knowledge, tmp_path, seed), changed(knowledge, tmp_path, seed + 100, ground=True)]
    differing, taken_over = [], 0
    for scenario in SEVENTH[seed % 2 :: 2]:
        signing = scenario.get("hook", "order-sign") == "order-sign"
        with suppress(HookError):
            together = open_request(sent(scenario), knowledge, NoSource(), NOW)
            for policy in policies:
                alone = open_request(sent(scenario), policy, NoSource(), NOW)
                if together is None or alone is None:
                    continue
                before = sum(map(len, together.known[signing].values()))
                one, other = find(together, signing, policy, NOW), find(alone, signing, policy, NOW)
                new = sum(map(len, together.known[signing].values())) - before
                taken_over += sum(map(len, alone.known[signing].values())) - new
                if [str(each) for each in ended(one)] != [str(each) for each in ended(other)]:
                    differing.append(scenario["name"])
    assert differing == []
    assert taken_over > 1000
