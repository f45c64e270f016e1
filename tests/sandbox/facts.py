"""What the service says of a patient, held against what plain queries find: each comparison is counted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cds_service.cards.model import EXTENSION
from cds_service.chart.chart import Chart
from cds_service.fhir import resources
from cds_service.fhir.queries import Query
from cds_service.fhir.records import Records
from tests.sandbox.plain import PlainChart, Resource

KILOGRAMS = {
    "kg": Fraction(1),
    "g": Fraction(1, 1000),
    "[lb_av]": Fraction("0.45359237"),
    "lb": Fraction("0.45359237"),
}
"""Of the units in which a weight is written, by UCUM code or word."""
_ACTIVE = {"active", "recurrence", "relapse"}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d)?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_IN_JSON = re.compile(r'"(\d{4}-\d\d-\d\d(?:T[^"]*)?)"')


class Differences(list[str]):
    """What is not as it is on the server, and how much was compared."""

    compared = 0

    def hold(self, is_so: bool, says: str) -> None:
        self.compared += 1
        if not is_so:
            self.append(says)


# Lists -------------------------------------------------------------------------------------------------------------


def of_lists(read: Records, plain: PlainChart, queries: Sequence[Query]) -> Differences:
    """Every list that the service fetched: nothing foreign in it, and nothing missing without a reason said."""
    found = Differences()
    for query in queries:
        got = {each.reference for each in read.of(kind_of(query))}
        for reference in got:
            found.hold(reference in plain.resources, f"{query.key}: {reference} is not the patient's")
        if query.key in read.gaps or not query.is_search:
            continue
        for each in plain.expected(query):
            reference = f"{each['resourceType']}/{each['id']}"
            found.hold(reference in got, f"{query.key}: {reference} was not read, and nothing says so")
    for observation in read.of(resources.Observation):
        quantity = observation.value_quantity
        written = plain.resources.get(observation.reference, {}).get("valueQuantity", {}).get("value")
        if quantity is not None and written is not None:
            found.hold(quantity.value == written, f"{observation.reference}: {quantity.value} for {written}")
    return found


def kind_of(query: Query) -> type[resources.Resource]:
    """What the service reads the answer to a query as."""
    kind: type[resources.Resource] = getattr(resources, query.type)
    return kind


def of_chart(chart: Chart, plain: PlainChart) -> Differences:
    """Weights, problems, allergies and medicines as the service understands them."""
    found = Differences()
    for weight in chart.weights:
        kilograms = _kilograms(plain.resources.get(weight.reference, {}))
        if weight.kg is not None and kilograms is not None:
            found.hold(abs(weight.kg - kilograms) < Fraction(1, 10**6), f"{weight.reference}: {weight.kg} kg")
    for problem in chart.problems:
        written = plain.resources.get(problem.reference, {})
        statuses = _codes(written.get("clinicalStatus"))
        if statuses:
            found.hold(problem.active is bool(statuses & _ACTIVE), f"{problem.reference}: {statuses}")
        found.hold(_is_named(problem.name, written), f"{problem.reference}: {problem.name}")
    for allergy in chart.allergies:
        written = plain.resources.get(allergy.reference, {})
        found.hold(not _codes(written.get("clinicalStatus")) - {"active"}, f"{allergy.reference}: not active")
        found.hold(_is_named(allergy.name, written), f"{allergy.reference}: {allergy.name}")
    for medicine in chart.medicines:
        written = plain.resources.get(medicine.reference, {})
        found.hold(medicine.status == written.get("status"), f"{medicine.reference}: {medicine.status}")
    return found


def _kilograms(observation: Resource) -> Fraction | None:
    quantity = observation.get("valueQuantity", {})
    factor = KILOGRAMS.get(quantity.get("code")) or KILOGRAMS.get(quantity.get("unit"))
    return Fraction(quantity["value"]) * factor if factor and "value" in quantity else None


def _codes(concept: Any) -> set[str]:
    return {str(coding.get("code")) for coding in (concept or {}).get("coding", ())}


def _is_named(name: str, resource: Resource) -> bool:
    """Whether it bears that name; one without words of its own may bear any."""
    concept = resource.get("code", {})
    words = [concept.get("text"), *(coding.get("display") for coding in concept.get("coding", ()))]
    known = [each for each in words if each]
    return not known or any(
        _squeezed(each) in _squeezed(name) or _squeezed(name) in _squeezed(each) for each in known
    )


def _squeezed(text: str) -> str:
    return re.sub(r"\W+", " ", text).casefold().strip()


# Cards -------------------------------------------------------------------------------------------------------------


def of_cards(
    answer: Mapping[str, Any], facts: Mapping[str, str | None], plain: PlainChart, codes: frozenset[str]
) -> Differences:
    """Each fact on the cards and in their extensions. `facts` are all that a rule found, with their resource.

    `codes` are those of a body weight; without them the weight need not be the newest.
    """
    found = Differences()
    written = list(_moments(plain.resources))
    for card in answer["cards"]:
        detail = card.get("detail", "")
        for moment in _MOMENT.findall(detail):
            found.hold(_as_shown(moment) in written, f"{card['summary']}: {moment} stands nowhere in the chart")
        for says, reference in facts.items():
            if says in detail and reference and reference in plain.resources:
                found.hold(*_stands_in(says, plain.resources[reference]))
        weight = card.get("extension", {}).get(EXTENSION, {}).get("weight")
        if weight and weight["kg"] is not None:
            kilograms = _kilograms(plain.resources.get(weight["reference"], {}))
            shown = Fraction(weight["kg"])
            found.hold(kilograms is not None and abs(shown - kilograms) < Fraction(1, 10), f"{weight}: {kilograms}")
            if codes:
                found.hold(weight["reference"] in _newest(plain, codes), f"{weight} is not the newest weight")
    return found


def _newest(plain: PlainChart, codes: frozenset[str]) -> set[str]:
    """The newest weights of the chart; more than one where they were taken at the same time."""
    weights = {
        f"Observation/{each['id']}": _utc(str(each.get("effectiveDateTime", "")))
        for each in plain.of("Observation")
        if any(code in codes for code in _codes(each.get("code"))) and "valueQuantity" in each
    }
    newest = max(weights.values(), default="")
    return {reference for reference, when in weights.items() if when == newest}


def _stands_in(says: str, resource: Resource) -> tuple[bool, str]:
    """(whether dates, and of an observation the figures, are those of the resource, what to say where not)."""
    moments = set(_moments(resource))
    dates = [_as_shown(each) for each in _MOMENT.findall(says)]
    is_so = all(each in moments for each in dates)
    if resource["resourceType"] == "Observation":
        figures = [Decimal(each) for each in _NUMBER.findall(json.dumps(resource, default=str))]
        is_so = is_so and all(_is_among(each, figures) for each in _NUMBER.findall(_MOMENT.sub("", says)))
    return is_so, f"{says!r} is not what {resource['resourceType']}/{resource['id']} says"


def _is_among(shown: str, figures: Sequence[Decimal]) -> bool:
    """Whether a figure, rounded as it is shown, is one of these."""
    step = Decimal(1).scaleb(-len(shown.partition(".")[2]))
    return any(abs(each - Decimal(shown)) <= step / 2 for each in figures)


def _moments(value: Any) -> Iterator[str]:
    """Every date of a resource as a card would show it: in UTC, to the minute, and as a date alone."""
    for text in _IN_JSON.findall(json.dumps(value, default=str)):
        yield from {text[:10], _utc(text), _utc(text)[:10]}


def _utc(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    if "T" not in text:
        return text
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _as_shown(text: str) -> str:
    return text.replace("T", " ")
