"""Our verdicts against those of a foreign engine: the same for each rule and case, or a difference is explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from cds_service.knowledge import Knowledge
from cds_service.protocol import publish
from cds_service.protocol.cql.valuesets import parts
from cds_service.protocol.parsing import parse_yaml
from cds_service.published import as_cql
from tests.oracle import engines
from tests.oracle.cases import Case, Verdict, beside
from tests.oracle.engines import ENGINES
from tests.oracle.kept import Kept, Texts
from tests.oracle.terminology import Coding, Terminology, codings
from tests.scenarios.build import NOW

DEFINITIONS = ("Fires", "Tier", "Severity")
"""What is asked of each library."""
_NAMES = {True: "fired", False: "clear", None: "could-not-tell"}


class Explained(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"cases": "scenarios"}):
    """Why verdicts differ: of whole kinds by what the chart holds (`where`), else of the scenarios that are named."""

    kind: str
    ours: list[str]
    theirs: list[str]
    where: Literal["words"] | None = None
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
    fed: Counter[str] = field(default_factory=Counter)
    """Feed -> how many."""
    explained: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(rule, kind) -> how many."""
    explained_of_feed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(feed, kind) -> how many."""
    unexplained: list[str] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    """The explanations that were needed, by their place."""
    asked: int = 0
    """How many cases the engine was asked; what it said of the others was kept."""


def differences() -> Differences:
    file = Path(__file__).with_name("differences.yaml")
    read = msgspec.convert(parse_yaml(file.read_text("utf-8"), file.name), Differences)
    assert {each.kind for each in read.explained} <= set(read.kinds), "an explanation is of a kind that is not listed"
    return read


def compare(
    cases: Iterable[tuple[Case, Sequence[str]]],
    knowledge: Knowledge,
    known: Differences,
    engine: str,
    tell: Callable[[int, int], None] = lambda done, asked: None,
) -> Comparison:
    """`cases`: each with the rules that are asked. `tell` hears of each case how many are done, and were not kept.

    Raises OracleError.
    """
    found = Comparison()
    with _Asking(knowledge, ENGINES[engine]) as asking:
        for done, (case, rules) in enumerate(cases, 1):
            answers, is_new = asking.answers(case, [rule for rule in rules if rule in case.verdicts])
            found.asked += is_new
            for rule, answer in answers.items():
                found.verdicts[rule] += 1
                found.fed[case.feed] += 1
                for difference in _differing(case.verdicts[rule], answer):
                    _explain(found, known, engine, case, rule, difference)
            tell(done, found.asked)
    return found


class _Asking:
    """The published libraries in one engine: what it said of a case before is not asked for again."""

    def __init__(self, knowledge: Knowledge, engine: engines.Engine) -> None:
        written = as_cql(knowledge, knowledge.protocol, NOW.date())
        self._library_of = {each.rule: each.name for each in written.libraries if each.rule is not None}
        self._texts = Texts(written.libraries)
        whole = publish.value_sets([knowledge.protocol])
        published = whole | parts(written.sets, whole)
        self._terminology = Terminology(published[part.id] for part in written.sets)
        self._engine = engine
        self._running = engines.Running(engine, engines.translate(written.libraries))
        self._kept = Kept(engine.name)

    def __enter__(self) -> _Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()
        self._running.close()

    def answers(self, case: Case, rules: Iterable[str]) -> tuple[dict[str, engines.Answers], bool]:
        """Rule -> what its library says, and whether the engine was asked for any."""
        library_of = {rule: self._library_of[rule] for rule in rules if rule in self._library_of}
        parameters = {"Not delivered": list(case.missing), "Order id": case.order}
        told = {"bundle": beside(case), "parameters": parameters, "now": NOW.isoformat(timespec="milliseconds")}
        sets = self._terminology.expansions(codings(case.bundle))
        digests = self._digests(library_of.values(), told, sets)
        said = self._kept.of(case.name, digests)
        if left := [name for name in library_of.values() if name not in said]:
            expanded = {url: {"1": [{"system": s, "code": c} for s, c in codes]} for url, codes in sets.items()}
            asked = told | {"libraries": left, "definitions": DEFINITIONS, "valueSets": expanded}
            answers = self._running.ask(asked)
            said |= {name: (digests[name], answers[name]) for name in left}
            self._kept.keep(case.name, said)
        return {rule: said[name][1] for rule, name in library_of.items()}, bool(left)

    def _digests(
        self, libraries: Iterable[str], told: Mapping[str, Any], sets: Mapping[str, Sequence[Coding]]
    ) -> dict[str, str]:
        """Library -> the digest of all that its answer rests on."""
        common = (self._engine.digest.encode(), engines.encode(told))
        return {
            name: self._texts.digest(
                name, *common, engines.encode({url: sets[url] for url in sorted(self._texts.value_sets[name])})
            )
            for name in libraries
        }


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
            found.explained_of_feed[case.feed, each.kind] += 1
            found.used.add(place)
            return
    found.unexplained.append(f"{rule}: ours {ours}, theirs {theirs}: {case.name}")


def idle(known: Differences, found: Mapping[str, Comparison]) -> Iterator[str]:
    """The explanations that no engine needed."""
    for place, each in enumerate(known.explained):
        if not any(place in one.used for engine, one in found.items() if each.engine in (None, engine)):
            yield f"{each.kind} {each.rules or ''} {each.cases or ''}"


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


_WHERE = {"words": _in_words}
