"""The shipped severities: a changed one changes a line here too, so that nobody changes one unseen."""

from __future__ import annotations

from typing import get_args

import pytest

from cds_service.protocol import loader, model
from cds_service.terminology import valuesets

SEVERITIES: dict[str, str] = {
    "rate-exceeds-protocol-max": "warning",
    "rate-exceeds-ceiling": "critical warning",
    "rate-exceeds-context-max": "critical warning",
    "dose-exceeds-route-max": "critical warning",
    "unit-slip-suspected": "warning",
    "bolus-above-usual-load": "info",
    "bolus-exceeds-unmonitored-limit": "warning",
    "bolus-exceeds-protocol-max": "critical",
    "bolus-anaesthetic-range": "critical warning",
    "bolus-push-too-fast": "warning info",
    "depression-dose-exceeds": "critical warning",
    "depression-infusion-too-fast": "critical warning",
    "obesity-dosing-weight": "warning info",
    "uncapped-order": "warning",
    "depression-frequency-exceeded": "warning",
    "procedural-anaesthesia-out-of-protocol": "warning info",
    "indication-missing": "warning info",
    "iv-undiluted-100mg-ml": "critical warning",
    "concentration-missing": "warning",
    "route-not-in-protocol": "critical warning info",
    "age-paediatric": "critical warning",
    "age-older-adult": "warning info",
    "bp-uncontrolled": "critical",
    "bp-elevated": "warning",
    "ihd-active-or-stable": "critical warning",
    "heart-failure": "critical warning",
    "vascular-catastrophe-risk": "critical warning",
    "raised-icp": "critical warning",
    "raised-iop-globe-injury": "critical info",
    "psychosis": "critical warning",
    "liver-severe": "critical",
    "pregnancy": "critical",
    "allergy-ketamine": "critical warning",
    "duplicate-ketamine-esketamine": "critical warning info",
    "dose-given-so-far": "critical warning info",
    "breastfeeding": "warning info",
    "hyperthyroid-untreated": "critical info",
    "porphyria-acute": "critical",
    "hypotension-shock": "warning",
    "delirium-cognitive": "warning",
    "liver-moderate-labs": "warning info",
    "seizure-disorder": "info",
    "substance-use": "critical warning",
    "ketamine-cystitis": "warning",
    "nmda-antagonist-combination": "warning",
    "ddi-theophylline": "critical",
    "ddi-sympathomimetic": "critical warning info",
    "ddi-cns-depressant": "critical warning info",
    "ddi-attenuates-antidepressant": "info",
    "ddi-thyroid-antihypertensive": "info",
    "ddi-cyp": "warning info",
    "weight-missing": "critical warning",
    "weight-stale": "warning info",
    "weight-implausible": "critical warning",
    "bp-missing": "warning",
    "free-text-or-unparseable-dose": "warning",
    "allergy-list-missing": "info",
    "duration-exceeds-acute": "warning",
    "duration-missing": "info",
    "repeat-exposure-organ-checks": "info",
    "migraine-not-recommended": "warning",
    "outpatient-home-use": "warning",
    "monotherapy-no-multimodal": "warning info",
    "monitoring-order-missing": "warning info",
    "pregnancy-status-unknown": "info",
    "midazolam-dose-exceeds": "critical warning",
    "abrupt-stop-no-taper": "info",
    "ae-headache-dizziness": "warning",
    "ae-hallucination-dissociation": "warning",
    "ae-hypertension-tachycardia": "critical warning",
    "ae-red-flag-headache": "critical",
    "ae-oversedation": "critical",
    "ae-nausea": "info",
    "restart-rate-too-high": "warning",
    "nasal-esketamine-dose": "critical warning info",
    "nasal-esketamine-frequency": "warning",
    "nasal-esketamine-route": "critical",
    "nasal-esketamine-session": "info",
    "cardiac-high-risk": "warning info",
    "uterine-emergency": "critical",
    "ddi-neuromuscular": "info",
    "oxygen-low": "warning",
    "ae-emergency": "critical",
    "ae-other": "warning info",
}
"""The severities of each rule's tiers, from worst to least."""

CHANGES: dict[str, set[str]] = {
    "age-older-adult": {"none"},
    "nasal-esketamine-dose": {"none"},
    "nasal-esketamine-frequency": {"none"},
    "bolus-exceeds-unmonitored-limit": {"info"},
    "bp-uncontrolled": {"none"},
    "bp-elevated": {"info"},
    "age-paediatric": {"info"},
    "raised-icp": {"warning"},
    "raised-iop-globe-injury": {"none"},
    "weight-stale": {"none"},
    "psychosis": {"info"},
    "pregnancy": {"info"},
    "breastfeeding": {"none"},
    "hyperthyroid-untreated": {"none"},
    "seizure-disorder": {"none"},
    "substance-use": {"info"},
    "nmda-antagonist-combination": {"info"},
    "ddi-sympathomimetic": {"info"},
    "ddi-thyroid-antihypertensive": {"none"},
    "duration-exceeds-acute": {"none"},
    "outpatient-home-use": {"none"},
    "monotherapy-no-multimodal": {"none"},
    "monitoring-order-missing": {"none"},
    "pregnancy-status-unknown": {"none"},
    "midazolam-dose-exceeds": {"none"},
    "abrupt-stop-no-taper": {"none"},
    "oxygen-low": {"info"},
    "ddi-cns-depressant": {"none"},
    "ae-headache-dizziness": {"info", "none"},
    "ae-hallucination-dissociation": {"info"},
    "ae-oversedation": {"none"},
    "ae-nausea": {"none"},
}
"""What the severity becomes in the circumstances that a rule names."""


@pytest.fixture(scope="module")
def protocol() -> model.Protocol:
    return loader.load(valuesets.load())


def test_the_severities_of_every_rule_are_those_of_the_catalogue(protocol: model.Protocol) -> None:
    ours = {
        rule.id: " ".join(dict.fromkeys(tier.severity for tier in rule.tiers)) for rule in protocol.rules.values()
    }
    assert ours == SEVERITIES


def test_tiers_stand_from_worst_to_least(protocol: model.Protocol) -> None:
    worst_first = get_args(model.Severity)
    for rule in protocol.rules.values():
        ranks = [worst_first.index(tier.severity) for tier in rule.tiers]
        assert ranks == sorted(ranks), rule.id


def test_a_severity_changes_only_where_the_catalogue_says_so(protocol: model.Protocol) -> None:
    ours = {rule.id: {change.to for change in rule.changes} for rule in protocol.rules.values() if rule.changes}
    assert ours == CHANGES
