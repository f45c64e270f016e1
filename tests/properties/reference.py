"""The verdict of rows 1, 2, 4-10 and 12 by hand: sections 4a, 4c and 5a of the evidence base, in fractions.

Only the numbers come from the protocol's data; no line of the service's arithmetic is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import yaml

from cds_service.folders import CARDS

SEVERITY = {"info": 1, "warning": 2, "critical": 3}


def _entries() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for owner in ("common", "ketamine"):
        found |= yaml.safe_load((CARDS / owner / "limits.yaml").read_text("utf-8"))
    for file in (CARDS / "ketamine" / "rules").glob("*/rule.yaml"):
        found |= yaml.safe_load(file.read_text("utf-8")).get("limits", {})
    return found


ENTRIES = _entries()


def numbers(drug: str) -> dict[str, list[Fraction]]:
    """Every limit of a drug, by its general name."""
    found: dict[str, list[Fraction]] = {}
    for of_drug in (None, drug):
        for name, entry in ENTRIES.items():
            if entry.get("drug") == of_drug:
                value = entry["values"][max(entry["values"])]
                values = value if isinstance(value, list) else [value]
                found[entry.get("stands_for", name)] = [Fraction(str(each)) for each in values]
    return found


NUMBERS = {drug: numbers(drug) for drug in ("ketamine", "esketamine")}


def limit(drug: str, name: str) -> Fraction:
    (value,) = NUMBERS[drug][name]
    return value


@dataclass(frozen=True)
class Cap:
    """At most `per_kg` mg/kg in `minutes`."""

    per_kg: Fraction
    minutes: Fraction


@dataclass(frozen=True)
class Dose:
    """What a patient gets: `per_kg` mg/kg over `minutes` (None: not said), or mg/kg/h where it is `endless`."""

    per_kg: Fraction
    minutes: Fraction | None = None
    endless: bool = False
    push: bool = False
    as_needed: bool = False
    interval: Fraction | None = None
    """Minutes between doses."""
    cap: Cap | None = None

    @property
    def kind(self) -> str:
        if self.endless or (self.minutes is not None and self.minutes >= 60):
            return "continuous"
        return "bolus" if self.minutes is None or self.minutes <= 5 else "short"

    @property
    def is_session(self) -> bool:
        """For depression: a finite dose of at most two hours."""
        return not self.endless and (self.minutes is None or self.minutes <= 120)

    @property
    def per_hour(self) -> Fraction:
        """mg/kg/h of a continuous dose, or of one that runs for a stated time."""
        if self.endless:
            return self.per_kg
        assert self.minutes is not None
        return self.per_kg * 60 / self.minutes

    def starts_within(self, minutes: int) -> int:
        """How many scheduled doses start within any so many minutes."""
        if self.interval is None or self.as_needed:
            return 1
        return max(math.ceil(Fraction(minutes) / self.interval), 1)


VEIN = ("intravenous", "intraosseous", "unstated")


class _Judge:
    def __init__(self, drug: str, route: str) -> None:
        self.drug, self.route = drug, route
        self.found: dict[str, str] = {}

    def number(self, name: str) -> Fraction:
        return limit(self.drug, name)

    def say(self, rule: str, severity: str) -> None:
        if SEVERITY[severity] > SEVERITY.get(self.found.get(rule, ""), 0):
            self.found[rule] = severity

    def rate(self, per_hour: Fraction) -> None:
        """Rows 1 and 2."""
        if self.route not in (*VEIN, "subcutaneous"):
            return
        if per_hour > self.number("rate-critical"):
            self.say("rate-exceeds-ceiling", "critical")
        elif per_hour > self.number("rate-warn"):
            self.say("rate-exceeds-protocol-max", "warning")

    def analgesic(self, dose: Dose) -> None:
        if dose.kind == "continuous":
            self.rate(dose.per_hour)
        else:
            self.bolus(dose)
        if dose.kind == "short" and self.route == "subcutaneous":
            self.rate(dose.per_hour)
        if not dose.endless and dose.starts_within(60) > 1:
            self.rate(dose.per_kg * dose.starts_within(60))

    def load(self, d: Fraction) -> None:
        """Rows 4-7."""
        induction = self.number("im-anaesthetic" if self.route == "intramuscular" else "bolus-anaesthetic")
        if d >= induction and self.route in (*VEIN, "subcutaneous", "intramuscular"):
            self.say("bolus-anaesthetic-range", "critical")
        elif self.route in VEIN:
            if d > self.number("bolus-critical"):
                self.say("bolus-exceeds-protocol-max", "critical")
            elif d > self.number("bolus-warn"):
                self.say("bolus-exceeds-unmonitored-limit", "warning")
            elif d > self.number("bolus-info"):
                self.say("bolus-above-usual-load", "info")

    def bolus(self, dose: Dose) -> None:
        """Rows 4-8."""
        d = dose.per_kg
        self.load(d)
        if self.route not in VEIN:
            return
        fast = dose.push if dose.minutes is None else dose.minutes < self.number("push-minutes")
        if fast and d >= self.number("push-dose"):
            within_a_minute = dose.minutes is not None and dose.minutes < self.number("push-minutes-warn")
            self.say("bolus-push-too-fast", "warning" if within_a_minute else "info")

    def antidepressant(self, dose: Dose) -> None:
        """Rows 9 and 10; rows 1-2 where there is no finite dose of at most two hours."""
        judged_by_dose = dose.is_session
        if not judged_by_dose:
            self.rate(dose.per_hour)
        stated_push = dose.push or (dose.minutes is not None and dose.minutes <= 5)
        is_bolus = dose.kind != "continuous"
        if is_bolus and stated_push and self.route in (*VEIN, "subcutaneous", "intramuscular"):
            induction = self.number("im-anaesthetic" if self.route == "intramuscular" else "bolus-anaesthetic")
            if dose.per_kg >= induction:
                self.say("bolus-anaesthetic-range", "critical")
        if self.route not in VEIN:
            return
        if judged_by_dose:
            self.session(dose.per_kg * dose.starts_within(24 * 60))
        if not dose.endless and (stated_push or (dose.minutes is not None and dose.minutes < 30)):
            self.say("depression-infusion-too-fast", "critical")
        elif dose.endless or dose.minutes is None or dose.minutes < 40:
            self.say("depression-infusion-too-fast", "warning")

    def session(self, d: Fraction) -> None:
        """Row 9."""
        if d > self.number("depression-dose-critical"):
            self.say("depression-dose-exceeds", "critical")
        elif d > self.number("depression-dose-warn"):
            self.say("depression-dose-exceeds", "warning")

    def label_maximum(self, dose: Dose) -> None:
        """Row 7 in every context."""
        most = self.number("label-max-im" if self.route == "intramuscular" else "label-max-iv")
        known = self.route in (*VEIN, "subcutaneous", "intramuscular")
        if dose.kind != "continuous" and known and dose.per_kg > most:
            self.say("bolus-anaesthetic-range", "critical")

    def single(self, dose: Dose) -> None:
        """Row 7 in sedation, anaesthesia, agitation and status epilepticus."""
        into_muscle = self.route == "intramuscular"
        most = self.number("procedural-dose-im" if into_muscle else "procedural-dose-iv")
        if (
            dose.kind != "continuous"
            and (into_muscle or self.route in (*VEIN, "subcutaneous"))
            and dose.per_kg > most
        ):
            self.say("bolus-anaesthetic-range", "warning")

    def worst_hour(self, dose: Dose) -> Fraction | None:
        """mg/kg in the worst hour of an as-needed order; None where nothing bounds it."""
        capped = None if dose.cap is None else dose.cap.per_kg * max(math.ceil(60 / dose.cap.minutes), 1)
        if dose.endless:
            hourly: Fraction | None = dose.per_kg
        elif dose.interval is not None:
            hourly = dose.per_kg * max(math.ceil(60 / dose.interval), 1)
        else:
            hourly = None
        return min((each for each in (capped, hourly) if each is not None), default=None)

    def cap(self, dose: Dose, procedural: bool) -> None:
        """Row 12."""
        if self.route not in VEIN:
            return
        if dose.as_needed:
            hour = self.worst_hour(dose)
            too_much = hour is not None and hour > self.number("uncapped-hour") and not procedural
            if dose.cap is None or too_much:
                self.say("uncapped-order", "warning")
        if dose.endless and dose.cap is not None and dose.per_kg * dose.cap.minutes / 60 > dose.cap.per_kg:
            self.say("uncapped-order", "warning")


def uses(reasons: frozenset[str]) -> tuple[bool, bool, bool]:
    """(as an analgesic, as an antidepressant, in row 18's contexts)"""
    mapped = reasons - {"unknown"}
    procedural = bool(mapped) and mapped <= {"agitation"}
    analgesic = not procedural and ("depression" not in mapped or bool(mapped - {"depression"}))
    return analgesic, not procedural and "depression" in mapped, procedural


def verdict(dose: Dose, drug: str, reasons: frozenset[str], route: str) -> dict[str, str]:
    """Rule -> severity for one dose by one route; reasons are `pain`, `depression`, `unknown` and `agitation`."""
    return together([dose], drug, reasons, route)


def together(
    steps: Sequence[Dose], drug: str, reasons: frozenset[str], route: str, in_sequence: bool = False
) -> dict[str, str]:
    """The same for doses of one plan (4a, several steps): one after the other, or all at once."""
    judge = _Judge(drug, route)
    analgesic, antidepressant, procedural = uses(reasons)
    for dose in steps:
        if analgesic:
            judge.analgesic(dose)
        if antidepressant:
            judge.antidepressant(dose)
        judge.label_maximum(dose)
        if procedural:
            judge.single(dose)
        judge.cap(dose, procedural)
    starts = _starts(steps, in_sequence)
    for each in _within(steps, starts, 60, lambda dose: dose.kind != "continuous"):
        load = sum((dose.per_kg for dose in each), Fraction(0))
        judge.label_maximum(Dose(load))
        if analgesic:
            judge.load(load)
    if antidepressant and route in VEIN:
        for each in _within(steps, starts, 24 * 60, lambda dose: dose.is_session):
            judge.session(sum((dose.per_kg for dose in each), Fraction(0)))
    if analgesic:
        judge.rate(_at_once(steps, in_sequence, lambda dose: dose.kind == "continuous"))
    elif antidepressant:
        judge.rate(_at_once(steps, in_sequence, lambda dose: not dose.is_session))
    return judge.found


def _starts(steps: Sequence[Dose], in_sequence: bool) -> list[Fraction | None]:
    """Minutes after the beginning; None once a step before has no end."""
    found: list[Fraction | None] = [Fraction(0)]
    for dose in steps[:-1]:
        before = found[-1]
        if not in_sequence:
            found.append(Fraction(0))
        elif before is None or dose.endless:
            found.append(None)
        else:
            found.append(before + (dose.minutes or 0))
    return found


def _within(
    steps: Sequence[Dose], starts: Sequence[Fraction | None], span: int, counts: Callable[[Dose], bool]
) -> Iterator[list[Dose]]:
    """For each step, it and those that start less than `span` minutes after it; an unknown start counts as within."""
    counted = [(dose, start) for dose, start in zip(steps, starts, strict=True) if counts(dose)]
    for anchor, begin in counted:
        yield [
            dose
            for dose, start in counted
            if dose is anchor or begin is None or start is None or 0 <= start - begin < span
        ]


def _at_once(steps: Sequence[Dose], in_sequence: bool, counts: Callable[[Dose], bool]) -> Fraction:
    """The largest sum of rates (mg/kg/h) that can run at one time."""
    if not in_sequence:
        return sum((dose.per_hour for dose in steps if counts(dose)), Fraction(0))
    most = Fraction(0)
    for number, anchor in enumerate(steps):
        if counts(anchor):
            others = [dose for dose in steps[:number] if counts(dose) and dose.endless]
            others += [dose for dose in steps[number + 1 :] if counts(dose) and anchor.endless]
            most = max(most, anchor.per_hour + sum((dose.per_hour for dose in others), Fraction(0)))
    return most
