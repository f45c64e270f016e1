"""A site's filters make a finding milder or silent, its conditions make a rule fire; each says who, when and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cds_service.advise import advise, explain
from cds_service.cards.model import EXTENSION, Response
from cds_service.cli import main
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.overlay import load_with_overlay
from cds_service.rules import judge
from tests.said import said
from tests.scenarios.build import NOW, sent

OWNED = "owner: P&T committee, date: 2026-11-20, reason: a policy of the house"
ICU = "{encounter: [loc_type/icu]}"
PAEDIATRIC = "{order: {context: [paediatric]}}"
FAST = {"rate": "0.8 mg/kg/h"}
IN_ICU = {"place": "intensive care"}
VENTILATED = {"procedures": [{"code": "112798008 Intubation", "this encounter": True, "when": "5 hours ago"}]}


def overlay(folder: Path, *lines: str) -> str:
    """The overlay file of a site; OWNED stands for owner, date and reason."""
    file = folder / "site.yaml"
    file.write_text("\n".join(["site: General Hospital", *lines]).replace("OWNED", OWNED), "utf-8")
    return str(file)


def filters(folder: Path, *filters: str) -> Knowledge:
    return load(overlay=overlay(folder, "filters:", *(f"  - {{{each}, OWNED}}" for each in filters)))


def refused(folder: Path, knowledge: Knowledge, *lines: str) -> str:
    """Why the overlay is refused."""
    with pytest.raises(ProtocolError) as error:
        judge.check(load_with_overlay(overlay(folder, *lines), knowledge.valuesets))
    return str(error.value)


def answered(knowledge: Knowledge, patient: dict[str, Any], order: dict[str, Any]) -> Response:
    return advise(sent({"patient": patient, "order": order}), True, knowledge, NoSource(), NOW)


def told(answer: Response) -> dict[str, str]:
    """Rule -> severity of all cards."""
    return {
        rule["id"]: rule["severity"] for card in answer.cards for rule in (card.extension or {})[EXTENSION]["rules"]
    }


def test_a_filter_silences_a_rule_where_its_clause_holds_and_nowhere_else(tmp_path: Path) -> None:
    knowledge = filters(tmp_path, f"rules: [rate-exceeds-protocol-max], when: {ICU}, to: none")
    assert told(answered(knowledge, IN_ICU, FAST)) == {}
    assert told(answered(knowledge, {}, FAST)) == {"rate-exceeds-protocol-max": "warning"}


def test_a_silenced_finding_stands_in_the_answer_and_in_explain_with_the_reason_of_the_site(tmp_path: Path) -> None:
    knowledge = filters(tmp_path, f"rules: [rate-exceeds-protocol-max], when: {ICU}, to: none")
    why = "a policy of the house (filter of the site: P&T committee, 2026-11-20)"
    (quiet,) = (answered(knowledge, IN_ICU, FAST).extension or {})[EXTENSION]["quiet"]
    assert quiet == {"rule": "rate-exceeds-protocol-max", "order": "MedicationRequest/o1", "reason": why}
    request = sent({"patient": IN_ICU, "order": FAST})
    (judged,) = explain(request, True, knowledge, NoSource(), NOW)[0]
    (outcome,) = [each for each in judged.outcomes if each.rule.id == "rate-exceeds-protocol-max"]
    assert (outcome.status, outcome.tier, said(outcome.because or "")) == ("suppressed", "above-warn", why)


def test_a_milder_finding_says_on_its_card_whose_filter_it_was(tmp_path: Path) -> None:
    knowledge = filters(tmp_path, f"rules: [rate-exceeds-protocol-max], when: {ICU}, to: info")
    (card,) = answered(knowledge, IN_ICU, FAST).cards
    assert card.indicator == "info"
    assert "filter of the site: P&amp;T committee, 2026-11-20" in (card.detail or "")


def test_a_filter_that_cannot_be_read_quiets_nothing_and_the_card_says_so(tmp_path: Path) -> None:
    knowledge = filters(tmp_path, "rules: [rate-exceeds-protocol-max], when: {procedure: [ventilated]}, to: none")
    answer = answered(knowledge, {"missing": ["procedures"]}, FAST)
    assert told(answer)["rate-exceeds-protocol-max"] == "warning"
    assert "What might change this finding could not be read" in "".join(card.detail or "" for card in answer.cards)
    assert "rate-exceeds-protocol-max" not in told(answered(knowledge, VENTILATED, FAST))


def test_a_filter_never_raises_what_a_change_of_the_protocol_has_lowered(tmp_path: Path) -> None:
    pressure = {"blood pressure": "190/95"}
    order = {"rate": "0.2 mg/kg/h"}
    knowledge = filters(tmp_path, "rules: [bp-uncontrolled], when: {patient: {age at least: adult-age}}, to: warning")
    assert told(answered(knowledge, pressure, order)) == {"bp-uncontrolled": "warning"}
    assert "bp-uncontrolled" not in told(answered(knowledge, pressure | VENTILATED, order))


def test_two_filters_leave_the_milder_of_both(tmp_path: Path) -> None:
    rule = "rules: [rate-exceeds-protocol-max]"
    always = "{patient: {age at least: adult-age}}"
    pair = (f"{rule}, when: {ICU}, to: info", f"{rule}, when: {always}, to: none")
    for order in (pair, pair[::-1]):
        assert told(answered(filters(tmp_path, *order), IN_ICU, FAST)) == {}


def test_an_order_set_is_a_fact_that_a_filter_reads(tmp_path: Path) -> None:
    order_sets = f"order_sets: [{{order_set: 'http://example.org/paeds', indication: paediatric, {OWNED}}}]"
    knowledge = load(
        overlay=overlay(
            tmp_path,
            order_sets,
            "filters:",
            f"  - {{rules: [age-paediatric], tiers: [child], when: {PAEDIATRIC}, to: none, OWNED}}",
        )
    )
    child = {"age": 10, "weight": "30 kg"}
    order = {"rate": "0.2 mg/kg/h", "raw": {"instantiatesUri": ["http://example.org/paeds"]}}
    assert "age-paediatric" not in told(answered(knowledge, child, order))
    assert told(answered(knowledge, child, {"rate": "0.2 mg/kg/h"}))["age-paediatric"] == "warning"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            f"rules: [rate-exceeds-protocol-maxx], when: {ICU}, to: none",
            "no rule rate-exceeds-protocol-maxx; did you mean rate-exceeds-protocol-max?",
        ),
        (
            f"rules: [psychosis], tiers: [activ], when: {ICU}, to: info",
            "no tier of psychosis activ; did you mean active?",
        ),
        (
            "rules: [psychosis], tiers: [history], when: {encounter: [loc_type/icuu]}, to: info",
            "loc_type/icuu, which does not exist; did you mean loc_type/icu?",
        ),
        (
            "rules: [psychosis], tiers: [history], when: {problem: [dx_glaucom]}, to: info",
            "dx_glaucom, which does not exist; did you mean dx_glaucoma?",
        ),
        (
            "rules: [bp-elevated], when: {order: {context: [palliativ]}}, to: info",
            "palliativ, which does not exist; did you mean palliative?",
        ),
        (
            "rules: [bp-elevated], when: {order: {indication: [pian]}}, to: info",
            "pian, which does not exist; did you mean pain?",
        ),
        (
            "rules: [bp-elevated], when: {order: {route: [intravenus]}}, to: info",
            "no route intravenus; did you mean intravenous?",
        ),
        (
            "rules: [bp-elevated], when: {patient: {age at least: older-agee}}, to: info",
            "older-agee, which does not exist; did you mean",
        ),
        ("rules: [bp-elevated], when: {order: {}}, to: none", "asks nothing"),
        ("rules: [bp-elevated], when: {patient: {}}, to: none", "asks nothing"),
        ("rules: [], when: {order: {continuous: true}}, to: none", "a filter names no rule"),
        (f"rules: [bp-elevated], when: {ICU}, to: warning", "changes nothing, no tier is worse"),
        (f"rules: [bp-missing], tiers: [missing], when: {ICU}, to: critical", "Invalid enum value 'critical'"),
        (
            f"rules: [bp-uncontrolled, rate-exceeds-ceiling], when: {ICU}, to: none",
            "above-critical is critical, and no change of the protocol's own lowers it below warning",
        ),
        (f"rules: [heart-failure], tiers: [decompensated], when: {ICU}, to: info", "no change of the protocol's own"),
        (f"rules: [psychosis], tiers: [active, history], when: {ICU}, to: none", "no change of the protocol's own"),
    ],
)
def test_a_filter_that_changes_nothing_or_too_much_is_refused(
    tmp_path: Path, knowledge: Knowledge, lines: str, message: str
) -> None:
    assert message in refused(tmp_path, knowledge, f"filters: [{{{lines}, OWNED}}]")


def test_a_filter_of_a_tier_must_not_hide_a_milder_one(tmp_path: Path, knowledge: Knowledge) -> None:
    """The first tier that holds counts: what is lowered below the next one would take that with it."""
    line = f"filters: [{{rules: [ddi-cns-depressant], tiers: [slow-breathing], when: {ICU}, to: none, OWNED}}]"
    assert "it would hide depressant (warning) as well; name that tier, too" in refused(tmp_path, knowledge, line)


def test_a_filter_of_a_rule_that_is_off_is_refused(tmp_path: Path, knowledge: Knowledge) -> None:
    off = "rules: [{rule: bp-elevated, off: true, OWNED}]"
    line = f"filters: [{{rules: [bp-elevated], when: {ICU}, to: info, OWNED}}]"
    said = refused(tmp_path, knowledge, off, line)
    assert "bp-elevated is switched off, so that a filter for it changes nothing" in said


@pytest.mark.parametrize("missing", ["owner", "date", "reason"])
@pytest.mark.parametrize(
    "part", ["filters: [{rules: [bp-elevated], to: info, ", "conditions: [{rule: bp-elevated, tier: warn, "]
)
def test_no_filter_and_no_condition_is_taken_without_owner_date_and_reason(
    tmp_path: Path, knowledge: Knowledge, missing: str, part: str
) -> None:
    owned = ", ".join(each for each in OWNED.split(", ") if not each.startswith(missing))
    assert missing in refused(tmp_path, knowledge, f"{part}when: {ICU}, {owned}}}]")


# Conditions -----------------------------------------------------------------------------------------------------

MYASTHENIA = {"problems": ["ICD-10 G70.00 Myasthenia gravis"]}
HAS_MYASTHENIA = "{problem: [dx_myasthenia]}"
SLOW = {"rate": "0.2 mg/kg/h"}


def conditions(folder: Path, *conditions: str) -> Knowledge:
    return load(overlay=overlay(folder, "conditions:", *(f"  - {{{each}, OWNED}}" for each in conditions)))


def test_a_condition_makes_a_rule_fire_and_the_card_says_whose_it_is(tmp_path: Path) -> None:
    knowledge = conditions(tmp_path, f"rule: heart-failure, tier: decompensated, when: {HAS_MYASTHENIA}")
    answer = answered(knowledge, MYASTHENIA, SLOW)
    assert told(answer) == {"heart-failure": "critical"}
    (card,) = answer.cards
    assert card.summary == "Heart failure: a policy of the house"
    assert (card.detail or "").startswith(
        "A condition of this site holds: a policy of the house (P&amp;T committee, "
    )
    assert [suggestion.label for suggestion in card.suggestions or ()] == ["Order continuous ECG"]
    assert told(answered(knowledge, {}, SLOW)) == {}


def test_where_the_rule_fires_by_itself_its_own_words_stand_and_its_own_figures(tmp_path: Path) -> None:
    pulse = "{measured: [obs_hr], above: [ae-heart-rate]}"
    knowledge = conditions(tmp_path, f"rule: bp-uncontrolled, tier: critical, when: {pulse}")
    fast = {"vitals": [{"code": "8867-4", "value": "150 /min"}]}
    (card,) = answered(knowledge, fast | {"blood pressure": "190/95"}, SLOW).cards
    assert card.summary.startswith("Blood pressure 190/95 mmHg is above 180/100")
    (card,) = answered(knowledge, fast, SLOW).cards
    assert card.summary == "Uncontrolled hypertension: a policy of the house"


def test_a_condition_that_cannot_be_read_leaves_the_rule_untold(tmp_path: Path) -> None:
    when = "{procedure: [ventilated]}"
    knowledge = conditions(tmp_path, f"rule: heart-failure, tier: decompensated, when: {when}")
    answer = answered(knowledge, {"missing": ["procedures"]}, SLOW)
    not_checked = {each["rule"]: each["kind"] for each in (answer.extension or {})[EXTENSION]["notChecked"]}
    assert not_checked["heart-failure"] == "not-sent"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("rule: hart-failure, tier: decompensated", "no rule hart-failure; did you mean heart-failure?"),
        ("rule: heart-failure, tier: decomp", "no tier of heart-failure decomp; did you mean decompensated?"),
        ("rule: rate-exceeds-protocol-max, tier: above-warn", "judged by code, to which no condition can be added"),
    ],
)
def test_a_condition_that_could_never_count_is_refused(
    tmp_path: Path, knowledge: Knowledge, condition: str, message: str
) -> None:
    line = f"conditions: [{{{condition}, when: {HAS_MYASTHENIA}, OWNED}}]"
    assert message in refused(tmp_path, knowledge, line)


# What a site maps, and what the commands say of it ----------------------------------------------------------------


@pytest.mark.parametrize("indication", ["intensive-care"])
def test_an_order_set_that_nothing_reads_is_refused(tmp_path: Path, knowledge: Knowledge, indication: str) -> None:
    """It would change nothing; the message says what would make it count."""
    mapped = f"order_sets: [{{order_set: 'http://example.org/set', indication: {indication}, OWNED}}]"
    said = refused(tmp_path, knowledge, mapped)
    assert f"nothing reads the indication {indication}" in said
    assert "add a filter or a condition" in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "order_sets: [{order_set: 'urn:x', indication: paliative, OWNED}]",
            "indication paliative; did you mean palliative?",
        ),
        ("limits: [{limit: rate-warm, value: 0.4, OWNED}]", "no limit rate-warm; did you mean rate-warn?"),
        ("rules: [{rule: psychossis, off: true, OWNED}]", "no rule psychossis; did you mean psychosis?"),
        ("rules: [{rule: psychosis, OWNED}]", "neither `off` nor `severity`"),
    ],
)
def test_a_change_that_could_have_no_effect_is_refused(
    tmp_path: Path, knowledge: Knowledge, line: str, message: str
) -> None:
    assert message in refused(tmp_path, knowledge, line)


def test_diff_says_filters_and_conditions_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = overlay(
        tmp_path,
        f"filters: [{{rules: [rate-exceeds-protocol-max], when: {ICU}, to: none, OWNED}}]",
        f"conditions: [{{rule: heart-failure, tier: decompensated, when: {HAS_MYASTHENIA}, OWNED}}]",
    )
    assert main(["protocol", "diff", path]) == 0
    said = capsys.readouterr().out
    assert "above-warn is silent where the setting is “Location type" in said
    assert "decompensated (critical) also where a problem in “Myasthenia gravis" in said
    assert said.count("changed by P&T committee on 2026-11-20: a policy of the house") == 2
