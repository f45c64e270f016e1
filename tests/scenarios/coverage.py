"""What the scenarios show of each rule: fired, just not, could not tell, suppressed; and what is still missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from cds_service.hooks.errors import HookError
from cds_service.knowledge import Knowledge
from cds_service.protocol.model import SEVERITIES, OrderIs, Rule
from tests.scenarios.build import scenarios, sent
from tests.scenarios.judged import ended, endings, judge

WORDS = (*SEVERITIES, "hidden", "suppressed", "could not tell", "clear")
"""The words of `expect` that name rules."""
FIRED = (*SEVERITIES, "hidden")


class Covered:
    """What all scenarios together name in `expect`, with the tier or the reason that was behind it."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self.fired: set[tuple[str, str]] = set()
        """(rule, tier)"""
        self.changed: dict[tuple[str, str], list[str]] = {}
        """(rule, because) -> names of scenarios"""
        self.named: dict[str, dict[str, list[tuple[int, str]]]] = {word: {} for word in WORDS}
        """Word of `expect` -> rule -> (how many rules the scenario names, its name)."""
        self.ever_untold: set[str] = set()
        """Rules that could not tell in any scenario, named or not, or in one without its patient's data."""
        for _file, scenario in scenarios():
            self._add(scenario)

    def scenarios(self, rule: str, *words: str) -> list[str]:
        """The names of the scenarios that expect one of `words` of the rule; first those that are about it most."""
        found = [each for word in words for each in self.named[word].get(rule, ())]
        return [name for _, name in sorted(found, key=lambda each: each[0])]

    def _add(self, scenario: dict[str, Any]) -> None:
        expect = scenario["expect"] if isinstance(scenario["expect"], dict) else {}
        count = sum(len(expect.get(word, ())) for word in WORDS)
        for word in WORDS:
            for rule in expect.get(word, ()):
                self.named[word].setdefault(rule, []).append((count, scenario["name"]))
        told = {rule for word in (*FIRED, "suppressed") for rule in expect.get(word, ())}
        for rule, status, tier, because in ended(scenario, self.knowledge):
            if status == "could-not-tell":
                self.ever_untold.add(rule)
            if rule in told and status in ("fired", "suppressed"):
                self.changed.setdefault((rule, because or ""), []).append(scenario["name"])
                if status == "fired":
                    self.fired.add((rule, tier or ""))
        with suppress(HookError):  # without its data there may be nothing to judge: that is no outcome
            made = judge(scenario, self.knowledge, replace(sent(scenario), prefetch={}))
            self.ever_untold.update(each.rule for each in endings(made) if each.status == "could-not-tell")


@dataclass(frozen=True)
class Row:
    """The names of a rule's scenarios. A reason stands where there can be none; neither of both is a gap."""

    rule: Rule
    fires: list[str]
    clear: list[str]
    untold: list[str]
    suppressed: list[str]
    why_no: dict[str, str]
    """Column (clear, untold, suppressed) -> why there is no scenario for it."""

    @property
    def gaps(self) -> list[str]:
        columns = {"fires": self.fires, "clear": self.clear, "untold": self.untold, "suppressed": self.suppressed}
        return [name for name, found in columns.items() if not found and name not in self.why_no]


def rows(covered: Covered) -> list[Row]:
    """One row for each rule, in the catalogue's order."""
    return [_row(rule, covered) for rule in covered.knowledge.protocol.rules.values()]


def gaps(covered: Covered) -> list[str]:
    """`rule: column` for each scenario that is still to be written."""
    return [f"{row.rule.id}: {gap}" for row in rows(covered) for gap in row.gaps]


def _row(rule: Rule, covered: Covered) -> Row:
    why_no: dict[str, str] = {}
    if rests_on_no_codes(rule, covered.knowledge):
        why_no["clear"] = "a value set has no codes yet: it cannot be cleared"
    if rule.id not in covered.ever_untold:
        why_no["untold"] = "can always be told"
    if not _silenced_by_condition(rule, covered.knowledge):
        why_no["suppressed"] = _what_else(rule, covered)
    return Row(
        rule=rule,
        fires=covered.scenarios(rule.id, *FIRED),
        clear=covered.scenarios(rule.id, "clear"),
        untold=covered.scenarios(rule.id, "could not tell"),
        suppressed=covered.scenarios(rule.id, "suppressed"),
        why_no=why_no,
    )


def _silenced_by_condition(rule: Rule, knowledge: Knowledge) -> bool:
    silences = [change for change in rule.changes if change.to == "none"]
    return bool(rule.yields_to) or any(not needs_an_order_set(change.when, knowledge) for change in silences)


def _what_else(rule: Rule, covered: Covered) -> str:
    """What is said of a rule that no condition of the protocol silences."""
    words = {"none": "silent where a site maps it"}
    said = [f"{words.get(change.to, f'becomes {change.to}')}: {change.because}" for change in rule.changes]
    if rule.cannot_see:
        said.append(f"it cannot see: {' '.join(rule.cannot_see)}")
    return "; ".join(said) or "nothing suppresses it"


def rests_on_no_codes(rule: Rule, knowledge: Knowledge) -> bool:
    clauses = [tier.when for tier in rule.tiers]
    names = {part for part in parts_of(clauses) if isinstance(part, str) and part in knowledge.valuesets}
    return any(knowledge.valuesets[name].no_codes for name in names)


def needs_an_order_set(clause: object, knowledge: Knowledge) -> bool:
    contexts = [name for part in parts_of(clause) if isinstance(part, OrderIs) for name in part.context]
    return any(not knowledge.protocol.indications[name].order_sets for name in contexts)


def parts_of(value: object) -> Iterator[object]:
    """A clause and all that it is made of."""
    yield value
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from parts_of(getattr(value, field))
    elif isinstance(value, list):
        for item in value:
            yield from parts_of(item)
