"""Our verdicts against those of a foreign engine: the same for each rule and case, or a difference is explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cds_service.knowledge import Knowledge
from cds_service.protocol import published_sets
from cds_service.protocol.cql.valuesets import parts
from cds_service.published import as_cql
from tests.oracle import engines
from tests.oracle.cases import Case, Verdict, beside
from tests.oracle.engines import ENGINES
from tests.oracle.explained import Difference, Differences, Use, explanation
from tests.oracle.kept import Kept, Texts
from tests.oracle.terminology import Coding, Terminology, codings
from tests.scenarios.build import NOW

DEFINITIONS = ("Fires", "Tier", "Severity")
"""What is asked of each library."""
_REFUSED = "HAPI-"
"""How the parser of engine-fhir begins where a chart is no FHIR R4."""
_NAMES = {True: "fired", False: "clear", None: "could-not-tell"}


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
    used: set[Use] = field(default_factory=set)
    asked: int = 0
    """How many cases the engine was asked; what it said of the others was kept."""

    def differ(self, known: Differences, difference: Difference) -> None:
        """Count a difference by its kind, or as one that nothing explains."""
        use = explanation(known, difference)
        if use is None:
            self.unexplained.append(str(difference))
            return
        kind = known.explained[use[0]].kind
        self.explained[str(difference.library.rule), kind] += 1
        self.explained_of_feed[difference.case.feed, kind] += 1
        self.used.add(use)


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
    with Asking(knowledge, ENGINES[engine]) as asking:
        for done, (case, rules) in enumerate(cases, 1):
            answers, is_new = asking.answers(case, [rule for rule in rules if rule in case.verdicts])
            found.asked += is_new
            for rule, answer in answers.items():
                found.verdicts[rule] += 1
                found.fed[case.feed] += 1
                for ours, theirs in differing(case.verdicts[rule], answer):
                    found.differ(
                        known, Difference(engine, case, asking.library_of[rule], ours, theirs, asking.systems)
                    )
            tell(done, found.asked)
    return found


class Asking:
    """The published libraries in one engine: what it said of a case before is not asked for again."""

    def __init__(self, knowledge: Knowledge, engine: engines.Engine) -> None:
        written = as_cql(knowledge, knowledge.protocol, NOW.date())
        self.library_of = {each.rule: each for each in written.libraries if each.rule is not None}
        self._texts = Texts(written.libraries)
        whole = published_sets.value_sets([knowledge.protocol])
        published = whole | parts(written.sets, whole)
        self._terminology = Terminology(published[part.id] for part in written.sets)
        self.systems = self._terminology.systems
        self._engine = engine
        self.running = engines.Running(engine, engines.translate(written.libraries))
        self._kept = Kept(engine.name)

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()
        self.running.close()

    def answers(self, case: Case, rules: Iterable[str]) -> tuple[dict[str, engines.Answers], bool]:
        """Rule -> what its library says, and whether the engine was asked for any."""
        library_of = {rule: self.library_of[rule].name for rule in rules if rule in self.library_of}
        told, sets = self._told(case)
        digests = self._digests(library_of.values(), told, sets)
        said = self._kept.of(case.name, digests)
        if left := [name for name in library_of.values() if name not in said]:
            answers = self.running.ask(_question(told, sets, left))
            said |= {name: (digests[name], answers[name]) for name in left}
            self._kept.keep(case.name, said)
        return {rule: said[name][1] for rule, name in library_of.items()}, bool(left)

    def question(self, case: Case, rules: Iterable[str]) -> dict[str, Any]:
        """What the engine is asked of a case, whether it was asked before or not."""
        told, sets = self._told(case)
        return _question(told, sets, [self.library_of[rule].name for rule in rules if rule in self.library_of])

    def _told(self, case: Case) -> tuple[dict[str, Any], dict[str, list[Coding]]]:
        """What is told of a case, and of each value set the codes that the case holds."""
        parameters = {"Not delivered": list(case.missing), "Order id": case.order}
        told = {"bundle": beside(case), "parameters": parameters, "now": NOW.isoformat(timespec="milliseconds")}
        return told, self._terminology.expansions(codings(case.bundle))

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


def _question(
    told: Mapping[str, Any], sets: Mapping[str, Sequence[Coding]], libraries: Sequence[str]
) -> dict[str, Any]:
    expanded = {url: {"1": [{"system": s, "code": c} for s, c in codes]} for url, codes in sets.items()}
    return {**told, "libraries": libraries, "definitions": DEFINITIONS, "valueSets": expanded}


def differing(ours: Verdict, theirs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(ours, theirs), at most one: the status, else the tier, else the severity."""
    if "error" in theirs:
        yield ours.status, "refused" if theirs["error"].startswith(_REFUSED) else "error"
        return
    status = _NAMES[theirs["Fires"]]
    if status != ours.status:
        yield ours.status, status
    elif status == "fired" and theirs["Tier"] != ours.tier:
        yield f"tier {ours.tier}", f"tier {theirs['Tier']}"
    elif status == "fired" and not ours.yields and theirs["Severity"] != (ours.severity or "none"):
        yield ours.severity or "none", theirs["Severity"]
