"""Problems of a chart whose record has no clinical status: what says that one is over, and what does not."""

from typing import Any

import pytest

from cds_service.advise import explain
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge
from tests.scenarios.build import NOW, SNOMED, concept, sent

OVER: list[dict[str, Any]] = [
    {"abatementDateTime": "2025-02-01"},
    {"abatementDateTime": NOW.date().isoformat()},
    {"abatementPeriod": {"start": "2025-01-01", "end": "2025-02-01"}},
    {"abatementPeriod": {"start": "2025-01-01"}},
    {"abatementString": "some years ago"},
    {"abatementBoolean": True},
]
GOES_ON: list[dict[str, Any]] = [
    {},
    {"abatementDateTime": "2027-03-01"},
    {"abatementDateTime": "9999-12-31"},
    {"abatementDateTime": "not known"},
    {"abatementPeriod": {"start": "2027-03-01", "end": "2027-03-08"}},
    {"abatementPeriod": {"start": "2026-06-01", "end": "2027-03-08"}},
    {"abatementPeriod": {}},
    {"abatementString": "Ongoing"},
    {"abatementBoolean": False},
]
"""As the date on which a child is expected."""


def _found(knowledge: Knowledge, rule: str, code: tuple[str, str], abatement: dict[str, Any]) -> list[str | None]:
    """The severities of what fired."""
    problem = {
        "resourceType": "Condition",
        "id": "c1",
        "subject": {"reference": "Patient/p1"},
        "code": concept(SNOMED, *code),
        "onsetDateTime": "2024-05-01",
        **abatement,
    }
    conditions = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": problem}]}
    patient = {"sex": "female", "raw": {"conditions": conditions}}
    (judged,) = explain(
        sent({"order": {"rate": "0.2 mg/kg/h"}, "patient": patient}), True, knowledge, NoSource(), NOW
    )[0]
    return [each.severity for each in judged.outcomes if each.rule.id == rule and each.status == "fired"]


@pytest.mark.parametrize("abatement", GOES_ON, ids=str)
def test_a_problem_that_is_not_over_yet_counts_as_one_that_the_patient_has(
    abatement: dict[str, Any], knowledge: Knowledge
) -> None:
    assert _found(knowledge, "pregnancy", ("77386006", "Pregnancy"), abatement) == ["critical"]
    assert _found(knowledge, "psychosis", ("58214004", "Schizophrenia"), abatement) == ["critical"]


@pytest.mark.parametrize("abatement", OVER, ids=str)
def test_a_problem_that_says_when_it_was_over_is_one_of_the_past(
    abatement: dict[str, Any], knowledge: Knowledge
) -> None:
    assert _found(knowledge, "pregnancy", ("77386006", "Pregnancy"), abatement) == []
    assert _found(knowledge, "psychosis", ("58214004", "Schizophrenia"), abatement) == ["warning"]
