"""The sandbox patients with a correct order: every finding is explained, and rests on what it may rest on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cds_service.knowledge import Knowledge
from cds_service.protocol import model
from cds_service.rules.outcome import Outcome
from docs import sandbox_page
from tests import sandbox_charts
from tests.said import said
from tests.sandbox_charts import SandboxPatient
from tests.scenarios.build import NOW, RXNORM, SNOMED, concept
from tests.scenarios.coverage import parts_of
from tests.servers.ketamine_patients import in_good_health

NO_LONGER = {"resolved", "inactive", "remission", "stopped", "completed", "cancelled", "entered-in-error"}
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def patients() -> list[SandboxPatient]:
    """All thirteen."""
    found = sandbox_charts.patients()
    assert len(found) == 13
    return found


@pytest.fixture(scope="module")
def fired(patients: list[SandboxPatient], knowledge: Knowledge) -> dict[str, list[Outcome]]:
    """Patient -> what a correct order fires."""
    return {patient.label: sandbox_charts.fired(patient, knowledge) for patient in patients}


def test_every_finding_is_explained_and_every_explanation_has_its_finding(fired: dict[str, list[Outcome]]) -> None:
    found = {label: sorted(outcome.rule.id for outcome in outcomes) for label, outcomes in fired.items()}
    assert found == {label: sorted(why) for label, why in sandbox_page.reasons().items()}


def test_the_page_is_what_make_docs_would_write(patients: list[SandboxPatient], knowledge: Knowledge) -> None:
    page = sandbox_page.review(knowledge, patients)
    assert (ROOT / sandbox_page.PAGE).read_text("utf-8") == page, "run make docs"
    assert "**missing**" not in page


def test_every_fact_of_a_finding_stands_in_the_patients_own_chart(
    patients: list[SandboxPatient], fired: dict[str, list[Outcome]]
) -> None:
    for patient in patients:
        references = [fact.reference for each in fired[patient.label] for fact in each.facts if fact.reference]
        assert set(references) <= set(patient.by_reference), patient.label
    assert sum(fact.reference is not None for each in fired.values() for o in each for fact in o.facts) > 20


def test_a_foreign_chart_among_the_prefetched_changes_no_finding(
    patients: list[SandboxPatient], fired: dict[str, list[Outcome]], knowledge: Knowledge
) -> None:
    """Every patient's bundles also hold all resources of the next one: what is foreign is dropped and said."""
    for patient, other in zip(patients, [*patients[1:], patients[0]], strict=True):
        request = sandbox_charts.request(patient, knowledge.queries)
        foreign = sandbox_charts.request(other, knowledge.queries)["prefetch"]
        for key, bundle in request["prefetch"].items():
            if bundle["resourceType"] == "Bundle":
                bundle["entry"] = [*foreign[key]["entry"], *bundle["entry"]]
        found = [each for each in sandbox_charts.outcomes(request, knowledge) if each.status == "fired"]
        assert list(map(_shown, found)) == list(map(_shown, fired[patient.label])), patient.label
        told = "\n".join(f"{card.summary} {card.detail}" for card in sandbox_charts.cards(request, knowledge))
        assert "another patient" in told or " more" in told, "said, or counted where a card is full"


def _shown(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.rule.id, outcome.tier, outcome.severity, outcome.facts


def test_no_active_tier_rests_on_a_resource_that_is_no_longer_active(
    patients: list[SandboxPatient], fired: dict[str, list[Outcome]]
) -> None:
    looked_at = 0
    for patient in patients:
        for outcome in fired[patient.label]:
            if _may_be_past(outcome):
                continue
            for fact in outcome.facts:
                resource = patient.by_reference.get(fact.reference or "", {})
                if resource.get("resourceType") in ("Condition", "AllergyIntolerance", "MedicationRequest"):
                    assert _status(resource) not in NO_LONGER, (patient.label, outcome.rule.id, said(fact.says))
                    looked_at += 1
    assert looked_at > 5


def test_a_resolved_problem_raises_nothing_where_the_active_one_does(
    patients: list[SandboxPatient], fired: dict[str, list[Outcome]], knowledge: Knowledge
) -> None:
    """The same charts with every problem resolved: no tier that asks for an active one is left."""
    for patient in patients:
        closed = [_resolved(each) if each["resourceType"] == "Condition" else each for each in patient.resources]
        left = sandbox_charts.fired(SandboxPatient(patient.label, tuple(closed)), knowledge)
        resting = {fact.reference for each in left if not _may_be_past(each) for fact in each.facts}
        assert not any(str(reference).startswith("Condition/") for reference in resting), patient.label
    before = [fact.reference for each in fired.values() for o in each if not _may_be_past(o) for fact in o.facts]
    assert any(str(reference).startswith("Condition/") for reference in before)


def _resolved(condition: dict[str, Any]) -> dict[str, Any]:
    status = concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "resolved")
    return {**condition, "clinicalStatus": status, "abatementDateTime": (NOW - timedelta(days=1)).isoformat()}


def _status(resource: dict[str, Any]) -> str:
    coded = resource.get("clinicalStatus", {}).get("coding", ())
    return str(next((coding["code"] for coding in coded), resource.get("status", "")))


def _may_be_past(outcome: Outcome) -> bool:
    """Whether the tier reads problems whatever their status, by their date, or past ones."""
    conditions = [
        each for each in parts_of(sandbox_charts.tier_of(outcome).when) if isinstance(each, model.ConditionIs)
    ]
    return any(each.status != "active" for each in conditions)


# The healthy one: no folder is needed for it ----------------------------------------------------------------------


def _healthy(*more: dict[str, Any]) -> SandboxPatient:
    bundle = in_good_health(NOW)
    (url,) = [e["fullUrl"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Patient"]
    entries = [
        {"fullUrl": f"urn:uuid:more-{number}", "resource": {**resource, "subject": {"reference": url}}}
        for number, resource in enumerate(more)
    ]
    return sandbox_charts.from_transaction("in good health", {**bundle, "entry": [*bundle["entry"], *entries]})


PARACETAMOL = {
    "resourceType": "MedicationRequest",
    "status": "active",
    "intent": "order",
    "medicationCodeableConcept": concept(RXNORM, "161", "acetaminophen"),
    "authoredOn": (NOW - timedelta(hours=3)).isoformat(),
}


def test_a_healthy_patient_with_a_correct_order_monitoring_a_stop_time_and_an_adjunct_gets_no_card(
    knowledge: Knowledge,
) -> None:
    assert sandbox_charts.cards(sandbox_charts.request(_healthy(PARACETAMOL), knowledge.queries), knowledge) == []


def test_the_healthy_patient_is_looked_at_because_one_problem_more_would_interrupt(knowledge: Knowledge) -> None:
    problem = {
        "resourceType": "Condition",
        "clinicalStatus": concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
        "code": concept(SNOMED, "88805009", "Chronic congestive heart failure"),
    }
    (card,) = sandbox_charts.cards(
        sandbox_charts.request(_healthy(PARACETAMOL, problem), knowledge.queries), knowledge
    )
    assert card.indicator == "warning"
    assert card.source.topic.code == "heart-failure"
