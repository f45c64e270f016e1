"""The protocol in English: what fires a rule, what changes it, and its limits, for a pharmacist and for FHIR."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from cds_service.protocol import model
from cds_service.protocol.limits import as_written
from cds_service.protocol.model import Limit, Protocol, Rule, Tier
from cds_service.protocol.references import kinds_of
from cds_service.terminology.valuesets import ValueSets

_UNITS = {"1": "", "{score}": "", "mo": "months", "a": "years", "d": "days", "wk": "weeks", "/wk": "a week"}
"""UCUM codes that a reader would not know; the others stand as they are."""
_FIRST_LETTER = re.compile(r"[a-z]")
_PLACEHOLDER = re.compile(r"\{([a-z0-9-]+)\}")

_HEADS: Mapping[str, str] = {
    "condition": "a problem in {sets}",
    "observation": "{which}{sets}",
    "symptom": "a complaint in {sets}",
    "medicine": "a medicine in {sets}",
    "exposure": "the drug",
    "patient": "the patient is",
    "procedure": "a procedure in {sets}",
    "allergy": "an allergy to {sets}",
    "encounter": "the setting is {sets}",
    "order": "the order is",
    "monitoring": "monitoring is ordered or in progress for {each set}",
    "amount": "{figure}",
}
"""How the words of a clause begin, by its `fact`."""

_QUALIFIERS: Mapping[str, str | Mapping[Any, str]] = {
    "condition.status": {"active": "(active)", "inactive": "(past)", "any": "(active or past)"},
    "condition.undated": {"no": "", "yes": "or undated", "only": "without a date"},
    "condition.history": "or a code that itself says “history of”",
    "condition.unless_later": "unless measured after it: {value}",
    "condition.asks": "({value} cannot be told)",
    "condition.unless_in": "and not in {value}",
    "observation.answer": "answered {value}",
    "observation.answered_no": "({value} clears it, any other answer cannot be told)",
    "observation.above_reference": "above the laboratory's own range",
    "observation.above_reference_times": "above {value} times the upper end of the laboratory's own range",
    "observation.in_reference": "within the laboratory's own range",
    "observation.risen_by": "risen by more than {value}",
    "observation.fallen_by": "fallen by {value} or more",
    "observation.twice_within": "in two readings no more than {value} apart,",
    "observation.date_ahead": "is a date that lies ahead, by {value} at most",
    "observation.present": "done at all",
    "observation.any_value": "with any value",
    "symptom.answered_by_cut": "after which the rate was cut by {value} or more",
    "medicine.running": "running now",
    "medicine.given": "given, not only ordered",
    "medicine.at_least": "({value} different ones or more)",
    "medicine.only": "and all of them in {value}",
    "medicine.single_dose": "as one dose",
    "medicine.in_chart": "in the chart, not only drafted",
    "medicine.longer_ago": "given longer ago than {value}",
    "medicine.started_within": "started within {value}",
    "medicine.unless_in": "that is not in {value}",
    "medicine.routes": "by {value}",
    "medicine.reasons": "ordered for {value}",
    "exposure.days": "was given on {value} days or more",
    "exposure.doses": "was given {value} times or more",
    "exposure.running_longer_than": "has been running for more than {value}",
    "exposure.running": "is running now",
    "patient.sex": {"female": "female", "male": "male"},
    "patient.age_at_least": "{value} or older",
    "patient.age_below": "younger than {value}",
    "procedure.this_encounter": "in this encounter",
    "procedure.unless_later": "unless followed by {value}",
    "allergy.kind": {"any": "", "allergy": "(as an allergy)", "intolerance": "(as an intolerance)"},
    "allergy.asks": "({value} cannot be told)",
    "monitoring.seen": "or for any of them, or the client is known to send such orders",
    "order.drug": "of {value}",
    "order.indication": "for {value}",
    "order.only_indication": "for {value} and nothing else",
    "order.judged_as": "judged as {value}",
    "order.analgesic": "judged as an analgesic",
    "order.context": "from an order set of the kind “{value}”",
    "order.ingredient": "of a product with {value}",
    "order.reason": "given for {value}",
    "order.category": "of the category {value}",
    "order.status_reason": "ended because of {value}",
    "order.route": "by the route {value}",
    "order.single_dose": "for a single dose",
    "order.single_dose_at_most": "for a single dose of at most {value}",
    "order.repeated": "for more than one dose",
    "order.continuous": "a continuous infusion",
    "order.finite_at_most": "for finite doses of at most {value}",
    "order.planned_longer_than": "a continuous infusion planned for more than {value}",
    "order.without_end": "a continuous infusion without an end",
    "order.labelled": "of the labelled nasal product",
    "order.route_other_than": "by another route than {value}",
    "order.per_week_above": "for more than {value}",
    "order.cut_by": "at least {value} below the running rate",
    "amount.of": "of a {value}",
    "amount.labelled": "of the labelled nasal product",
    "amount.use": "judged as {value}",
    "amount.first": "with which the order begins",
    "amount.session": {True: "no longer than a session", False: "but for sessions"},
    "amount.pushed": "by push",
    "amount.dose_at_least": "of a dose of {value} or more",
    "amount.route": "by the route {value}",
    "amount.weight": {"dosing": "", "ideal": "on ideal body weight", "none": "without a usable weight"},
    "amount.together": "alone or together",
    "amount.within": "with what starts within {value}",
    "amount.repeats": "its repeats added up",
    "amount.part": "each limit times {value}",
    "amount.push": {"timed": "", "untimed": "or by push without a time", "any": "or by push"},
    "amount.unstated": "not stated",
    "amount.doubt_up_to": "(in words alone it cannot be told up to {value})",
    "around_dose": "during a dose that is over or up to {value} after it",
    "within": "within {value}",
    "above": "above {value}",
    "below": "below {value}",
    "at_most": "at most {value}",
    "at_least": "at least {value}",
    "other_than": "other than {value}",
}
"""What a field adds, by `fact.field` or, for all facts, by field."""

_OFFERS = {
    "delete": "Remove this order",
    "lower-rate": "Change to a lower rate",
    "hold": "Put the infusion on hold",
    model.KEEP_TO_CAP: "Change to what the order's own maximum allows",
    model.LOWER_TO_LIMIT: "Change to the limit",
}
_OFFERS_TO_A_LIMIT = {
    model.STOP_AFTER: "Stop the infusion after {}",
    model.LOWER_TO: "Change to at most {}",
    model.SLOW_TO: "Give over {}",
    model.CAP_TO: "Add a maximum of {} in an hour",
    model.REPEAT_TO: "Give {}",
}
_KINDS = {"bolus": "bolus", "short": "short infusion", "continuous": "continuous infusion"}
_FIGURES = {
    "mg": "the dose in mg",
    "mg/kg": "the dose in mg/kg",
    "mg/h": "the rate in mg/h",
    "mg/kg/h": "the rate in mg/kg/h",
    "min": "the time",
}

_IN_HEAD = frozenset({"sets", "which", "figure"})
_WHICH = {"newest": "newest ", "newest-of-each-code": "newest of each kind of ", "any": "any "}
_ALWAYS_SAID = frozenset({"condition.status"})
"""Qualifiers that are said even where they have their default."""
_SAID_LAST = ("within", "repeats", "unless_later", "asks", "doubt_up_to")
_COMPARISONS = ("above", "below", "at_most", "at_least", "other_than")


_JOINED = {model.Any: "any of", model.All: "all of", model.Not: "none of", model.Unless: "unless"}


class Words:
    """Renders one protocol as of one day. Value sets stand in “quotes”, limits with their unit."""

    def __init__(self, protocol: Protocol, valuesets: ValueSets, day: date) -> None:
        self._protocol = protocol
        self._valuesets = valuesets
        self._day = day

    def limit(self, name: str) -> str:
        """The value in force with its unit, e.g. `0.5 mg/kg/h`, `6 months`, `30 to 250 kg`."""
        return limit(self._protocol.limits[name], self._day)

    def trigger(self, rule: Rule) -> str:
        """When the rule fires, as a sentence; for clauses over several tiers, all of them from the worst."""
        if rule.trigger is not None:
            return self._filled(rule.trigger)
        said = [self.tier(tier) for tier in rule.tiers]
        if len(said) == 1:
            return _sentence(said[0])
        return " ".join(
            _sentence(f"{tier.severity}: {each}") for tier, each in zip(rule.tiers, said, strict=True) if each
        )

    def tier(self, tier: Tier) -> str:
        """When one tier holds; empty where its judgement is described by the rule's `trigger`."""
        return "" if tier.when is None else self.clause(tier.when)

    def clause(self, clause: model.Clause) -> str:
        """A clause without a full stop, e.g. `“Systolic BP” (newest) above 180 mm[Hg] within 24 h`."""
        match clause:
            case model.Any():
                return _joined([self._part(part) for part in clause.of], "or")
            case model.All():
                return _joined([self._part(part) for part in clause.of], "and")
            case model.Unless():
                return f"unless ({_joined([self.clause(part) for part in clause.of], 'and')})"
            case model.Not():
                return f"not ({_joined([self.clause(part) for part in clause.of], 'and')})"
        return self._fact(clause)

    def outline(self, clause: model.Clause, depth: int = 0) -> Iterator[tuple[int, str]]:
        """The same as lines of (depth, words), one for each fact, under `any of`, `all of`, `none of`, `unless`."""
        match clause:
            case model.Any() | model.All() | model.Not() | model.Unless() if (
                isinstance(clause, model.Not | model.Unless) or len(clause.of) > 1
            ):
                yield depth, _JOINED[type(clause)]
                for part in clause.of:
                    yield from self.outline(part, depth + 1)
            case model.Any() | model.All():
                yield from self.outline(clause.of[0], depth)
            case _:
                yield depth, self._fact(clause)

    def sets(self, names: list[str], last: str = "or") -> str:
        """`“Opioids” or “Benzodiazepines”`; a group of a set stands behind a colon."""
        return _joined([self._set(name) for name in names], last, ", ")

    def offer(self, name: str) -> str:
        """What an entry of a rule's `suggests` offers, as the label of a button."""
        if name in model.OFFERS:
            return _OFFERS[name]
        for kind, says in _OFFERS_TO_A_LIMIT.items():
            if name.startswith(kind):
                return says.format(self.limit(name.removeprefix(kind)))
        return self._protocol.orderables[name].label

    def _set(self, name: str) -> str:
        group = name.partition("/")[2]
        title = self._valuesets[name].title
        return f"“{title}: {group}”" if group else f"“{title}”"

    def _part(self, clause: model.Clause) -> str:
        said = self.clause(clause)
        return f"({said})" if isinstance(clause, model.Any | model.All) and len(clause.of) > 1 else said

    def _fact(self, clause: Any) -> str:
        fact, kinds = clause.__struct_config__.tag, kinds_of(type(clause))
        sets = getattr(clause, "sets", [])
        which = _WHICH[getattr(clause, "which", "newest")]
        head = (
            _HEADS[fact]
            .replace("{which}", which)
            .replace("{figure}", _FIGURES.get(getattr(clause, "figure", ""), ""))
        )
        head = head.replace("{sets}", self.sets(sets)).replace("{each set}", self.sets(sets, "and"))
        defaults = dict(zip(reversed(clause.__struct_fields__), reversed(clause.__struct_defaults__), strict=False))
        said: list[tuple[str, str]] = [("", head)]
        for field in sorted(clause.__struct_fields__, key=lambda field: field in _SAID_LAST):
            value = getattr(clause, field)
            key = f"{fact}.{field}"
            if field in _IN_HEAD or (value == _plain(defaults.get(field)) and key not in _ALWAYS_SAID):
                continue
            said.append((field, self._qualifier(key, field, value, kinds.get(field))))
        return _run_on([(field, words) for field, words in said if words], fact)

    def _qualifier(self, key: str, field: str, value: Any, kind: str | None) -> str:
        words = _QUALIFIERS.get(key) or _QUALIFIERS[field]
        if not isinstance(words, str):
            return words[value]
        return words.replace("{value}", self._value(field, value, kind))

    def _value(self, field: str, value: Any, kind: str | None) -> str:
        if isinstance(value, str):
            return self.limit(value)
        if not isinstance(value, list):
            return ""
        if kind == "valueset":
            return self.sets(value)
        if field == "unless_later":
            return _joined([self._part(part) for part in value], "and")
        if field in ("indication", "only_indication", "context"):
            return _joined([self._protocol.indications[name].title for name in value], "or")
        if field == "of":
            return _joined([_KINDS[name] for name in value], "or")
        if field in ("use", "judged_as"):
            return _joined([self._protocol.uses[name].title for name in value], "or")
        if field in ("route", "route_other_than", "drug"):
            return _joined(value, "or")
        return _joined([self.limit(name) for name in value], "or", ", ")

    def _filled(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda match: self.limit(match[1]), text)


