"""The shipped numbers: a changed limit or severity changes a line here too, so that nobody changes one unseen.

The tables are the defaults of the clinical evidence (sections 4a, 4c and 5d).
"""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

import pytest

from cds_service import units
from cds_service.protocol import loader, model
from cds_service.protocol.limits import Limits
from cds_service.terminology import valuesets

Numbers = str | list[str]

DOSE: dict[str, tuple[Numbers, str]] = {
    "rate-warn": ("0.5", "mg/kg/h"),
    "rate-critical": ("1.0", "mg/kg/h"),
    "bolus-info": ("0.3", "mg/kg"),
    "bolus-warn": ("0.35", "mg/kg"),
    "bolus-critical": ("0.5", "mg/kg"),
    "bolus-anaesthetic": ("1.0", "mg/kg"),
    "im-anaesthetic": ("4", "mg/kg"),
    "label-max-iv": ("4.5", "mg/kg"),
    "label-max-im": ("13", "mg/kg"),
    "label-max-asthma": ("4.5", "mg/kg"),
    "nasal-dose-most": ("84", "mg"),
    "nasal-dose-usual": ("56", "mg"),
    "nasal-dose-older": ("28", "mg"),
    "nasal-older-age": ("65", "a"),
    "nasal-day": ("24", "h"),
    "nasal-course": ("12", "wk"),
    "nasal-per-week": ("2", "/wk"),
    "nasal-per-week-later": ("1", "/wk"),
    "nasal-induction": ("4", "wk"),
    "nasal-week": ("6", "d"),
    "nasal-week-later": ("5", "d"),
    "nasal-pressure-after": ("40", "min"),
    "nasal-observation": ("2", "h"),
    "push-dose": ("0.1", "mg/kg"),
    "push-minutes": ("10", "min"),
    "push-minutes-warn": ("1", "min"),
    "push-minutes-offered": ("15", "min"),
    "depression-dose-warn": ("0.5", "mg/kg"),
    "depression-dose-critical": ("1.0", "mg/kg"),
    "depression-minutes": ("40", "min"),
    "depression-minutes-critical": ("30", "min"),
    "depression-minutes-longest": ("120", "min"),
    "depression-sum-hours": ("24", "h"),
    "depression-per-week": ("3", "/wk"),
    "depression-per-week-offered": ("2", "/wk"),
    "depression-week": ("7", "d"),
    "status-rate-warn": ("5", "mg/kg/h"),
    "status-rate-critical": ("10", "mg/kg/h"),
    "anaesthesia-rate-warn": ("6", "mg/kg/h"),
    "anaesthesia-rate-critical": ("10", "mg/kg/h"),
    "procedural-rate-warn": ("3", "mg/kg/h"),
    "procedural-rate-critical": ("5", "mg/kg/h"),
    "agitation-rate-critical": ("5", "mg/kg/h"),
    "chronic-rate-critical": ("2", "mg/kg/h"),
    "procedural-dose-iv": ("2", "mg/kg"),
    "procedural-dose-im": ("5", "mg/kg"),
    "nasal-dose-warn": ("1.5", "mg/kg"),
    "nasal-dose-critical": ("5", "mg/kg"),
    "enteral-dose-warn": ("1", "mg/kg"),
    "enteral-dose-warn-mg": ("100", "mg"),
    "enteral-dose-critical": ("4", "mg/kg"),
    "enteral-dose-critical-mg": ("400", "mg"),
    "enteral-day": ("300", "mg"),
    "route-day": ("24", "h"),
    "given-hour": ("1", "h"),
    "given-day": ("24", "h"),
    "im-analgesic": ("1.0", "mg/kg"),
    "sc-dose": ("0.5", "mg/kg"),
    "guard-dose": ("35", "mg"),
    "topical-strength": ("100", "mg/mL"),
    "uncapped-hour": ("0.5", "mg/kg"),
    "older-dose": ("0.2", "mg/kg"),
    "older-rate": ("0.2", "mg/kg/h"),
    "indication-matters-above": ("0.35", "mg/kg"),
    "indication-matters-to": ("1.0", "mg/kg"),
    "indication-matters-minutes": ("20", "min"),
    "weight-missing-rate": ("1.0", "mg/kg/h"),
    "weight-missing-dose": ("0.5", "mg/kg"),
    "slip-rate-above": ("1.0", "mg/kg/h"),
    "slip-rate-below": ("0.06", "mg/kg/h"),
    "slip-number-high": (["0.5", "16.7"], "1"),
    "slip-number-low": (["0.05", "0.99"], "1"),
    "slip-ratio-minute": (["15", "18"], "1"),
    "slip-ratio-hour": (["55", "65"], "1"),
}

