"""The observations of a chart: values by value set, newest first, and complaints that somebody affirmed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources as files

from cds_service.chart.account import Unplaced, in_words
from cds_service.chart.facts import Measurement, Members, Problem, Symptom, on, value_of, words_of
from cds_service.chart.reading import Reading
from cds_service.fhir import resources, statuses
from cds_service.fhir.dates import When
from cds_service.fhir.records import Records, about
from cds_service.terminology import answers as answered
from cds_service.terminology.drugs import plain, whole_words

_Part = resources.Observation | resources.ObservationComponent
_Coded = list[tuple[_Part, tuple[str, str], Members]]

_KIND = "Observation"
_TABLE = tomllib.loads(files.files(__package__).joinpath("readings.toml").read_text("utf-8"))
_URGENT = frozenset(_TABLE["urgent"])
_PANELS: Mapping[str, frozenset[str]] = {name: frozenset(panel["sets"]) for name, panel in _TABLE["panel"].items()}
_PANEL_TITLES = {_PANELS[name]: panel["title"] for name, panel in _TABLE["panel"].items()}
_NAMED: Sequence[tuple[frozenset[str], re.Pattern[str], re.Pattern[str]]] = [
    (frozenset(entry["sets"]), whole_words(entry["words"]), whole_words(entry.get("not", ())))
    for entry in _TABLE["named"]
]
_LONGEST_NAME = 200


def by_set(chart: Reading, records: Records) -> Mapping[str, list[Measurement]]:
    """By value set, and by set and group (obs_thyroid/tsh), newest first; the account gets what cannot be placed."""
    index: dict[str, list[Measurement]] = {}
    account = chart.account
    for observation in records.of(resources.Observation):
        chart.deadline.check("chart")
        coded = [] if _never_counts(observation) else _coded_parts(observation, chart)
        sets = frozenset(name for _, _, members in coded for name in members)
        if not coded and not _never_counts(observation):
            sets = _named(observation) or _complaints_in_words(observation, chart)
        if not sets:
            account.irrelevant[_KIND] += 1
            continue
        when = _effective(observation, chart)
        why = _why_not_placed(observation, when, bool(coded), chart)
        if why is not None or when is None:
            account.leave_open(_unplaced(observation, sets, when, why or "", chart))
            continue
        account.placed[_KIND] += 1
        _index(coded, when, observation.reference, index)
        if missed := _missed_of_panel(observation, sets, chart):
            account.leave_open(_unplaced(observation, missed, when, "its value is not understood", chart))
    for found in index.values():
        found.sort(key=lambda m: m.when.placed, reverse=True)
    return index


def _never_counts(observation: resources.Observation) -> bool:
    """Entered in error, cancelled, or only registered: without a result as yet."""
    if observation.status == "final":
        return False
    status = statuses.code_of("observation", observation.status)
    if status == "registered":
        return value_of(observation) is None and not observation.component
    return status in ("entered-in-error", "cancelled")


def _why_not_placed(
    observation: resources.Observation, when: When | None, is_coded: bool, chart: Reading
) -> str | None:
    if (changed := resources.changed_meaning(observation)) is not None:
        return changed
    if about(observation, chart.patient_id) == "unclear":
        return "whom it is about is not clear"
    if when is None:
        return "its date cannot be read"
    if chart.is_future(when):
        return "a reading dated in the future was left out"
    return None if is_coded else "its code is not known"


def _unplaced(
    observation: resources.Observation, sets: frozenset[str], when: When | None, why: str, chart: Reading
) -> Unplaced:
    known = when if when is not None and not chart.is_future(when) else None
    parts = ((_name(part, "a part"), value_of(part)) for part in observation.component)
    values = [f"{name}: {value}" for name, value in parts if value is not None]
    value = value_of(observation) or ", ".join(values) or None
    return Unplaced(
        kind=_KIND,
        subject="reading",
        reference=observation.reference,
        name=_title(sets, chart),
        says=_saying(_name(observation, _title(sets, chart)), when, value, why, chart),
        sets=sets,
        when=known,
        urgent=is_urgent(sets),
        has_value=value is not None,
    )


def is_urgent(sets: Iterable[str]) -> bool:
    """Whether the clinician is warned of a reading of these sets that is not understood."""
    return not _URGENT.isdisjoint(sets)


def _title(sets: frozenset[str], chart: Reading) -> str:
    """What a reading is, in the words of the first of its value sets."""
    titles = (chart.valuesets[name].title for name in sorted(sets) if name in chart.valuesets)
    panel = next((title for parts, title in _PANEL_TITLES.items() if parts <= sets), None)
    return panel or next(titles, "a reading")


def _name(part: _Part, otherwise: str = "a reading") -> str:
    """What a reading is in its own words; a bare code says nothing to a reader."""
    return next(iter(part.code.words if part.code else ()), otherwise)


def _saying(name: str, when: When | None, value: str | None, why: str, chart: Reading) -> str:
    said = f" says {in_words(value)}" if value is not None else " has no value"
    return f"{name} of {on(when, chart.now)}{said}: {why}" if why else f"{name} of {on(when, chart.now)}{said}"


def _missed_of_panel(observation: resources.Observation, sets: frozenset[str], chart: Reading) -> frozenset[str]:
    """The sets of which a panel should have a component, and has something that is not understood in its place."""
    for panel, parts in _PANELS.items():
        if panel not in sets:
            continue
        missed = parts - sets
        if len(missed) < len(parts):
            known = (chart.members([part.code]) for part in observation.component)
            return missed if any(not members for members in known) else frozenset()
        empty = value_of(observation) is None and not observation.component
        members = observation.has_member if empty else []
        sent = all(chart.resolve(member) is not None for member in members)
        return frozenset() if members and sent else missed
    return frozenset()


@lru_cache(maxsize=4096)
def _sets_named(text: str) -> frozenset[str]:
    words = plain(text)
    return frozenset(name for sets, yes, no in _NAMED if yes.search(words) and not no.search(words) for name in sets)


def _named(observation: resources.Observation) -> frozenset[str]:
    """The sets that a reading may be in by the words of its name, where no set holds its code."""
    codes = [observation.code, *(part.code for part in observation.component)]
    texts = [word for code in codes if code is not None for word in code.words]
    return frozenset(name for text in texts if len(text) <= _LONGEST_NAME for name in _sets_named(text))


def _coded_parts(observation: resources.Observation, chart: Reading) -> _Coded:
    """The observation and its components, once for each coding that a value set holds."""
    found: _Coded = []
    parts: tuple[_Part, ...] = (observation, *observation.component)
    for part in parts:
        for coding in part.code.coding if part.code is not None else ():
            if coding.system and coding.code:
                members = chart.valuesets.members_of(coding.system, coding.code)
                if members:
                    found.append((part, (coding.system, coding.code), members))
    return found


def _index(coded: _Coded, when: When, reference: str, index: dict[str, list[Measurement]]) -> None:
    indexed: set[tuple[str, str]] = set()
    for part, coding, members in coded:
        measurement = Measurement(part, coding, when, reference)
        for name, member in members.items():
            if (name, coding[1]) not in indexed:
                indexed.add((name, coding[1]))
                index.setdefault(name, []).append(measurement)
                if member.group:
                    index.setdefault(f"{name}/{member.group}", []).append(measurement)


def _effective(observation: resources.Observation, chart: Reading) -> When | None:
    period = observation.effective_period
    for text in (
        observation.effective_date_time,
        observation.effective_instant,
        period.end if period else None,
        period.start if period else None,
        observation.issued,
    ):
        if text and (when := chart.when(text)):
            return when
    return None


def answers(records: Records) -> Iterator[resources.CodeableConcept]:
    """What observations have for a value where it is coded."""
    for observation in records.of(resources.Observation):
        if observation.value_codeable_concept is not None:
            yield observation.value_codeable_concept


# Complaints ----------------------------------------------------------------------------------------------------


def symptoms(chart: Reading, records: Records, problems: Iterable[Problem]) -> list[Symptom]:
    """Complaints that somebody affirmed: observations, active problems, adverse events that happened.

    One whose answer or date is not known goes to the account.
    """
    found: list[Symptom] = []
    for problem in problems:
        if problem.active and problem.members:
            if problem.when is not None:
                found.append(Symptom(problem.name, problem.members, problem.when, problem.reference))
            else:
                says = f"{problem.name}: when it began is not recorded"
                _leave_open(chart, "Condition", problem.name, says, problem.reference, problem.members)
    for observation in records.of(resources.Observation):
        if not _never_counts(observation):
            found += _affirmed_by(observation, chart)
    for event in records.of(resources.AdverseEvent):
        found += _happened(event, chart)
    return found


def _leave_open(
    chart: Reading, kind: str, name: str, says: str, reference: str, members: Members, when: When | None = None
) -> None:
    chart.account.leave_open(Unplaced(kind, "event", reference, name, says, frozenset(members), when))


def _affirmed_by(observation: resources.Observation, chart: Reading) -> Iterator[Symptom]:
    """What an observation says that the patient has: by its value, or by its code where the answer affirms it."""
    said = chart.members([observation.code])
    by_value = chart.members([observation.value_codeable_concept])
    if not said and not by_value:
        return
    when = _effective(observation, chart)
    if _why_not_placed(observation, when, True, chart) is not None or when is None:
        if by_value and not said:  # by its code it is in the account already
            why = _why_not_placed(observation, when, True, chart) or ""
            chart.account.leave_open(_unplaced(observation, frozenset(by_value), when, why, chart))
        return
    is_affirmed = affirmed(observation, chart) if said else False
    if is_affirmed is None and not by_value:
        name = _name(observation, next(iter(said.values())).display)
        says = _saying(name, when, value_of(observation), "its answer is not known", chart)
        _leave_open(chart, _KIND, name, says, observation.reference, said, when)
    members = {**by_value, **(said if is_affirmed else {})}
    if members:
        yield Symptom(_name(observation), members, when, observation.reference)


def _complaints_in_words(observation: resources.Observation, chart: Reading) -> frozenset[str]:
    """The sets that an observation may be in by the words beside a code that nobody knows, unless it denies them."""
    concepts = (observation.code, observation.value_codeable_concept)
    asked = (chart.placement(each).may_mean for each in concepts if each is not None)
    sets = frozenset[str]().union(*(sets for sets in asked if sets))
    return sets if sets and affirmed(observation, chart) is not False else frozenset()


def affirmed(part: resources.Observation, chart: Reading) -> bool | None:
    """Whether an answer affirms what was asked; None where it is not known. Without any answer it does."""
    verdicts: set[bool] = set()
    score = part.value_quantity.value if part.value_quantity else part.value_integer
    if score is None and part.value_string is not None and part.value_string.strip().isdecimal():
        return bool(part.value_string.strip("0 "))
    if score is not None:
        verdicts.add(bool(score))
    if part.value_boolean is not None:
        verdicts.add(part.value_boolean)
    words, concept = words_of(part), part.value_codeable_concept
    if words or concept is not None:
        codings = concept.codes if concept else ()
        if any(answered.holds(name, codings, words, chart.valuesets) for name in ("ans_positive", "ans_severity")):
            verdicts.add(True)
        if answered.holds("ans_negative", codings, words, chart.valuesets):
            verdicts.add(False)
        if not verdicts:
            return None
    if not verdicts:
        return None if part.data_absent_reason is not None else True
    return verdicts.pop() if len(verdicts) == 1 else None


def _happened(event: resources.AdverseEvent, chart: Reading) -> Iterator[Symptom]:
    status = statuses.code_of("event", event.status, event.actuality)
    members = chart.members([event.event])
    if status in ("entered-in-error", "potential") or not members:
        return
    name = (event.event.name if event.event else None) or "adverse event"
    when = chart.when(event.date) or chart.when(event.recorded_date)
    why = resources.changed_meaning(event)
    if why is None and when is None:
        why = "its date cannot be read"
    elif why is None and when is not None and chart.is_future(when):
        why, when = "an event dated in the future was left out", None
    if why is None and when is not None:
        yield Symptom(name, members, when, event.reference)
    else:
        says = f"{name} of {on(when, chart.now)}: {why}"
        _leave_open(chart, "AdverseEvent", name, says, event.reference, members, when)
