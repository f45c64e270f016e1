"""The observations of a chart: values by value set, newest first, and complaints that somebody affirmed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from importlib import resources as files
from typing import NamedTuple

import msgspec

from cds_service import units
from cds_service.chart.account import Unplaced, in_words
from cds_service.chart.concepts import Concepts, concepts
from cds_service.chart.facts import (
    Measurement,
    Members,
    Problem,
    Symptom,
    in_words_of,
    name_of,
    on,
    value_of,
    words_of,
)
from cds_service.chart.reading import Reading
from cds_service.fhir import resources, statuses
from cds_service.fhir.datatypes import CodeableConcept
from cds_service.fhir.dates import When
from cds_service.fhir.records import Records, about
from cds_service.lazy import remembered
from cds_service.says import Named, Said, Says, listed
from cds_service.says import entries as says
from cds_service.terminology import answers as answered
from cds_service.terminology.drugs import plain, telling, whole_words, words_in
from cds_service.terminology.systems import canonical_system, is_registered
from cds_service.terminology.valuesets import ValueSets

_Part = resources.Observation | resources.ObservationComponent

Codes = tuple[CodeableConcept | None, ...]
"""The code of an observation and those of its components."""

_KIND = "Observation"
_TABLE = tomllib.loads(files.files(__package__).joinpath("readings.toml").read_text("utf-8"))
_URGENT = frozenset(_TABLE["urgent"])
_WEIGHTS = frozenset(_TABLE["weights"])
PANELS: Mapping[str, frozenset[str]] = {name: frozenset(panel["sets"]) for name, panel in _TABLE["panel"].items()}
"""Value set of a panel -> those of its parts."""
_PANEL_TITLES = {PANELS[name]: Named(f"set-{name}", panel["title"]) for name, panel in _TABLE["panel"].items()}
_NAMED: Sequence[tuple[frozenset[str], frozenset[str], re.Pattern[str], re.Pattern[str]]] = [
    (
        frozenset(entry["sets"]),
        telling(entry["words"]),
        whole_words(entry["words"]),
        whole_words(entry.get("not", ())),
    )
    for entry in _TABLE["named"]
]
_COMPLAINTS = whole_words(_TABLE["complaints"]["words"])
_LONGEST_NAME = 200
_AT_ONCE = 16
"""So many are read between two looks at the deadline: they take a ten-thousandth of a second."""


class _Kind(msgspec.Struct, frozen=True):
    """What the codes of an observation say. Those of a chart are of a few kinds."""

    coded: Sequence[tuple[int, tuple[str, str], Sequence[str]]]
    """(part, coding, keys): a coding that a value set holds, with its set and group as keys; the observation itself
    is part 0, its components are the others."""
    sets: frozenset[str]
    """The value sets that it is in; where it is in none, those that the words of its name may mean."""
    missed: frozenset[str] = frozenset()
    """The sets of which a panel should have a component, and has none that is understood."""
    is_header: bool = False
    """It is a panel with no component that is understood: its parts may be other observations."""
    is_known: bool = True
    """It has words, or a code of a system that is read: where no set holds it, it is certainly another reading."""
    asked: frozenset[str] = frozenset()
    """Where no set holds a code and no name is known: the sets that the words beside the code may mean."""
    may_affirm: bool = False
    """The code of the observation itself is in a value set, so that it may be a complaint."""


class Observed(NamedTuple):
    """The observations of a chart, gone through once."""

    by_set: Mapping[str, list[Measurement]]
    """By value set, and by set and group (obs_thyroid/tsh), as they came."""
    answers: Sequence[CodeableConcept]
    """What they have for a value where it is coded."""
    may_affirm: Sequence[resources.Observation]
    """Those that may say that the patient has a complaint."""


def observed(chart: Reading, records: Records) -> Observed:
    """The account gets what cannot be placed."""
    index: dict[str, list[Measurement]] = {}
    kinds: dict[Codes, _Kind] = {}
    kind_of = _kinds(chart.valuesets)
    answers: list[CodeableConcept] = []
    may_affirm: list[resources.Observation] = []
    account = chart.account
    irrelevant = placed = 0
    for number, observation in enumerate(records.of(resources.Observation)):
        if not number % _AT_ONCE:
            chart.deadline.check("chart")
        answer = observation.value_codeable_concept
        if answer is not None:
            answers.append(answer)
        if observation.status != "final" and _never_counts(observation):
            irrelevant += 1
            continue
        components = observation.component
        codes = (observation.code, *[part.code for part in components]) if components else (observation.code,)
        try:
            kind = kinds[codes]
        except KeyError:
            kind = kinds[codes] = kind_of(codes)
        if answer is not None or kind.may_affirm:
            may_affirm.append(observation)
        sets = kind.sets
        if not sets and (kind.asked or answer is not None):
            sets = _complaints_in_words(kind, observation, chart)
        if not sets and kind.is_known:
            irrelevant += 1
            continue
        when = chart.when(observation.effective_date_time) or _effective(observation, chart)
        why = _why_not_placed(observation, when, bool(kind.coded), chart)
        if why is not None or when is None:
            sets = sets or _not_named(observation, chart)
            account.leave_open(_unplaced(observation, sets, when, why, chart))
            continue
        placed += 1
        reference = observation.reference
        for place, coding, keys in kind.coded:
            part = components[place - 1] if place else observation
            measurement = Measurement(part, coding, when, reference)
            for key in keys:
                index.setdefault(key, []).append(measurement)
        if kind.missed and not _is_empty_header(observation, kind, chart):
            account.leave_open(_unplaced(observation, kind.missed, when, says.VALUE_NOT_UNDERSTOOD, chart))
    account.irrelevant[_KIND] += irrelevant
    account.placed[_KIND] += placed
    return Observed(index, answers, may_affirm)


@lru_cache(maxsize=4)
def _kinds(valuesets: ValueSets) -> Callable[[Codes], _Kind]:
    """What tells the kind of an observation by its code and those of its components, in these value sets."""
    return remembered(partial(_kind_of, valuesets))


def _kind_of(valuesets: ValueSets, codes: Codes) -> _Kind:
    coded: list[tuple[int, tuple[str, str], Sequence[str]]] = []
    indexed: set[tuple[str, str]] = set()
    for number, concept in enumerate(codes):
        for coding in concept.codes if concept is not None else ():
            keys = [key for key in valuesets.keys_of(*coding) if (key, coding[1]) not in indexed]
            if keys:
                indexed.update([(key, coding[1]) for key in keys])
                coded.append((number, coding, keys))
    known, first = concepts(valuesets), codes[0]
    may_affirm = first is not None and bool(known.members_of(first))
    if not coded:
        is_known = any(map(_is_known, codes))
        asked = known.placement(first).may_mean or frozenset() if first is not None else frozenset()
        return _Kind((), _named(codes, valuesets), is_known=is_known, asked=asked, may_affirm=may_affirm)
    sets = frozenset([key.partition("/")[0] for _, _, keys in coded for key in keys])
    return _Kind(coded, sets, *_missed(codes, sets, known), may_affirm=may_affirm)


def _is_known(concept: CodeableConcept | None) -> bool:
    return concept is not None and (
        any(character.isalnum() for words in concept.words for character in words)
        or any(is_registered(canonical_system(system)) for system, _ in concept.codes)
    )


def _missed(codes: Codes, sets: frozenset[str], known: Concepts) -> tuple[frozenset[str], bool]:
    for panel, parts in PANELS.items():
        if panel in sets:
            missed = parts - sets
            if missed == parts:
                return missed, True
            is_foreign = any(code is None or not known.members_of(code) for code in codes[1:])
            return missed if is_foreign else frozenset(), False
    return frozenset(), False


def _never_counts(observation: resources.Observation) -> bool:
    """Entered in error, cancelled, or only registered: without a result as yet."""
    status = statuses.code_of("observation", observation.status)
    if status == "registered":
        return value_of(observation) is None and not observation.component
    return status in ("entered-in-error", "cancelled")


def _why_not_placed(
    observation: resources.Observation, when: When | None, is_coded: bool, chart: Reading
) -> Said | None:
    if (changed := resources.changed_meaning(observation)) is not None:
        return changed
    if observation.focus and about(observation, chart.patient_id) == "unclear":
        return says.NOT_KNOWN_WHOSE
    if when is None:
        return says.DATE_UNREAD
    if chart.is_future(when):
        return says.READING_AHEAD
    return None if is_coded else says.CODE_NOT_KNOWN


def _unplaced(
    observation: resources.Observation, sets: frozenset[str], when: When | None, why: Said | None, chart: Reading
) -> Unplaced:
    known = when if when is not None and not chart.is_future(when) else None
    parts = ((_name(part, says.PART), value_of(part)) for part in observation.component)
    values = [says.VALUE_OF_PART(name, value) for name, value in parts if value is not None]
    value = value_of(observation) or (listed(values) if values else None)
    name, title = _name(observation, _title(sets, chart)), _title(sets, chart)
    asks = why is says.CODE_NOT_KNOWN and sets.isdisjoint(chart.valuesets.readings)
    if asks and value is None:
        said = says.COMPLAINT_IN_WORDS(says.DATED(name, on(when, chart.now)))
    else:
        said = _saying(name, when, value, why, chart)
    return Unplaced(
        kind=_KIND,
        subject="reading",
        reference=observation.reference,
        name=name if asks else title,
        says=said,
        sets=sets,
        when=known,
        urgent=not sets >= _any(chart) and is_urgent(sets),
        has_value=value is not None,
        asks=asks,
    )


def _any(chart: Reading) -> frozenset[str]:
    """Every set of readings but those of weights."""
    return chart.valuesets.readings - _WEIGHTS


def _not_named(observation: resources.Observation, chart: Reading) -> frozenset[str]:
    """The sets that a reading may be in that has no words, and a code of a system that nobody reads."""
    quantity = observation.value_quantity
    is_mass = quantity is not None and units.is_of(quantity.unit_text or "", "mass", "body_weight")
    return _any(chart) | (_WEIGHTS if is_mass else frozenset())


def panel_of(sets: Iterable[str]) -> tuple[Named, Sequence[str]] | None:
    """(title, sets of its parts in their order) of the panel of which a reading in these sets is a part."""
    found = (panel["sets"] for panel in _TABLE["panel"].values() if not set(panel["sets"]).isdisjoint(sets))
    return next(((_PANEL_TITLES[frozenset(parts)], parts) for parts in found), None)


def is_urgent(sets: Iterable[str]) -> bool:
    """Whether the clinician is warned of a reading of these sets that is not understood."""
    return not _URGENT.isdisjoint(sets)


def _title(sets: frozenset[str], chart: Reading) -> Says:
    """What a reading is, in the words of the first of its value sets; one that may be of any has none."""
    if sets >= _any(chart):
        return says.READING
    titles = (chart.valuesets[name].named for name in sorted(sets) if name in chart.valuesets)
    panel = next((title for parts, title in _PANEL_TITLES.items() if parts <= sets), None)
    return panel or next(titles, says.READING)


def _name(part: _Part, otherwise: Says = says.READING) -> Says:
    """What a reading is in its own words; a bare code says nothing to a reader."""
    return next(iter(part.code.words if part.code else ()), otherwise)


def _saying(name: Says, when: When | None, value: Says | None, why: Said | None, chart: Reading) -> Said:
    date = on(when, chart.now)
    if value is None:
        return says.READING_EMPTY_AND(name, date, why) if why else says.READING_EMPTY(name, date)
    words = in_words(value)
    return says.READING_SAYS_BUT(name, date, words, why) if why else says.READING_SAYS(name, date, words)


def _is_empty_header(observation: resources.Observation, kind: _Kind, chart: Reading) -> bool:
    """Whether it only names the observations that are its parts, and they were sent."""
    if not (kind.is_header and observation.has_member):
        return False
    if value_of(observation) is not None or observation.component:
        return False
    return all(chart.resolve(member) is not None for member in observation.has_member)


@lru_cache(maxsize=4096)
def _sets_named(text: str) -> frozenset[str]:
    text = plain(text)
    words = words_in(text)
    return frozenset(
        name
        for sets, known, yes, no in _NAMED
        if not known.isdisjoint(words) and yes.search(text) and not no.search(text)
        for name in sets
    )


def _named(codes: Codes, valuesets: ValueSets) -> frozenset[str]:
    """The sets that a reading may be in by the words of its name, or by its being called as their codes are."""
    found: frozenset[str] = frozenset()
    for concept in codes:
        for text in concept.words if concept is not None else ():
            if len(text) <= _LONGEST_NAME:
                found |= _sets_named(text) | valuesets.readings_called(text)
    return found


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


# Complaints ----------------------------------------------------------------------------------------------------


def symptoms(
    chart: Reading,
    may_affirm: Iterable[resources.Observation],
    events: Iterable[resources.AdverseEvent],
    problems: Iterable[Problem],
) -> list[Symptom]:
    """Complaints that somebody affirmed: observations, active problems, adverse events that happened.

    One whose answer or date is not known goes to the account.
    """
    found: list[Symptom] = []
    for problem in problems:
        if problem.active and problem.members:
            if problem.when is not None:
                found.append(Symptom(problem.name, problem.members, problem.when, problem.reference))
            else:
                said = says.AND_WHY(problem.name, says.BEGAN_NOT_RECORDED)
                _leave_open(chart, "Condition", problem.name, said, problem.reference, problem.members)
    for observation in chart.deadline.each(may_affirm, "chart"):
        found += _affirmed_by(observation, chart)
    for event in events:
        found += _happened(event, chart)
    return found


def _leave_open(
    chart: Reading, kind: str, name: Says, said: Says, reference: str, members: Members, when: When | None = None
) -> None:
    chart.account.leave_open(Unplaced(kind, "event", reference, name, said, frozenset(members), when))


def _affirmed_by(observation: resources.Observation, chart: Reading) -> Iterator[Symptom]:
    """What an observation says that the patient has: by its value, or by its code where the answer affirms it."""
    said = chart.members_of(observation.code)
    by_value = chart.members_of(observation.value_codeable_concept)
    if not said and not by_value:
        return
    when = _effective(observation, chart)
    if _why_not_placed(observation, when, True, chart) is not None or when is None:
        if by_value and not said:  # by its code it is in the account already
            why = _why_not_placed(observation, when, True, chart)
            chart.account.leave_open(_unplaced(observation, frozenset(by_value), when, why, chart))
        return
    is_affirmed = affirmed(observation, chart) if said else False
    if is_affirmed is None and not by_value:
        name = _name(observation, next(iter(said.values())).display)
        told = _saying(name, when, value_of(observation), says.ANSWER_NOT_KNOWN, chart)
        _leave_open(chart, _KIND, name, told, observation.reference, said, when)
    members = {**by_value, **(said if is_affirmed else {})}
    if members:
        name = _name(observation, in_words_of(members) or says.READING)
        yield Symptom(name, members, when, observation.reference)


def _complaints_in_words(kind: _Kind, observation: resources.Observation, chart: Reading) -> frozenset[str]:
    """The sets that an observation may be in by the words beside a code that nobody knows, unless it denies them."""
    sets = kind.asked
    if observation.value_codeable_concept is not None:
        sets |= _may_mean(observation.value_codeable_concept, chart)
    if observation.value_string and _asks_for_complaints(observation):
        said = _may_mean(CodeableConcept(text=observation.value_string), chart)
        return sets | said if said else sets
    return sets if sets and affirmed(observation, chart) is not False else frozenset()


def _asks_for_complaints(observation: resources.Observation) -> bool:
    """Whether an observation is called a symptom, so that its value in words is one."""
    words = observation.code.words if observation.code is not None else ()
    return any(_COMPLAINTS.search(plain(each)) for each in words if len(each) <= _LONGEST_NAME)


def _may_mean(concept: CodeableConcept | None, chart: Reading) -> frozenset[str]:
    return (chart.placement(concept).may_mean or frozenset()) if concept is not None else frozenset()


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
        roles = chart.valuesets.roles
        affirming = (roles.answer_yes, roles.answer_how_bad)
        if any(answered.holds(name, codings, words, chart.valuesets) for name in affirming):
            verdicts.add(True)
        if answered.holds(roles.answer_no, codings, words, chart.valuesets):
            verdicts.add(False)
        if not verdicts:
            return None
    if not verdicts:
        return None if part.data_absent_reason is not None else True
    return verdicts.pop() if len(verdicts) == 1 else None


def _happened(event: resources.AdverseEvent, chart: Reading) -> Iterator[Symptom]:
    status = statuses.code_of("event", event.status, event.actuality)
    members = chart.members_of(event.event)
    may_mean = frozenset(members) if members else chart.placement(event.event).may_mean
    if status in ("entered-in-error", "potential") or may_mean == frozenset():
        return
    name = name_of(event.event, members, says.NAMELESS_EVENT)
    when = chart.when(event.date) or chart.when(event.recorded_date)
    why = resources.changed_meaning(event)
    if why is None and when is None:
        why = says.DATE_UNREAD
    elif why is None and when is not None and chart.is_future(when):
        why, when = says.EVENT_AHEAD, None
    if members and why is None and when is not None:
        yield Symptom(name, members, when, event.reference)
        return
    said = says.EVENT_OF(name, on(when, chart.now), why or says.CODE_NOT_KNOWN)
    asks = not members and bool(may_mean)
    chart.account.leave_open(
        Unplaced("AdverseEvent", "event", event.reference, name, said, may_mean, when, asks=asks)
    )
