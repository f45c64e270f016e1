"""Our verdicts against those of a foreign engine: the same for each rule and case, or a difference is explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from cds_service.knowledge import Knowledge
from cds_service.protocol import publish
from cds_service.protocol.cql import Written
from cds_service.protocol.cql.valuesets import parts
from cds_service.protocol.parsing import parse_yaml
from cds_service.published import as_cql
from tests.oracle import engines
from tests.oracle.cases import Case, Verdict, beside
from tests.oracle.ordered import is_not_plain
from tests.oracle.terminology import codings, expansions
from tests.scenarios.build import NOW

Engine = Callable[[Path, Mapping[str, Any]], dict[str, engines.Answers]]
ENGINES: Mapping[str, Engine] = {"cql-execution": engines.cql_execution, "engine-fhir": engines.java_engine}
_NAMES = {True: "fired", False: "clear", None: "could-not-tell"}


class Explained(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"cases": "scenarios"}):
    """Why verdicts differ: of whole kinds by what the chart holds (`where`), else of the scenarios that are named."""

    kind: str
    ours: list[str]
    theirs: list[str]
    where: Literal["words", "dosage"] | None = None
    rules: list[str] | None = None
    engine: str | None = None
    """Of this engine alone."""
    cases: list[str] = []


class Differences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kinds: dict[str, str]
    """Kind -> the reason, a sentence. No other kind may be named."""
    explained: list[Explained]


@dataclass
class Comparison:
    """What came out for one engine."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Rule -> how many cases."""
    explained: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(rule, kind) -> how many."""
    unexplained: list[str] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    """The explanations that were needed, by their place."""


def differences() -> Differences:
    file = Path(__file__).with_name("differences.yaml")
    read = msgspec.convert(parse_yaml(file.read_text("utf-8"), file.name), Differences)
    assert {each.kind for each in read.explained} <= set(read.kinds), "an explanation is of a kind that is not listed"
    return read


def compare(
    cases: Sequence[tuple[Case, Sequence[str]]], knowledge: Knowledge, known: Differences, engine: str
) -> Comparison:
    """`cases`: each with the rules that are asked. Raises OracleError."""
    written = as_cql(knowledge, knowledge.protocol, NOW.date())
    library_of = {each.rule: each.name for each in written.libraries if each.rule is not None}
    asked = [
        (case, [rule for rule in rules if rule in library_of and rule in case.verdicts]) for case, rules in cases
    ]
    job = engines.job_of(
        (
            (case.name, beside(case), _parameters(case), [library_of[rule] for rule in rules])
            for case, rules in asked
            if rules
        ),
        written.libraries[0].name,
        _value_sets(written, knowledge, [case for case, _ in asked]),
        NOW.isoformat(timespec="milliseconds"),
    )
    answers = ENGINES[engine](engines.translate(written.libraries), job)
    found = Comparison()
    for case, rules in asked:
        for rule in rules:
            found.verdicts[rule] += 1
            for difference in _differing(case.verdicts[rule], answers[case.name][library_of[rule]]):
                _explain(found, known, engine, case, rule, difference)
    return found


def _parameters(case: Case) -> dict[str, Any]:
    return {"Not delivered": list(case.missing), "Order id": case.order}


def _value_sets(written: Written, knowledge: Knowledge, cases: Sequence[Case]) -> dict[str, list[tuple[str, str]]]:
    whole = publish.value_sets([knowledge.protocol])
    published = whole | parts(written.sets, whole)
    seen = {coding for case in cases for coding in codings(case.bundle)}
    return expansions([published[part.id] for part in written.sets], seen)


def _differing(ours: Verdict, theirs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(ours, theirs), at most one: the status, else the tier, else the severity."""
    if "error" in theirs:
        yield ours.status, f"error: {theirs['error']}"
        return
    status = _NAMES[theirs["Fires"]]
    if status != ours.status:
        yield ours.status, status
    elif status == "fired" and theirs["Tier"] != ours.tier:
        yield f"tier {ours.tier}", f"tier {theirs['Tier']}"
    elif status == "fired" and not ours.yields and theirs["Severity"] != (ours.severity or "none"):
        yield ours.severity or "none", theirs["Severity"]


def _explain(
    found: Comparison, known: Differences, engine: str, case: Case, rule: str, difference: tuple[str, str]
) -> None:
    ours, theirs = difference
    for place, each in enumerate(known.explained):
        named = not each.cases or any(case.name.startswith(f"{name} [") for name in each.cases)
        named = named and each.engine in (None, engine)
        fits = ours in each.ours and theirs in each.theirs and (each.rules is None or rule in each.rules)
        if fits and named and (each.where is None or _WHERE[each.where](case)):
            found.explained[rule, each.kind] += 1
            found.used.add(place)
            return
    found.unexplained.append(f"{rule}: ours {ours}, theirs {theirs}: {case.name}")


def _in_words(case: Case) -> bool:
    """Whether an entry of a list stands in words, or in codes that nobody knows."""
    return any(map(_stands_in_words, (entry["resource"] for entry in case.bundle["entry"])))


def _stands_in_words(resource: Mapping[str, Any]) -> bool:
    if "display" in (resource.get("medicationReference") or {}) or "valueString" in resource:
        return True
    concepts = [
        *(resource.get(name) for name in ("code", "medicationCodeableConcept", "valueCodeableConcept")),
        *(resource.get("reasonCode") or ()),
    ]
    return any(isinstance(each, dict) and not _has_known_code(each) for each in concepts)


def _has_known_code(concept: Mapping[str, Any]) -> bool:
    return any(
        str(each.get("system", "")).startswith("http") and each.get("code") for each in concept.get("coding") or ()
    )


_WHERE = {"words": _in_words, "dosage": is_not_plain}
