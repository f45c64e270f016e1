"""PlanDefinition/$apply by a program that nobody here wrote: which actions of the published plan apply to a case.

An action applies where its condition is true. Whether another's was false or null is told by the action beside it,
which applies where the rule cannot be told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cds_service.knowledge import Knowledge
from cds_service.protocol import publish
from cds_service.protocol.activities import activity_definitions
from cds_service.published import with_cql
from tests.oracle import feeds
from tests.oracle.cases import Case, Verdict
from tests.oracle.compare import Asking
from tests.oracle.engines import BUILD, Engine, Jars, encode
from tests.oracle.explained import Difference, Differences, explanation
from tests.scenarios.build import NOW
from tests.servers.process import locked

NAME = "cqf-fhir-cr"
_RECIPE = Path(__file__).parent / "java" / "apply"
_JARS = Jars(_RECIPE, BUILD / "apply")
_EVERY = 6
"""Of the scenarios one of so many: each takes a second."""
_CONDITIONS = ("Condition expression Fires ", "Condition expression Tier ")
"""How it says that a condition of ours could not be evaluated; conditions in words, of other rules, never can."""


@dataclass
class Applied:
    """What came out."""

    cases: int = 0
    verdicts: int = 0
    fired: int = 0
    """Verdicts that both sides have as fired, by the same tier."""
    untold: int = 0
    """Verdicts that neither side could tell."""
    refused: int = 0
    """Cases whose chart is no FHIR R4."""
    explained: int = 0
    """Differences that the engine behind it has as well, by differences.yaml."""
    unexplained: list[str] = field(default_factory=list)


def cases(knowledge: Knowledge) -> Iterator[Case]:
    """The sandbox patients with ordinary orders, and scenarios of each rule's own folder."""
    yield from feeds.of_sandbox(knowledge)
    own = {case.name: case for _, case in feeds.of_rules(knowledge)}
    yield from (case for name, case in own.items() if _place(name) % _EVERY == 0)


def _place(name: str) -> int:
    """By chance, and the same when others are added."""
    return hashlib.sha256(name.encode()).digest()[0]


def apply(cases: Iterable[Case], knowledge: Knowledge, known: Differences) -> Applied:
    """The actions of the plan held against our verdicts, for every rule that CQL says. Raises OracleError."""
    found = Applied()
    engine = Engine(NAME, lambda _: _JARS.command("Apply", _published(knowledge)), (_RECIPE / "Apply.java",))
    with Asking(knowledge, engine) as asking:
        for case in cases:
            rules = [rule for rule in case.verdicts if rule in asking.library_of]
            answer = asking.running.ask(asking.question(case, rules))
            found.cases += 1
            if "refused" in answer:
                found.refused += 1
                continue
            for issue in _failed(answer):
                found.unexplained.append(f"{issue}: {case.name}")
            for rule in rules:
                _hold(found, known, rule, case, answer.get("actions", {}), asking)
    return found


def _failed(answer: Mapping[str, Any]) -> Iterator[str]:
    if "actions" not in answer:
        yield "no answer"
    yield from (each for each in answer.get("issues", ()) if each.startswith(_CONDITIONS))


def _hold(
    found: Applied, known: Differences, rule: str, case: Case, actions: Mapping[str, list[str]], asking: Asking
) -> None:
    ours = case.verdicts[rule]
    found.verdicts += 1
    said = differing(rule, ours, actions)
    if said is None:
        found.fired += ours.status == "fired"
        found.untold += ours.status == "could-not-tell"
        return
    # The engine behind it is that of engine-fhir, and says otherwise for the same reasons.
    same = Difference("engine-fhir", case, asking.library_of[rule], *said, asking.systems)
    if explanation(known, same):
        found.explained += 1
    else:
        found.unexplained.append(str(same))


def differing(rule: str, ours: Verdict, actions: Mapping[str, list[str]]) -> tuple[str, str] | None:
    """(ours, theirs); None where both are the same. Of the tiers the first that applies counts."""
    is_untold = publish.untold_action(rule) in actions
    theirs = "fired" if rule in actions else "could-not-tell" if is_untold else "clear"
    if ours.status != theirs or (rule in actions and is_untold):
        return ours.status, "both" if rule in actions and is_untold else theirs
    if theirs != "fired":
        return None
    tier = next(iter(actions[rule]), "").removeprefix(f"{rule}.")
    return None if tier == ours.tier else (f"tier {ours.tier}", f"tier {tier}")


def _published(knowledge: Knowledge) -> Path:
    """The plan, its libraries and its activities in one Bundle, as they are served."""
    published, written = with_cql(knowledge, knowledge.protocol, NOW.date())
    resources = [publish.plan_definition(published), *activity_definitions(published)]
    resources += [publish.cql_library(published, each.name, each.text, each.depends_on) for each in written.libraries]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": each} for each in resources]}
    file = BUILD / "apply" / "published.json"
    with locked(BUILD):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(bundle))
    return file
