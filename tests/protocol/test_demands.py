"""What literature and labels ask beyond the two source documents is carried by a rule, or says why not."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.folders import CARDS
from cds_service.knowledge import Knowledge
from cds_service.protocol.parsing import parse_yaml

FILE = CARDS / "ketamine" / "demands.yaml"
DEMANDS: dict[str, dict[str, Any]] = parse_yaml(FILE.read_text("utf-8"), FILE.name)


def test_there_are_as_many_as_the_review_of_the_sources_found() -> None:
    assert len(DEMANDS) == 32


@pytest.mark.parametrize("name", DEMANDS)
def test_a_demand_is_carried_by_rules_that_exist_or_says_why_not(name: str, knowledge: Knowledge) -> None:
    demand = DEMANDS[name]
    assert demand.keys() <= {"asks", "rules", "why not"}
    assert demand["asks"].strip()
    assert set(demand.get("rules", ())) <= set(knowledge.protocol.rules)
    assert demand.get("rules") or demand["why not"].strip()
