"""A site adds a contraindication of its own as data: an overlay file and a card text, and no Python."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from cds_service.advise import advise, explain
from cds_service.cards.model import EXTENSION
from cds_service.cards.texts import TextError
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.errors import ProtocolError
from tests.scenarios.build import NOW, sent

OVERLAY = """
    site: Example Hospital
    additions:
      - owner: P&T committee
        date: 2026-11-20
        reason: two cases of weakness after ketamine in 2025
        orderables:
          example-neuromuscular-consult:
            title: Neuromuscular consultation
            label: Ask for a neuromuscular consult
        rules: [example-myasthenia]
"""
RULE = """
    title: Myasthenia gravis
    row: 1001
    category: caution
    status: design

    limits:
      example-pulse-high:
        title: Pulse above which the myasthenia team wants to be asked
        unit: /min
        values: {2026-11-20: 110}
        sources: []
        status: design

    facts:
      myasthenia: {problem: dx_myasthenia}
      fast pulse: {measured: obs_hr, above: example-pulse-high}

    tiers:
      fast-pulse: {critical: myasthenia and fast pulse}
      known: {warning: myasthenia}

    changes:
      - {to: info, when: in intensive care, because: intensive care}

    offers: [example-neuromuscular-consult, delete]
    needs: [conditions]
"""
TEXT = """
    ---
    title: Myasthenia gravis
    short: myasthenia
    summary:
      fast-pulse: "Myasthenia and a pulse of {{ found }}: ask the neuromuscular team first"
      known: "Myasthenia gravis: weakness may be hard to see under ketamine"
    ---

    The P&T committee asks for a consult before ketamine is given.
