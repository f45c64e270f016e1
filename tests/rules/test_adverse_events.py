"""Whatever the shipped sets of unwanted effects hold is said by a rule while ketamine runs."""

from __future__ import annotations

from typing import Any

from cds_service.knowledge import Knowledge
from cds_service.terminology.valueset import ValueSet
from tests.scenarios.build import concept
from tests.scenarios.judged import endings, judge


def sets(knowledge: Knowledge) -> list[ValueSet]:
    names = [name for name in knowledge.valuesets.names() if name.startswith("ae_") or name == "adverse_events"]
    return [knowledge.valuesets[name] for name in names]


def chart(system: str, code: str) -> dict[str, Any]:
    """A chart that is opened while an infusion runs, with this code recorded an hour ago."""
    entry = {"code": concept(system, code), "onset": "1 hours ago"}
    return {"name": code, "hook": "patient-view", "patient": {"running": "0.2 mg/kg/h", "problems": [entry]}}


def test_every_member_of_the_shipped_sets_has_a_rule_that_fires(knowledge: Knowledge) -> None:
    effects = {rule.id for rule in knowledge.protocol.rules.values() if rule.category == "adverse-event"}
    tried, silent = 0, []
    for known in sets(knowledge):
        for system, member in (*known.members, *known.branches):
            tried += 1
            ended = endings(judge(chart(system, member.code), knowledge))
            if not any(each.rule in effects and each.status == "fired" for each in ended):
                silent.append(f"{known.name} {member.code} {member.display}")
    assert tried > 50
    assert silent == []
