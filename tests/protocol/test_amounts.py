"""Amounts in a rule: a site limits a dose, a rate or a time as data, and what cannot be compared stops the load."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from msgspec.structs import replace

from cds_service.advise import explain
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.errors import ProtocolError
from cds_service.rules import judge
from tests.scenarios.build import NOW, sent

OVERLAY = """
    site: Example Hospital
    additions:
      - {owner: P&T committee, date: 2026-11-20, reason: "the house's own limits", rules: [example-amount]}
"""
RULE = """
    title: Limit of the house
    row: 1001
    category: dose
    judged by: JUDGE
    status: design

    limits:
      example-per-hour:
        title: Highest rate in the house
        unit: mg/h
        values: {2026-11-20: 30}
        sources: []
        status: design
      example-ideal:
        title: Highest rate on ideal body weight
        unit: mg/kg/h
        values: {2026-11-20: 0.4}
        routes: [intravenous]
        sources: []
        status: design

      esketamine-example-per-hour:
        title: Highest rate in the house (esketamine)
        unit: mg/h
        values: {2026-11-20: 15}
        drug: esketamine
        stands_for: example-per-hour
        sources: []
        status: design
      esketamine-example-ideal:
        title: Highest rate on ideal body weight (esketamine)
        unit: mg/kg/h
        values: {2026-11-20: 0.2}
        drug: esketamine
        stands_for: example-ideal
        routes: [intravenous]
        sources: []
        status: design

    facts:
      too much: AMOUNT
    tiers:
      above: {warning: LOGIC, limits: [example-per-hour]}
    offers: OFFERS
"""
TEXT = """
    ---
    title: Limit of the house
    short: limit
    summary: "Above the limit of the house"
    ---

    Ask the pharmacy.