CONVENTIONS: dict[str, tuple[Numbers, str]] = {
    "bolus-minutes": ("5", "min"),
    "continuous-minutes": ("60", "min"),
    "together-minutes": ("60", "min"),
    "contradiction-tolerance": ("5", "%"),
    "strengths": (["1", "2", "10", "50"], "mg/mL"),
    "nasal-strength": ("140", "mg/mL"),
    "nasal-device": ("28", "mg"),
    "nasal-spray": ("14", "mg"),
    "step-device": ("1", "{device}"),
    "strength-rounding": ("0.5", "%"),
    "far-above": ("2", "1"),
    "liver-part": ("0.5", "1"),
    "usual-rate": ("0.1", "mg/kg/h"),
    "usual-dose": ("0.15", "mg/kg"),
    "undiluted-strength": ("100", "mg/mL"),
    "salt-factor": ("1.153", "1"),
    "clock-tolerance": ("5", "min"),
    "step-mg": ("1", "mg"),
    "step-mg-per-kg": ("0.01", "mg/kg"),
    "step-ug": ("100", "ug"),
    "step-ug-per-kg": ("10", "ug/kg"),
    "step-g": ("0.001", "g"),
    "step-ml": ("0.1", "mL"),
    "step-mg-per-h": ("1", "mg/h"),
    "step-mg-per-min": ("0.01", "mg/min"),
    "step-mg-per-d": ("1", "mg/d"),
    "step-ug-per-min": ("1", "ug/min"),
    "step-ug-per-h": ("100", "ug/h"),
    "step-g-per-h": ("0.001", "g/h"),
    "step-g-per-d": ("0.001", "g/d"),
    "step-mg-per-kg-per-h": ("0.01", "mg/kg/h"),
    "step-mg-per-kg-per-min": ("0.0001", "mg/kg/min"),
    "step-mg-per-kg-per-d": ("0.1", "mg/kg/d"),
    "step-ug-per-kg-per-min": ("0.1", "ug/kg/min"),
    "step-ug-per-kg-per-h": ("10", "ug/kg/h"),
    "step-ml-per-h": ("0.1", "mL/h"),
    "step-ml-per-min": ("0.01", "mL/min"),
    "step-ml-per-d": ("1", "mL/d"),
    "step-ml-per-kg-per-h": ("0.01", "mL/kg/h"),
    "step-ml-per-kg-per-min": ("0.0001", "mL/kg/min"),
}

WEIGHT: dict[str, tuple[Numbers, str]] = {
    "weight-range": (["30", "250"], "kg"),
    "weight-unknown-range": (["40", "150"], "kg"),
    "weight-pounds-ratio": (["2.05", "2.35"], "1"),
    "weight-kilograms-ratio": (["0.43", "0.49"], "1"),
    "weight-change-month": ("20", "%"),
    "weight-change-month-days": ("30", "d"),
    "weight-change-days": ("10", "%"),
    "weight-change-days-hours": ("48", "h"),
    "weight-age-inpatient": ("7", "d"),
    "weight-age-outpatient": ("30", "d"),
    "weight-age-warn": ("90", "d"),
    "obesity-bmi": ("30", "kg/m2"),
    "ideal-weight-male": ("50", "kg"),
    "ideal-weight-female": ("45.5", "kg"),
    "ideal-weight-per-cm": ("0.91", "kg"),
    "ideal-weight-height": ("152.4", "cm"),
}

