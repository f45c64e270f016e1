"""docs/sandbox-review.md: what a correct order fires in the public sandbox patients, and why that is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cds_service.knowledge import Knowledge
from cds_service.protocol.parsing import parse_yaml
from cds_service.rules.outcome import Outcome
from tests import sandbox_charts
from tests.sandbox_charts import SandboxPatient

PAGE = "docs/sandbox-review.md"
REASONS = Path(__file__).parents[1] / "tests" / "sandbox_review.yaml"

INTRODUCTION = """\
# Review on the sandbox patients

The thirteen synthetic patients of a public SMART on FHIR sandbox (Synthea, Apache-2.0), each with the same order:
{order}.

That order is right for a healthy adult, so whatever fires comes from the chart. The dates of each chart are moved to
now by whole days, as a whole. Facts and severities are written by `make docs`, where the patients are at
hand; why a finding is right was written by hand against the chart (`tests/sandbox_review.yaml`), and a test fails
where a finding has no such sentence.
"""


def reasons() -> dict[str, dict[str, str]]:
    """Patient -> rule -> why the finding is right."""
    read: dict[str, dict[str, str]] = parse_yaml(REASONS.read_text("utf-8"), REASONS.name)
    return read


def review(knowledge: Knowledge, patients: Sequence[SandboxPatient]) -> str:
    """The page. A finding without a reason is marked as missing."""
    why = reasons()
    lines = [INTRODUCTION.format(order=sandbox_charts.ordered())]
    for patient in patients:
        lines += [f"## {patient.label}\n", _holds(patient), ""]
        lines += _table(knowledge, sandbox_charts.fired(patient, knowledge), why.get(patient.label, {}))
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _holds(patient: SandboxPatient) -> str:
    problems = [each for each in patient.of("Condition") if _status(each) == "active"]
    medicines = [each for each in patient.of("MedicationRequest") if each["status"] == "active"]
    (person,) = patient.of("Patient")
    said = [
        f"{person['gender']}, born {person['birthDate']}",
        f"active problems: {_names(problems, 'code')}",
        f"active medicines: {_names(medicines, 'medicationCodeableConcept')}",
    ]
    return f"Chart of {len(patient.resources)} resources: {'; '.join(said)}."


def _status(condition: sandbox_charts.Resource) -> str:
    codings = condition.get("clinicalStatus", {}).get("coding", ())
    return next((str(coding["code"]) for coding in codings), "")


def _names(resources: Sequence[sandbox_charts.Resource], element: str) -> str:
    texts = (each[element].get("text") or each[element]["coding"][0]["display"] for each in resources)
    return ", ".join(dict.fromkeys(texts)) or "none"


def _table(knowledge: Knowledge, fired: Sequence[Outcome], why: Mapping[str, str]) -> Iterator[str]:
    said = knowledge.texts.recorded
    yield "| rule | severity | what the chart holds | why it is right |\n|---|---|---|---|"
    for outcome in fired:
        facts = "; ".join(dict.fromkeys(said(fact.says) for fact in outcome.facts)) or "nothing on record"
        severity = f"{outcome.severity} ({said(outcome.because)})" if outcome.because else outcome.severity
        name = f"[`{outcome.rule.id}`](protocol.md#{outcome.rule.id})"
        yield f"| {name} | {severity} | {facts} | {why.get(outcome.rule.id, '**missing**')} |"