def limit(entry: Limit, day: date) -> str:
    """The value in force on `day` with its unit; of two numbers the range, of more the list."""
    return f"{as_written(entry, day)} {_UNITS.get(entry.unit, entry.unit)}".rstrip()


def _run_on(said: list[tuple[str, str]], fact: str) -> str:
    """A fact's head and qualifiers, as (field, words): how two of them are joined depends on what they are."""
    text, before = "", None
    for field, words in said:
        if before is None:
            joint = ""
        elif (before, field) == ("days", "doses"):
            joint = " or "
        elif before in _COMPARISONS and field in _COMPARISONS:
            joint = " and "
        else:
            joint = ", " if before and fact in ("order", "patient", "amount") else " "
        text, before = text + joint + words, field
    return text


def _plain(default: Any) -> Any:
    """msgspec keeps the default of a list as a factory."""
    return default.factory() if hasattr(default, "factory") else default


def _joined(parts: list[str], last: str, comma: str | None = None) -> str:
    """`a, b or c`; with semicolons where a part has a comma of its own."""
    if len(parts) < 2:
        return "".join(parts)
    if comma is None:
        comma = "; " if any(", " in part for part in parts) else ", "
    return f"{comma if comma == '; ' else ' '}{last} ".join([comma.join(parts[:-1]), parts[-1]])


def _sentence(text: str) -> str:
    return f"{_FIRST_LETTER.sub(lambda match: match[0].upper(), text, count=1)}." if text else ""