"""
PER_HOUR = "{amount: mg/h, of: continuous, together: true, above: example-per-hour}"
IDEAL = "{amount: mg/kg/h, of: continuous, weight: ideal, above: example-ideal}"


def house(
    folder: Path, amount: str, judge: str = "clauses", offers: str = "[]", logic: str = "too much", more: str = ""
) -> Knowledge:
    """The protocol with one rule of the house."""
    rule = folder / "rules" / "example-amount"
    rule.mkdir(parents=True, exist_ok=True)
    (rule / "card.md").write_text(dedent(TEXT).lstrip(), "utf-8")
    written = dedent(RULE).replace("JUDGE", judge).replace("AMOUNT", f"{amount}{more}")
    if "example-ideal" not in written.partition("\nfacts:")[2]:  # a limit that nothing names is refused
        written = re.sub(r"^  (?:esketamine-)?example-ideal:\n(?:    .*\n)+", "", written, flags=re.MULTILINE)
    (rule / "rule.yaml").write_text(written.replace("LOGIC", logic).replace("OFFERS", offers), "utf-8")
    overlay = folder / "overlay.yaml"
    overlay.write_text(dedent(OVERLAY), "utf-8")
    return load(overlay=str(overlay))


def ended(knowledge: Knowledge, order: dict[str, Any], **patient: Any) -> Any:
    """How the rule of the house ended for an order."""
    judged, _ = explain(sent({"order": order, "patient": patient}), True, knowledge, NoSource(), NOW)
    (outcome,) = (each for each in judged[0].outcomes if each.rule.id == "example-amount")
    return outcome


def test_a_limit_in_mg_per_hour_holds_however_the_rate_is_written(tmp_path: Path) -> None:
    knowledge = house(tmp_path, PER_HOUR)
    assert ended(knowledge, {"rate": "30 mg/h"}).status == "clear"
    assert ended(knowledge, {"rate": "0.43 mg/kg/h"}).facts[0].says == "30.1 mg/h"
    assert ended(knowledge, {"rate": "0.43 mg/kg/h"}, weight="none").status == "could-not-tell"
    assert ended(knowledge, {"dose": "40 mg", "over": "20 min"}).status == "clear"


def test_an_ideal_weight_is_the_basis_where_the_amount_says_so(tmp_path: Path) -> None:
    knowledge = house(tmp_path, IDEAL)
    heavy = {"weight": "110 kg", "height": "165 cm"}
    assert ended(knowledge, {"rate": "0.2 mg/kg/h"}, **heavy).status == "clear"
    assert ended(knowledge, {"rate": "0.3 mg/kg/h"}, **heavy).facts[0].figure.startswith("0.5")
    assert ended(knowledge, {"rate": "0.3 mg/kg/h"}, weight="110 kg").reasons[0].fact == "height"
    assert ended(knowledge, {"rate": "0.9 mg/kg/h", "route": "oral"}, **heavy).status == "clear"


def test_each_drug_of_the_family_is_held_against_its_own_limit_of_the_house(tmp_path: Path) -> None:
    knowledge = house(tmp_path, PER_HOUR)
    assert ended(knowledge, {"rate": "16 mg/h", "drug": "esketamine"}).facts[0].says == "16 mg/h"
    assert ended(knowledge, {"rate": "16 mg/h"}).status == "clear"


def test_a_limit_of_the_house_for_one_drug_alone_stops_the_load(tmp_path: Path) -> None:
    house(tmp_path, PER_HOUR)
    rule = tmp_path / "rules" / "example-amount" / "rule.yaml"
    text = rule.read_text("utf-8")
    begin, end = text.index("  esketamine-example-per-hour:"), text.index("\nfacts:")
    rule.write_text(text[:begin] + text[end:], "utf-8")
    with pytest.raises(ProtocolError, match="example-per-hour is read for esketamine, which has none of its own"):
        load(overlay=str(tmp_path / "overlay.yaml"))


def test_a_rule_of_amounts_is_repaired_to_the_limit_it_names(tmp_path: Path) -> None:
    knowledge = house(tmp_path, PER_HOUR, "amounts", "[lower-to-example-per-hour]")
    (offer,) = ended(knowledge, {"rate": "33 mg/h"}).proposals
    assert offer.values["to"] == "30 mg/h"


def test_a_sum_of_infusions_is_held_against_the_limit(tmp_path: Path) -> None:
    steps = {"steps": [{"rate": "20 mg/h"}, {"rate": "11 mg/h"}]}
    assert ended(house(tmp_path, PER_HOUR), steps).facts[0].says == "31 mg/h"


@pytest.mark.parametrize(
    ("amount", "judge", "says"),
    [
        (PER_HOUR.replace("mg/h", "mg/kg/h"), "clauses", "example-per-hour is in mg/h, and the amount in mg/kg/h"),
        (
            PER_HOUR.replace("above", "use: [anlgesic], above"),
            "clauses",
            "names the use anlgesic, which does not exist",
        ),
        (PER_HOUR.replace("above", "repeats: true, above"), "clauses", "needs the time within which they start"),
        (
            PER_HOUR.replace("above", "at most"),
            "clauses",
            "needs a limit that it is above, at least, below or other than",
        ),
    ],
)
def test_an_amount_that_cannot_be_compared_stops_the_load(tmp_path: Path, amount: str, judge: str, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        house(tmp_path, amount, judge)


def test_a_tier_of_amounts_that_may_hold_without_one_stops_the_load(tmp_path: Path) -> None:
    man = "\n  a man: {patient: {sex: male}}"
    with pytest.raises(ProtocolError, match="may hold without an amount"):
        house(tmp_path, PER_HOUR, "amounts", logic="too much or a man", more=man)


def test_a_judgement_without_its_limits_stops_the_load(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="asks for these limits: adult, in years, infant"):
        house(tmp_path, PER_HOUR, "child")


@pytest.mark.parametrize(
    ("tier_of", "says"),
    [
        ({"below infant": "infant"}, "asks for these tiers: below adult, below infant"),
        ({"below infant": "infant", "below adult": "chlid"}, "there is no tier chlid; did you mean child"),
        ({"below infant": "infant", "below adult": "infant"}, "never finds the tier child"),
    ],
)
def test_a_judgement_is_given_each_of_its_tiers(tier_of: dict[str, str], says: str, knowledge: Knowledge) -> None:
    child = knowledge.protocol.rules["age-paediatric"]
    rules = {**knowledge.protocol.rules, child.id: replace(child, tier_of=tier_of)}
    with pytest.raises(ProtocolError, match=says):
        judge.check(replace(knowledge.protocol, rules=rules))