PATIENT: dict[str, tuple[Numbers, str]] = {
    "adult-age": ("18", "a"),
    "infant-age": ("3", "mo"),
    "older-age": ("65", "a"),
    "bp-critical-systolic": ("180", "mm[Hg]"),
    "bp-critical-diastolic": ("100", "mm[Hg]"),
    "bp-warn-systolic": ("140", "mm[Hg]"),
    "bp-warn-diastolic": ("90", "mm[Hg]"),
    "bp-window": ("24", "h"),
    "acs-weeks": ("42", "d"),
    "acs-recent": ("6", "mo"),
    "troponin-window": ("72", "h"),
    "revascularisation-window": ("42", "d"),
    "ejection-fraction-low": ("30", "%"),
    "ejection-fraction-window": ("12", "mo"),
    "heart-support-window": ("48", "h"),
    "stroke-recent": ("6", "mo"),
    "icp-high": ("20", "mm[Hg]"),
    "icp-window": ("24", "h"),
    "gcs-low": ("13", "1"),
    "head-injury-window": ("14", "d"),
    "iop-high": ("30", "mm[Hg]"),
    "iop-window": ("30", "d"),
    "iop-controlled": ("21", "mm[Hg]"),
    "iop-controlled-window": ("6", "mo"),
    "eye-surgery-window": ("7", "d"),
    "antipsychotic-new": ("30", "d"),
    "psychosis-single-dose": ("0.3", "mg/kg"),
    "inr-high": ("1.7", "1"),
    "bilirubin-high": ("3", "mg/dL"),
    "bilirubin-high-molar": ("51", "umol/L"),
    "liver-window": ("30", "d"),
    "hcg-window": ("14", "d"),
    "pregnancy-window": ("44", "wk"),
    "gestation-window": ("6", "wk"),
    "orders-at-once": ("25", "1"),
    "steps-at-once": ("50", "1"),
    "interruptive-cards": ("3", "1"),
    "quiet-hours": ("24", "h"),
    "duplicate-window": ("24", "h"),
    "duplicate-window-nasal": ("48", "h"),
}

INTERACTIONS: dict[str, tuple[Numbers, str]] = {
    "nmda-window": ("7", "d"),
    "theophylline-window": ("48", "h"),
    "pressor-window": ("24", "h"),
    "maoi-window": ("14", "d"),
    "sedative-window": ("12", "h"),
    "sedative-rate": ("12", "/min"),
    "sedative-rate-critical": ("8", "/min"),
    "sedative-saturation": ("92", "%"),
    "sedative-rass": ("-2", "{score}"),
    "diazepam-equivalent": ("8", "mg/d"),
    "antihypertensives-several": ("2", "1"),
    "heart-rate-normal-low": ("50", "/min"),
    "heart-rate-normal-high": ("100", "/min"),
    "cyp-inhibitor-window": ("7", "d"),
    "cyp-inducer-window": ("14", "d"),
    "blocker-window": ("12", "h"),
}

CAUTIONS: dict[str, tuple[Numbers, str]] = {
    "thyrotropin-low": ("0.1", "m[IU]/L"),
    "thyroid-window": ("90", "d"),
    "shock-systolic": ("90", "mm[Hg]"),
    "saturation-before": ("90", "%"),
    "saturation-window": ("4", "h"),
    "shock-mean": ("65", "mm[Hg]"),
    "shock-lactate": ("4", "mmol/L"),
    "shock-window": ("4", "h"),
    "shock-problem-window": ("24", "h"),
    "delirium-window": ("72", "h"),
    "transaminase-times": ("3", "1"),
    "cholestasis-times": ("2", "1"),
    "bilirubin-raised": ("2", "mg/dL"),
    "bilirubin-raised-molar": ("34", "umol/L"),
    "seizure-recent": ("6", "mo"),
    "intoxication-window": ("24", "h"),
    "series-window": ("30", "d"),
    "series-earlier-doses": ("1", "1"),
    "urinary-window": ("90", "d"),
    "urinary-doses": ("3", "1"),
    "lactation-window": ("12", "mo"),
}