"""
MYASTHENIA = {"problems": ["ICD-10 G70.00 Myasthenia gravis"]}


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    folder = tmp_path / "rules" / "example-myasthenia"
    folder.mkdir(parents=True)
    (folder / "rule.yaml").write_text(dedent(RULE), "utf-8")
    (folder / "card.md").write_text(dedent(TEXT).lstrip(), "utf-8")
    path = tmp_path / "overlay.yaml"
    path.write_text(dedent(OVERLAY), "utf-8")
    return path


def told(knowledge: Knowledge, patient: dict[str, object]) -> list[tuple[str, str, str]]:
    """(rule, severity, summary) of every card."""
    request = sent({"patient": patient, "order": {"rate": "0.2 mg/kg/h"}})
    cards = advise(request, True, knowledge, NoSource(), NOW).cards
    return [(r["id"], r["severity"], c.summary) for c in cards for r in (c.extension or {})[EXTENSION]["rules"]]


def test_a_rule_of_the_site_fires_is_clear_and_is_changed_like_a_shipped_one(overlay: Path) -> None:
    knowledge = load(overlay=str(overlay))
    known = "Myasthenia gravis: weakness may be hard to see under ketamine"
    assert told(knowledge, {}) == []
    assert told(knowledge, MYASTHENIA) == [("example-myasthenia", "warning", known)]
    assert told(knowledge, MYASTHENIA | {"place": "intensive care"}) == [("example-myasthenia", "info", known)]
    fast = {"vitals": [{"code": "8867-4", "value": "118 /min"}]}
    summary = "Myasthenia and a pulse of 118: ask the neuromuscular team first"
    assert told(knowledge, MYASTHENIA | fast) == [("example-myasthenia", "critical", summary)]


def test_its_suggestions_are_offered_and_its_missing_facts_are_said(overlay: Path) -> None:
    knowledge = load(overlay=str(overlay))
    request = sent({"patient": MYASTHENIA, "order": {"rate": "0.2 mg/kg/h"}})
    (card,) = advise(request, True, knowledge, NoSource(), NOW).cards
    assert [s.label for s in card.suggestions or ()] == ["Ask for a neuromuscular consult", "Remove this order"]
    request = sent({"patient": {"missing": ["conditions"]}, "order": {"rate": "0.2 mg/kg/h"}})
    answer = advise(request, True, knowledge, NoSource(), NOW)
    assert "problem list" in "".join(card.detail or "" for card in answer.cards)
    not_checked = (answer.extension or {})[EXTENSION]["notChecked"]
    assert "example-myasthenia" in {each["rule"] for each in not_checked}


def test_a_rule_without_a_card_text_stops_the_start(overlay: Path) -> None:
    (overlay.parent / "rules" / "example-myasthenia" / "card.md").unlink()
    with pytest.raises(TextError, match="example-myasthenia has no card text"):
        load(overlay=str(overlay))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("overlay.yaml", "two cases of weakness after ketamine in 2025", "''", "needs an owner and a reason"),
        ("overlay.yaml", "[example-myasthenia]", "[]", "no addition names the rule example-myasthenia"),
        ("overlay.yaml", "[example-myasthenia]", "[example-myasthenia, gone]", r"gone/rule\.yaml is missing"),
        ("rule.yaml", "problem: dx_myasthenia", "problem: dx_nothing", "dx_nothing"),
        ("rule.yaml", "above: example-pulse-high", "above: example-pulse", "example-pulse, which does not exist"),
        ("rule.yaml", "known: {warning: myasthenia}", "known: {warning: miasthenia}", "did you mean “myasthenia”"),
        (
            "rule.yaml",
            "status: design\n\nlimits",
            "status: design\njudged by: magic\n\nlimits",
            "nothing judges 'magic'",
        ),
    ],
)
def test_a_faulty_addition_stops_the_start_with_its_place(
    overlay: Path, file: str, old: str, new: str, message: str
) -> None:
    path = next(overlay.parent.rglob(file))
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(ProtocolError, match=message):
        load(overlay=str(overlay))


def test_a_shipped_rule_cannot_be_replaced(overlay: Path) -> None:
    (overlay.parent / "rules" / "example-myasthenia").rename(overlay.parent / "rules" / "psychosis")
    overlay.write_text(overlay.read_text("utf-8").replace("[example-myasthenia]", "[psychosis]"), "utf-8")
    with pytest.raises(ProtocolError, match="psychosis is shipped"):
        load(overlay=str(overlay))


def test_the_example_overlay_is_one_that_can_be_used() -> None:
    example = Path(__file__).parents[2] / "examples" / "overlay.yaml"
    protocol = load(overlay=str(example)).protocol
    assert protocol.rules["duration-missing"].off
    assert protocol.rules["example-myasthenia"].site is not None


VENTILATED = ("  fast pulse:", "  ventilated: {procedure: ventilated}\n  fast pulse:")
UNREAD = {"raw": {"procedures": {"resourceType": "OperationOutcome"}}}


def _with(overlay: Path, *changes: tuple[str, str]) -> Knowledge:
    rule = overlay.parent / "rules" / "example-myasthenia" / "rule.yaml"
    text = rule.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    rule.write_text(text, "utf-8")
    return load(overlay=str(overlay))


def test_what_would_make_a_finding_worse_and_cannot_be_read_is_not_ruled_out(overlay: Path) -> None:
    """The worse severity where the list failed, one milder where it was not sent; never milder than its own."""
    knowledge = _with(
        overlay,
        (
            "{to: info, when: in intensive care, because: intensive care}",
            "{to: critical, when: ventilated, because: x}",
        ),
        VENTILATED,
    )
    known = "Myasthenia gravis: weakness may be hard to see under ketamine"
    (without,) = told(knowledge, MYASTHENIA)
    assert without == ("example-myasthenia", "warning", known)
    assert ("example-myasthenia", "critical", known) in told(knowledge, MYASTHENIA | UNREAD)
    assert ("example-myasthenia", "warning", known) in told(knowledge, MYASTHENIA | {"missing": ["procedures"]})


def test_what_would_make_a_finding_milder_and_cannot_be_read_changes_nothing(overlay: Path) -> None:
    knowledge = _with(overlay, ("when: in intensive care", "when: ventilated"), VENTILATED)
    for patient in (UNREAD, {"missing": ["procedures"]}):
        assert "warning" in {severity for rule, severity, _ in told(knowledge, MYASTHENIA | patient) if "ex" in rule}


def test_a_rule_that_fires_by_any_result_is_not_clear_where_one_is_not_understood(overlay: Path) -> None:
    """Of what is undated it cannot be told whether it lies in the window; a request without a result is none."""
    knowledge = _with(
        overlay,
        ("known: {warning: myasthenia}", "known: {warning: any troponin}"),
        (
            "  fast pulse:",
            "  any troponin: {measured: obs_troponin, any value: true, within: example-window}\n  fast pulse:",
        ),
        (
            "  example-pulse-high:",
            "  example-window: {title: Window, unit: d, values: {2026-11-20: 2}, sources: [], status: design}\n"
            "  example-pulse-high:",
        ),
    )
    troponin = {"code": "6598-7", "value": "5 ng/L"}
    assert {rule for rule, _, _ in told(knowledge, {"results": [troponin]})} == {"example-myasthenia"}
    undated = troponin | {"raw": {"effectiveDateTime": None}}
    summaries = [summary for _, _, summary in told(knowledge, {"results": [undated]})]
    request = sent({"patient": {"results": [undated]}, "order": {"rate": "0.2 mg/kg/h"}})
    (card,) = advise(request, True, knowledge, NoSource(), NOW).cards
    assert (summaries, "its date cannot be read" in (card.detail or "")) == ([], True)
    empty = {"code": "6598-7", "raw": {"effectiveDateTime": None, "dataAbsentReason": {"text": "pending"}}}
    outcomes = explain(
        sent({"patient": {"results": [empty]}, "order": {"rate": "0.2 mg/kg/h"}}), True, knowledge, NoSource(), NOW
    )[0][0].outcomes
    assert {o.status for o in outcomes if o.rule.id == "example-myasthenia"} == {"clear"}
