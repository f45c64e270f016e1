"""The observations of a chart: values by value set, newest first, and complaints that somebody affirmed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from cds_service import units
from cds_service.chart.account import Unplaced, in_words
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
from cds_service.chart.kinds import (
    SUMS,
    TOTALS,
    WEIGHTS,
    Codes,
    Kind,
    asks_for_complaints,
    is_urgent,
    kinds_in,
    title_of_panel,
)
from cds_service.chart.reading import Reading
from cds_service.fhir import resources, statuses
from cds_service.fhir.datatypes import CodeableConcept, Coding
from cds_service.fhir.dates import When
from cds_service.fhir.meaning import changed_meaning
from cds_service.fhir.records import Records, about
from cds_service.says import Said, Says, listed
from cds_service.says import entries as says
from cds_service.terminology import answers as answered
from cds_service.terminology.valuesets import ValueSets

_Part = resources.Observation | resources.ObservationComponent

_KIND = "Observation"
_AT_ONCE = 16
"""So many are read between two looks at the deadline: they take a ten-thousandth of a second."""


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
    kinds: dict[Codes, Kind] = {}
    kind_of = kinds_in(chart.valuesets)
    answers: list[CodeableConcept] = []
    may_affirm: list[resources.Observation] = []
    account = chart.account
    open_parts: list[tuple[Unplaced, str]] = []
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
            total = next((TOTALS[name] for name in sets if name in TOTALS), None)
            if total is None:
                account.leave_open(_unplaced(observation, sets, when, why, chart))
            else:
                open_parts.append((_unplaced(observation, sets | {total}, when, why, chart), total))
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
    for total, parts in SUMS.items():
        _add_up(total, parts, index, chart)
    known = {total: {each.when for each in index.get(total, ())} for total in SUMS}
    for entry, total in open_parts:
        if entry.when in known[total]:  # what it would have added to is known
            account.irrelevant[_KIND] += 1
        else:
            account.leave_open(entry)
    return Observed(index, answers, may_affirm)


def _add_up(total: str, parts: Sequence[str], index: dict[str, list[Measurement]], chart: Reading) -> None:
    """Add to the readings of `total` the sums of those parts that are of one moment; the account gets the others."""
    by_moment: dict[When, dict[str, Measurement]] = {}
    for part in parts:
        for measurement in index.get(part, ()):
            by_moment.setdefault(measurement.when, {}).setdefault(part, measurement)
    added = {each.when for each in index.get(total, ())}
    for when, found in by_moment.items():
        if when in added or total not in chart.valuesets:
            continue
        first = next(iter(found.values()))
        numbers = [number for each in found.values() if (number := _score(each)) is not None]
        if len(numbers) == len(parts):
            system, member = chart.valuesets[total].members[-1]
            code = CodeableConcept(coding=(Coding(system=system, code=member.code, display=member.display),))
            summed = resources.ObservationComponent(code=code, value_integer=sum(numbers))
            index.setdefault(total, []).append(Measurement(summed, (system, member.code), when, first.reference))
            continue
        title = chart.valuesets[total].named
        values = [
            says.VALUE_OF_PART(_name(each.part, says.PART), value)
            for each in found.values()
            if (value := value_of(each.part)) is not None
        ]
        said = _saying(title, when, listed(values) if values else None, says.PARTS_MISSING, chart)
        sets = frozenset({total})
        chart.account.leave_open(Unplaced(_KIND, "reading", first.reference, title, said, sets, when))


def _score(measurement: Measurement) -> int | None:
    """A whole number without a unit; None for any other value."""
    quantity = measurement.quantity
    if quantity is None:
        return measurement.number
    is_plain = quantity.comparator is None and units.is_of(quantity.unit_text or "1", "dimensionless")
    whole = quantity.value is not None and quantity.value == int(quantity.value)
    return int(quantity.value) if is_plain and whole and quantity.value is not None else None


def _never_counts(observation: resources.Observation) -> bool:
    """Entered in error, cancelled, or only registered: without a result as yet."""
    status = statuses.code_of("observation", observation.status)
    if status == "registered":
        return value_of(observation) is None and not observation.component
    return status in ("entered-in-error", "cancelled")


def _why_not_placed(
    observation: resources.Observation, when: When | None, is_coded: bool, chart: Reading
) -> Said | None:
    if (changed := changed_meaning(observation)) is not None:
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
    title = _title(sets, chart.valuesets)
    name = _name(observation, title)
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
        urgent=not sets >= _any(chart.valuesets) and is_urgent(sets),
        has_value=value is not None,
        asks=asks,
    )


@lru_cache(maxsize=4)
def _any(valuesets: ValueSets) -> frozenset[str]:
    """Every set of readings but those of weights."""
    return valuesets.readings - WEIGHTS


def _not_named(observation: resources.Observation, chart: Reading) -> frozenset[str]:
    """The sets that a reading may be in that has no words, and a code of a system that nobody reads."""
    quantity = observation.value_quantity
    is_mass = quantity is not None and units.is_of(quantity.unit_text or "", "mass", "body_weight")
    return _any(chart.valuesets) | (WEIGHTS if is_mass else frozenset())


@lru_cache(maxsize=256)
def _title(sets: frozenset[str], valuesets: ValueSets) -> Says:
    """What a reading is, in the words of the first of its value sets; one that may be of any has none."""
    if sets >= _any(valuesets):
        return says.READING
    titles = (valuesets[name].named for name in sorted(sets) if name in valuesets)
    return title_of_panel(sets) or next(titles, says.READING)


def _name(part: _Part, otherwise: Says = says.READING) -> Says:
    """What a reading is in its own words; a bare code says nothing to a reader."""
    return next(iter(part.code.words if part.code else ()), otherwise)


def _saying(name: Says, when: When | None, value: Says | None, why: Said | None, chart: Reading) -> Said:
    date = on(when, chart.now)
    if value is None:
        return says.READING_EMPTY_AND(name, date, why) if why else says.READING_EMPTY(name, date)
    words = in_words(value)
    return says.READING_SAYS_BUT(name, date, words, why) if why else says.READING_SAYS(name, date, words)


def _is_empty_header(observation: resources.Observation, kind: Kind, chart: Reading) -> bool:
    """Whether it only names the observations that are its parts, and they were sent."""
    if not (kind.is_header and observation.has_member):
        return False
    if value_of(observation) is not None or observation.component:
        return False
    return all(chart.resolve(member) is not None for member in observation.has_member)


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


def _complaints_in_words(kind: Kind, observation: resources.Observation, chart: Reading) -> frozenset[str]:
    """The sets that an observation may be in by the words beside a code that nobody knows, unless it denies them."""
    sets = kind.asked
    if observation.value_codeable_concept is not None:
        sets |= _may_mean(observation.value_codeable_concept, chart)
    if observation.value_string and asks_for_complaints(observation):
        said = _may_mean(CodeableConcept(text=observation.value_string), chart)
        return sets | said if said else sets
    return sets if sets and affirmed(observation, chart) is not False else frozenset()


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
    why = changed_meaning(event)
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