ADVERSE: dict[str, tuple[Numbers, str]] = {
    # Rows 54, 56 and 58-64
    "restart-fraction": ("0.5", "1"),
    "ae-symptom-window": ("4", "h"),
    "ae-after-dose": ("2", "h"),
    "ae-rate-cut": ("25", "%"),
    "ae-pause-minutes": (["60", "120"], "min"),
    "ae-agitated": ("2", "{score}"),
    "ae-dissociation-expected": ("2", "h"),
    "ae-systolic-raised": ("160", "mm[Hg]"),
    "ae-heart-rate": ("120", "/min"),
    "ae-rise": ("30", "%"),
    "ae-rise-window": ("4", "h"),
    "ae-confirm-window": ("15", "min"),
    "ae-coma-fall": ("2", "{score}"),
    "ae-breathing-rate": ("8", "/min"),
    "ae-saturation": ("90", "%"),
    "ae-sedated": ("-3", "{score}"),
    "ae-sedation-window": ("1", "h"),
    "ae-antiemetic-window": ("6", "h"),
    "restart-window": ("24", "h"),
    "restart-charting": ("30", "min"),
    "midazolam-first": ("2.5", "mg"),
    "midazolam-first-susceptible": ("1.5", "mg"),
    "midazolam-first-older-opioid": ("1.25", "mg"),
    "midazolam-offered-per-kg": ("0.03", "mg/kg"),
    "midazolam-per-kg": ("0.05", "mg/kg"),
    "midazolam-per-kg-critical": ("0.1", "mg/kg"),
    "midazolam-older-age": ("60", "a"),
    "midazolam-offered": ("2", "mg"),
    "midazolam-offered-susceptible": ("1", "mg"),
    "taper-after": ("24", "h"),
    "taper-rate": ("0.1", "mg/kg/h"),
    "taper-fraction": ("0.5", "1"),
    "taper-hours": ("4", "h"),
    "stop-harm-window": ("24", "h"),
}

PROCESS: dict[str, tuple[Numbers, str]] = {
    # Rows 14-16, 55 and 69
    "acute-hours": ("72", "h"),
    "chronic-hours": ("168", "h"),
    "stop-offered": ("24", "h"),
    "organ-check-hours": ("72", "h"),
    "exposure-days": ("4", "1"),
    "exposure-month": ("30", "d"),
    "exposure-doses": ("6", "1"),
    "exposure-series": ("56", "d"),
    "liver-tests-window": ("30", "d"),
    "urine-window": ("90", "d"),
    "adjunct-window": ("24", "h"),
    "fertile-age-from": ("12", "a"),
    "fertile-age-below": ("56", "a"),
    "pregnancy-test-window": ("7", "d"),
    "pregnancy-series-window": ("30", "d"),
    "series-doses": ("2", "1"),
}

EXPECTED = {**INTERACTIONS, **CAUTIONS, **DOSE, **CONVENTIONS, **WEIGHT, **PATIENT, **PROCESS, **ADVERSE}

CALENDAR_UNITS = {"a", "mo", "/wk"}
"""Years, months and doses per week are counted on the calendar: no quantity is ever converted to them."""

HALVED_ROWS = {*range(1, 13), 19, 22, 25, 65, 72, 73}
"""Rows of the catalogue whose mg/kg limits are halved for intravenous esketamine."""

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


def number(limit: model.Limit) -> Decimal | list[Decimal]:
    """What the limit says since it was last changed."""
    return limit.values[max(limit.values)]


def stand_ins(protocol: model.Protocol) -> list[model.Limit]:
    return [limit for limit in protocol.limits.values() if limit.stands_for is not None]


def test_every_limit_has_its_documented_default(protocol: model.Protocol) -> None:
    ours = {limit.id: (number(limit), limit.unit) for limit in protocol.limits.values() if not limit.stands_for}
    expected = {
        key: ([Decimal(text) for text in value] if isinstance(value, list) else Decimal(value), unit)
        for key, (value, unit) in EXPECTED.items()
    }
    assert ours == expected


OF_ITS_LABEL: dict[str, Numbers] = {
    "esketamine-bolus-info": "0.125",
    "esketamine-label-max-iv": "1",
    "esketamine-label-max-asthma": "2.5",
    "esketamine-label-max-im": "4",
    "esketamine-procedural-dose-im": "4",
    "esketamine-strengths": ["1", "2", "5", "25"],
}
"""What the label of esketamine says and half of the racemic limit would not."""


def test_every_other_esketamine_limit_is_half_of_the_one_it_stands_for(protocol: model.Protocol) -> None:
    assert stand_ins(protocol)
    for limit in stand_ins(protocol):
        racemic = protocol.limits[str(limit.stands_for)]
        assert limit.drug == "esketamine", limit.id
        if (own := OF_ITS_LABEL.get(limit.id)) is not None:
            assert number(limit) == (list(map(Decimal, own)) if isinstance(own, list) else Decimal(own)), limit.id
        else:
            assert number(racemic) == 2 * Decimal(str(number(limit))), limit.id


