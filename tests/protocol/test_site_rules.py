"""A site adds a contraindication of its own as data: an overlay file and a card text, and no Python."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from cds_service.advise import advise, explain
from cds_service.cards.model import EXTENSION
from cds_service.cards.texts import TextError
from cds_service.fhir.client import NoSource
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.loader import ProtocolError
from tests.scenarios.build import NOW, sent

OVERLAY = """
    site: Example Hospital
    additions:
      - owner: P&T committee
        date: 2026-11-20
        reason: two cases of weakness after ketamine in 2025
        limits:
          example-pulse-high:
            title: Pulse above which the myasthenia team wants to be asked
            unit: /min
            values: {2026-11-20: 110}
            sources: []
            status: design
        orderables:
          example-neuromuscular-consult:
            title: Neuromuscular consultation
            label: Ask for a neuromuscular consult
        rules:
          - id: example-myasthenia
            row: 1001
            category: caution
            title: Myasthenia gravis
            judge: clauses
            tiers:
              - name: fast-pulse
                severity: critical
                limits: [example-pulse-high]
                when:
                  all:
                    - {fact: condition, in: [dx_myasthenia]}
                    - {fact: observation, in: [obs_hr], above: [example-pulse-high]}
              - name: known
                severity: warning
                when: {fact: condition, in: [dx_myasthenia]}
            changes:
              - to: info
                because: intensive care
                when: {fact: encounter, in: [loc_type/icu]}
            suggests: [example-neuromuscular-consult, delete]
            needs: [conditions]
            status: design
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
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "example-myasthenia.md").write_text(dedent(TEXT).lstrip(), "utf-8")
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
    (overlay.parent / "texts" / "example-myasthenia.md").unlink()
    with pytest.raises(TextError, match="example-myasthenia has no card text"):
        load(overlay=str(overlay))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("reason: two cases of weakness after ketamine in 2025", "reason: ''", "needs an owner and a reason"),
        ("id: example-myasthenia", "id: psychosis", "psychosis is shipped"),
        ("in: [dx_myasthenia]}\n                    -", "in: [dx_nothing]}\n                    -", "dx_nothing"),
        ("above: [example-pulse-high]", "above: [example-pulse]", "example-pulse, which does not exist"),
        ("judge: clauses", "judge: magic", "nothing judges 'magic'"),
    ],
)
def test_a_faulty_addition_stops_the_start_with_its_place(overlay: Path, old: str, new: str, message: str) -> None:
    text = overlay.read_text("utf-8")
    changed = dedent(OVERLAY.replace(old, new))
    assert changed != text
    overlay.write_text(changed, "utf-8")
    with pytest.raises(ProtocolError, match=message):
        load(overlay=str(overlay))


def test_the_example_overlay_is_one_that_can_be_used() -> None:
    example = Path(__file__).parents[2] / "examples" / "overlay.yaml"
    protocol = load(overlay=str(example)).protocol
    assert protocol.rules["duration-missing"].off
    assert protocol.rules["example-myasthenia"].site is not None


UNREAD = {"raw": {"procedures": {"resourceType": "OperationOutcome"}}}


def _with(overlay: Path, *changes: tuple[str, str]) -> Knowledge:
    text = overlay.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    overlay.write_text(text, "utf-8")
    return load(overlay=str(overlay))


def test_what_would_make_a_finding_worse_and_cannot_be_read_is_not_ruled_out(overlay: Path) -> None:
    """The worse severity where the list failed, one milder where it was not sent; never milder than its own."""
    knowledge = _with(
        overlay,
        ("because: intensive care", "because: ventilated"),
        ("- to: info", "- to: critical"),
        ("{fact: encounter, in: [loc_type/icu]}", "{fact: procedure, in: [ventilated]}"),
    )
    known = "Myasthenia gravis: weakness may be hard to see under ketamine"
    (without,) = told(knowledge, MYASTHENIA)
    assert without == ("example-myasthenia", "warning", known)
    assert ("example-myasthenia", "critical", known) in told(knowledge, MYASTHENIA | UNREAD)
    assert ("example-myasthenia", "warning", known) in told(knowledge, MYASTHENIA | {"missing": ["procedures"]})


def test_what_would_make_a_finding_milder_and_cannot_be_read_changes_nothing(overlay: Path) -> None:
    knowledge = _with(overlay, ("{fact: encounter, in: [loc_type/icu]}", "{fact: procedure, in: [ventilated]}"))
    for patient in (UNREAD, {"missing": ["procedures"]}):
        assert "warning" in {severity for rule, severity, _ in told(knowledge, MYASTHENIA | patient) if "ex" in rule}


def test_a_rule_that_fires_by_any_result_is_not_clear_where_one_is_not_understood(overlay: Path) -> None:
    """Of what is undated it cannot be told whether it lies in the window; a request without a result is none."""
    knowledge = _with(
        overlay,
        (
            "when: {fact: condition, in: [dx_myasthenia]}",
            "when: {fact: observation, in: [obs_troponin], any_value: true, within: example-window}",
        ),
        (
            "      example-pulse-high:",
            "      example-window: {title: Window, unit: d, values: {2026-11-20: 2}, sources: [], status: design}\n"
            "      example-pulse-high:",
        ),
        ("limits: [example-pulse-high]", "limits: [example-pulse-high, example-window]"),
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
