"""A second drug is a folder: lidocaine beside ketamine, loaded by its setting, without a line of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cds_service.knowledge import Knowledge, load
from tests.scenarios.build import of_protocol
from tests.scenarios.judged import judge
from tests.scenarios.test_scenarios import check

LIDOCAINE = Path("examples/protocols/lidocaine")


@pytest.fixture(scope="module")
def both() -> Knowledge:
    """Ketamine and lidocaine."""
    return load(protocols=[str(LIDOCAINE)])


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(scenario, id=f"{rule}: {scenario['name']}") for rule, scenario in of_protocol(LIDOCAINE)],
)
def test_a_scenario_of_the_second_drug(scenario: dict[str, Any], both: Knowledge) -> None:
    check(scenario, judge(scenario, both))
