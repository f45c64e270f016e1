"""Why an engine may say otherwise: the kinds of differences.yaml, each as narrow as what the chart holds allows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from cds_service.protocol.cql import Library
from cds_service.protocol.parsing import parse_yaml
from tests.oracle.cases import Case
from tests.oracle.ordered import (
    has_known_code,
    has_reason_that_no_code_tells,
    is_not_evenly_timed,
    is_not_plain,
    order_of,
)


class Explained(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"cases": "scenarios"}):
    """Why verdicts differ: of whole kinds by what the chart holds (`where`), else of the scenarios that are named."""

    kind: str
    ours: list[str]
    theirs: list[str]
    where: Literal["words", "unsaid", "dosage", "doubted", "timing", "reason"] | None = None
    rules: list[str] | None = None
    engine: str | None = None
    """Of this engine alone."""
    cases: list[str] = []


class Differences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kinds: dict[str, str]
    """Kind -> the reason, a sentence. No other kind may be named."""
    explained: list[Explained]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the oracle found wrong, on whichever side, and what was done."""

    side: str
    fault: str
    done: str


@dataclass(frozen=True)
class Difference:
    """A verdict that is not the same: the status, else the tier, else the severity."""

    engine: str
    case: Case
    library: Library
    """Of the rule."""
    ours: str
    theirs: str
    systems: frozenset[str]
    """The code systems that the value sets use."""

    def __str__(self) -> str:
        return f"{self.library.rule}: ours {self.ours}, theirs {self.theirs}: {self.case.name}"


Use = tuple[int, str]
"""The place of an explanation in the file, and the scenario by which it held, if it names any."""


def differences() -> Differences:
    file = Path(__file__).with_name("differences.yaml")
    read = msgspec.convert(parse_yaml(file.read_text("utf-8"), file.name), Differences)
    assert {each.kind for each in read.explained} <= set(read.kinds), "an explanation is of a kind that is not listed"
    return read


def faults() -> list[Fault]:
    file = Path(__file__).with_name("faults.yaml")
    return msgspec.convert(parse_yaml(file.read_text("utf-8"), file.name), list[Fault])


def explanation(known: Differences, difference: Difference) -> Use | None:
    """The first that holds."""
    for place, each in enumerate(known.explained):
        scenario = next((name for name in each.cases if name in difference.case.scenarios), "")
        if (
            difference.ours in each.ours
            and difference.theirs in each.theirs
            and each.engine in (None, difference.engine)
            and (each.rules is None or difference.library.rule in each.rules)
            and (scenario or not each.cases)
            and (each.where is None or _WHERE[each.where](difference))
        ):
            return place, scenario
    return None


def idle(known: Differences, used: Iterable[Use]) -> Iterator[str]:
    """The explanations, and scenarios of theirs, that nothing needed."""
    needed = set(used)
    for place, each in enumerate(known.explained):
        for name in each.cases or [""]:
            if (place, name) not in needed:
                yield f"{each.kind} {each.rules or ''} {name}"


# What a chart holds -------------------------------------------------------------------------------------------

_OF_ORDER = ("Order codes", "Order reasons", 'Dosage."Drug"', 'Dosage."Is labelled"', 'Dosage."Is by"')
"""Names by which a library reads the order itself."""
_READ = {
    "Condition": ("Problems", "Complaints", "Order reasons", "M.reasons", "[Condition"),
    "AllergyIntolerance": ("Allergies", "[AllergyIntolerance"),
    "Procedure": ("Procedures", "[Procedure", "Services"),
    "Observation": ("readings", "Complaints", "Nameless"),
    "AdverseEvent": ("Complaints",),
    "MedicationRequest": ("Medicines", "What was given", "So many"),
    "MedicationStatement": ("Medicines", "What was given", "So many"),
    "MedicationAdministration": ("Medicines", "What was given", "So many"),
    "Medication": ("Medicines", "What was given", "So many"),
    "Encounter": ("Setting",),
    "Location": ("Setting",),
    "ServiceRequest": ("Services",),
}
"""Type of resource -> the names in the text of a library by which it reads such ones."""


def _in_words(difference: Difference) -> bool:
    """Whether an entry that the rule reads stands in words, or in codes that nobody knows."""
    body = difference.library.text.partition("context Patient")[2]
    read = {kind for kind, names in _READ.items() if any(name in body for name in names)}
    resources = [entry["resource"] for entry in difference.case.bundle["entry"]]
    looked_at = [each for each in (*resources, *_contained(resources)) if each.get("resourceType") in read]
    if any(name in body for name in _OF_ORDER):
        looked_at += _of_order(difference.case, resources)
    return any(_stands_in_words(each, difference.systems) for each in looked_at)


def _contained(resources: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for resource in resources:
        yield from (each for each in resource.get("contained") or () if isinstance(each, dict))


def _of_order(case: Case, resources: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The order that is judged, its route, and the medication that it points to."""
    order = order_of(case)
    routes = ({"resourceType": "route", "code": each.get("route")} for each in order.get("dosageInstruction") or ())
    named = (order.get("medicationReference") or {}).get("reference", "")
    products = (each for each in resources if named and named == f"Medication/{each.get('id')}")
    return [order, *_contained([order]), *products, *routes] if order else []


def _stands_in_words(resource: Mapping[str, Any], systems: Collection[str]) -> bool:
    if "display" in (resource.get("medicationReference") or {}) or "valueString" in resource:
        return True
    if resource["resourceType"] == "Medication":
        # One that is known tells what the product is, unless something else in it stands in words.
        items = [
            each["itemCodeableConcept"] for each in resource.get("ingredient") or () if "itemCodeableConcept" in each
        ]
        told = [has_known_code(each, systems) for each in items] or [
            has_known_code(resource.get("code") or {}, systems)
        ]
        return not all(told)
    concepts = [
        *(resource.get(name) for name in ("code", "medicationCodeableConcept", "valueCodeableConcept", "event")),
        *(resource.get("reasonCode") or ()),
    ]
    return any(isinstance(each, dict) and not has_known_code(each, systems) for each in concepts)


def _is_unsaid(difference: Difference) -> bool:
    """Whether our severity is what a change makes of it that the library does not say."""
    return any(each.startswith(f"to {difference.ours}, ") for each in difference.library.unsaid)


def _has_no_plain_dose(difference: Difference) -> bool:
    return is_not_plain(difference.case)


def _is_not_evenly_timed(difference: Difference) -> bool:
    return is_not_evenly_timed(difference.case)


def _has_unclear_reason(difference: Difference) -> bool:
    return has_reason_that_no_code_tells(difference.case, difference.systems)


def _has_doubted_weight(difference: Difference) -> bool:
    """As the service's own rule on it says."""
    return difference.case.verdicts[_DOUBTED].status == "fired"


_DOUBTED = "weight-implausible"
_WHERE: Mapping[str, Callable[[Difference], bool]] = {
    "words": _in_words,
    "unsaid": _is_unsaid,
    "dosage": _has_no_plain_dose,
    "timing": _is_not_evenly_timed,
    "reason": _has_unclear_reason,
    "doubted": _has_doubted_weight,
}
