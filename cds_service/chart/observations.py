"""The observations of a chart: values by value set, newest first, and complaints that somebody affirmed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cds_service.chart.facts import Measurement, Members, Problem, Symptom
from cds_service.chart.reading import Reading
from cds_service.fhir import resources
from cds_service.fhir.dates import When
from cds_service.fhir.records import Records

_Part = resources.Observation | resources.ObservationComponent
_Coded = list[tuple[_Part, tuple[str, str], Members]]

_USABLE = frozenset({"final", "amended", "corrected", "preliminary", None})


def by_set(chart: Reading, records: Records) -> Mapping[str, list[Measurement]]:
    """By value set, and by set and group (obs_thyroid/tsh), newest first."""
    index: dict[str, list[Measurement]] = {}
    for observation in records.of(resources.Observation):
        chart.deadline.check("chart")
        if observation.status in _USABLE and (coded := _coded_parts(observation, chart)):
            when = _effective(observation, chart)
            if when is None:
                chart.note(f"an observation without a readable date was left out ({observation.reference})")
            elif chart.is_future(when):
                chart.note(f"an observation dated in the future was left out ({observation.reference})")
            else:
                _index(coded, when, observation.reference, index)
    for found in index.values():
        found.sort(key=lambda m: m.when.latest, reverse=True)
    return index


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


def symptoms(chart: Reading, records: Records, problems: Iterable[Problem]) -> list[Symptom]:
    """Complaints that somebody affirmed: observations, active problems, adverse events that happened."""
    found = [Symptom(p.name, p.members, p.when, p.reference) for p in problems if p.active and p.when is not None]
    for observation in records.of(resources.Observation):
        members = _affirmed(observation, chart) if observation.status in _USABLE else {}
        when = _effective(observation, chart) if members else None
        if when is not None and not chart.is_future(when):
            name = (observation.code.name if observation.code else None) or "finding"
            found.append(Symptom(name, members, when, observation.reference))
    for event in records.of(resources.AdverseEvent):
        when = chart.when(event.date) or chart.when(event.recorded_date)
        if event.event and event.actuality != "potential" and when and not chart.is_future(when):
            name = event.event.name or "adverse event"
            found.append(Symptom(name, chart.members([event.event]), when, event.reference))
    return found


def _affirmed(observation: resources.Observation, chart: Reading) -> Members:
    """What an observation says that the patient has: by its value, or by its code where no value denies it."""
    answer = observation.value_codeable_concept
    said = chart.members([observation.code])
    if answer is None and not said:
        return said
    found = dict(chart.members([answer]))
    codings = answer.codes if answer else ()
    score = observation.value_quantity.value if observation.value_quantity else observation.value_integer
    denied = (
        observation.value_boolean is False
        or bool(chart.valuesets.member("ans_negative", codings))
        or (score is not None and not score)
    )
    if denied or (answer is not None and not chart.valuesets.member("ans_positive", codings)):
        return found
    if observation.value_string is None:
        found |= said
    return found