def test_no_limit_of_esketamine_is_above_the_one_it_stands_for(protocol: model.Protocol) -> None:
    for limit in stand_ins(protocol):
        ours, racemic = number(limit), number(protocol.limits[str(limit.stands_for)])
        if not isinstance(ours, list) and not isinstance(racemic, list):
            assert ours < racemic, limit.id


def test_an_esketamine_limit_has_the_unit_routes_and_indication_of_the_one_it_stands_for(
    protocol: model.Protocol,
) -> None:
    for limit in stand_ins(protocol):
        racemic = protocol.limits[str(limit.stands_for)]
        ours = (limit.id, limit.unit, limit.routes, limit.indication)
        assert ours == (f"esketamine-{racemic.id}", racemic.unit, racemic.routes, racemic.indication)


def test_esketamine_has_a_limit_of_its_own_for_every_dose_limit_that_is_halved(protocol: model.Protocol) -> None:
    read = {
        name
        for rule in protocol.rules.values()
        if rule.row in HALVED_ROWS
        for tier in rule.tiers
        for name in tier.shown
        if protocol.limits[name].unit in ("mg/kg", "mg/kg/h", "mg", "mg/mL")
    }
    assert read <= {limit.stands_for for limit in stand_ins(protocol)}


def test_a_limit_is_looked_up_for_the_drug_that_was_ordered(protocol: model.Protocol) -> None:
    book = {drug: Limits(protocol).book(drug, protocol.date) for drug in protocol.drugs}
    assert book["esketamine"].limit("rate-warn").id == "esketamine-rate-warn"
    assert book["ketamine"].limit("rate-warn").id == "rate-warn"
    assert book["esketamine"].limit("push-minutes").id == "push-minutes"


def test_every_limit_has_a_unit_of_the_table(protocol: model.Protocol) -> None:
    for limit in protocol.limits.values():
        if limit.unit not in CALENDAR_UNITS:
            assert units.find(limit.unit).code == limit.unit, limit.id


def test_dose_limits_are_masses_and_rates_per_body_mass(protocol: model.Protocol) -> None:
    per_mass = {"mg/kg": "mass_per_bodymass", "mg/kg/h": "mass_per_bodymass_time"}
    for limit in protocol.limits.values():
        if limit.unit in per_mass:
            assert units.find(limit.unit, per_mass[limit.unit]).factor == 1, limit.id


def test_a_step_is_named_after_its_unit(protocol: model.Protocol) -> None:
    steps = {limit.id: limit.unit for limit in protocol.limits.values() if limit.id.startswith("step-")}
    assert steps == {f"step-{unit.replace('/', '-per-').strip('{}').lower()}": unit for unit in steps.values()}
    assert all(Decimal(str(number(protocol.limits[name]))) > 0 for name in steps)


def test_the_tighter_number_warns_and_the_looser_one_is_critical(protocol: model.Protocol) -> None:
    def value(name: str, drug: str) -> Decimal:
        return Decimal(str(number(Limits(protocol).book(drug, protocol.date).limit(name))))

    for drug in protocol.drugs:
        assert value("rate-warn", drug) < value("rate-critical", drug)
        ladder = ("bolus-info", "bolus-warn", "bolus-critical", "bolus-anaesthetic", "label-max-iv")
        rungs = [value(name, drug) for name in ladder]
        assert rungs == sorted(set(rungs))
        assert value("im-anaesthetic", drug) < value("label-max-im", drug)
        assert value("depression-dose-warn", drug) < value("depression-dose-critical", drug)
        assert value("depression-minutes", drug) > value("depression-minutes-critical", drug)


def test_a_range_runs_from_low_to_high(protocol: model.Protocol) -> None:
    for limit in protocol.limits.values():
        values = number(limit)
        if isinstance(values, list):
            assert values == sorted(set(values)), limit.id


def test_the_two_bilirubin_limits_are_the_same_bilirubin(protocol: model.Protocol) -> None:
    micromoles_per_milligram_per_decilitre = Decimal("17.1")
    for name in ("bilirubin-high", "bilirubin-raised"):
        mass, molar = (number(protocol.limits[each]) for each in (name, f"{name}-molar"))
        assert round(Decimal(str(mass)) * micromoles_per_milligram_per_decilitre) == molar


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


def test_every_limit_that_a_rule_warns_by_took_effect_with_the_protocol(protocol: model.Protocol) -> None:
    late = [limit.id for limit in protocol.limits.values() if min(limit.values) > protocol.date]
    assert late == []
