"""A second drug is a folder: lidocaine beside ketamine, loaded by its setting, without a line of Python."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cds_service import cli
from cds_service.advise import Advice
from cds_service.cards.model import EXTENSION
from cds_service.errors import ConfigurationError
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge, load
from cds_service.scenarios.expected import faults
from cds_service.settings import Settings
from cds_service.terminology.identity import identify
from cds_service.web.app import create_app
from tests.hooks.client import encoded
from tests.scenarios.build import DRUGS, NOW, hook_request, of_protocol, scenarios
from tests.scenarios.judged import endings, judge

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
    assert faults(scenario, judge(scenario, both)) == []


# Beside ketamine ----------------------------------------------------------------------------------------------------


def told(made: Advice) -> str:
    """All of an answer that a client sees; where a drug is not known, what it may be names both."""
    return encode(made.response).decode().replace(" or lidocaine is not known", " is not known")


@pytest.mark.parametrize(
    "scenario", [pytest.param(scenario, id=f"{rule}: {scenario['name']}") for rule, scenario in scenarios()[::12]]
)
def test_ketamine_is_judged_as_it_is_without_the_second_drug(
    scenario: dict[str, Any], knowledge: Knowledge, both: Knowledge
) -> None:
    alone, beside = judge(scenario, knowledge), judge(scenario, both)
    assert endings(beside) == endings(alone)
    assert told(beside) == told(alone)


def test_orders_of_both_drugs_get_the_cards_of_both_protocols(both: Knowledge) -> None:
    made = judge(
        {
            "patient": {"height": "175 cm", "problems": ["84757009 Epilepsy", "58214004 Schizophrenia"]},
            "orders": [{"rate": "0.2 mg/kg/h"}, {"drug": "lidocaine", "rate": "1 mg/kg/h", "for": "24 h"}],
        },
        both,
    )
    by_order = {each.drug: {outcome.rule.id for outcome in each.outcomes} for each in made.judged}
    assert by_order["ketamine"].isdisjoint(by_order["lidocaine"])
    cards = {card.source.topic.code: card for card in made.response.cards if card.source.topic}
    assert cards["lidocaine-seizure"].source.label == "Intravenous lidocaine for acute pain (example) 2026.11"
    assert cards["psychosis"].source.label == "Ketamine order safety protocol 2026.11"
    assert str(cards["lidocaine-seizure"].source.url).endswith("/protocol/lidocaine-seizure")
    assert (made.response.extension or {})[EXTENSION]["protocol"]["version"] == "2026.11, lidocaine 2026.11"


def test_the_doses_of_two_drugs_are_not_added_up(both: Knowledge) -> None:
    orders = [
        {"rate": "0.4 mg/kg/h", "group": "g1"},
        {"drug": "lidocaine", "rate": "0.4 mg/kg/h", "for": "24 h", "group": "g1"},
    ]
    made = judge({"patient": {"height": "175 cm"}, "orders": orders}, both)
    assert [card.summary for card in made.response.cards if card.indicator != "info"] == []


def test_a_mixture_has_the_strength_of_the_drug_that_is_judged(both: Knowledge) -> None:
    request = {"order": {"drug": "ketamine", "strength": "2 mg/mL", "rate": "20 mL/h"}}
    mixed = hook_request(request)
    medication = mixed["context"]["draftOrders"]["entry"][0]["resource"]["contained"][0]
    own = medication["ingredient"][0]
    coding = dict(zip(("system", "code", "display"), DRUGS["lidocaine"], strict=True))
    medication["ingredient"].append({**own, "itemCodeableConcept": {"coding": [coding]}})
    steps = judge(request, both).judged[0].steps
    again = judge(request, both, parse(encoded(mixed), "order-sign")).judged[0]
    assert (again.drug, again.steps[0].mg_per_hour) == ("ketamine", steps[0].mg_per_hour)


def test_without_the_setting_lidocaine_is_no_concern_of_the_service(knowledge: Knowledge) -> None:
    made = judge({"order": {"drug": "lidocaine", "dose": "500 mg", "push": True}}, knowledge)
    assert (made.response.cards, made.judged) == ([], ())


@pytest.mark.parametrize("text", ["Lidocaine 2 % 10 mL", "lignocaine infusion", "Xylocaine i.v.", "Lidocain"])
def test_the_second_drug_is_known_by_its_names(text: str, both: Knowledge) -> None:
    found = identify([], [text], both.valuesets)
    assert found is not None
    assert found.drug == "lidocaine"


@pytest.mark.parametrize("text", ["lidocaine patch 5 %", "Lidocaine / Epinephrine", "prilocaine", "bupivacaine"])
def test_what_is_not_given_by_vein_is_not_taken_for_it(text: str, both: Knowledge) -> None:
    assert identify([], [text], both.valuesets) is None


# The doors ----------------------------------------------------------------------------------------------------------


def test_titles_and_prefetch_are_the_union_of_what_is_loaded(knowledge: Knowledge, both: Knowledge) -> None:
    one, two = (create_app(Settings(), each, clock=lambda: NOW).test_client() for each in (knowledge, both))
    alone, beside = (each.get("/cds-services").get_json()["services"] for each in (one, two))
    assert [service["id"] for service in beside] == [service["id"] for service in alone]
    assert alone[0]["title"] == "Ketamine order check (while ordering)"
    assert beside[0]["title"] == "Ketamine and lidocaine order check (while ordering)"
    assert "ketamine, esketamine and lidocaine orders" in beside[0]["description"]
    assert [service["prefetch"].keys() for service in beside] == [service["prefetch"].keys() for service in alone]


def test_each_protocol_is_published_and_has_its_pages(both: Knowledge) -> None:
    http = create_app(Settings(), both, clock=lambda: NOW).test_client()
    for name, rules in (("ketamine", 84), ("lidocaine", 19)):
        plan = http.get(f"/fhir/PlanDefinition/{name}").get_json()
        assert plan["name"] == f"{name.capitalize()}OrderSafety"
        assert sum("code" in action for action in plan["action"]) == rules
        assert http.get(f"/fhir/Library/{name}").get_json()["name"] == f"{name.capitalize()}Limits"
    assert http.get("/fhir/ValueSet/dx-heart-block").get_json()["name"] == "dx_heart_block"
    for rule in both.by_rule:
        assert http.get(f"/protocol/{rule}").status_code == 200, rule


def test_the_command_line_knows_the_second_drug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KETAMINE_CDS_PROTOCOLS", str(LIDOCAINE))
    file = tmp_path / "order.json"
    order = {"drug": "lidocaine", "rate": "200 mg/h", "for": "24 h"}
    file.write_bytes(encoded(hook_request({"order": order, "patient": {"height": "175 cm"}})))

    def run(*arguments: str) -> str:
        cli.main(list(arguments))
        return capsys.readouterr().out

    now = ("--now", NOW.isoformat())
    assert "Lidocaine 200 mg/h is above 120" in run("check", str(file), *now)
    assert "lidocaine-above-hourly-maximum" in run("explain", str(file), *now)
    assert "(example) 2026.11: 19 rules" in run("protocol", "validate")
    assert "120 mg/h, evidence second-hand" in run("protocol", "show", "lidocaine-hourly")
    assert "LIDO-1" in run("protocol", "evidence")


# What is refused ----------------------------------------------------------------------------------------------------


def _without(part: str, name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / part
        file.write_text("\n".join(line for line in file.read_text("utf-8").split("\n") if name not in line))

    return spoil


def _replaced(part: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / part
        assert old in file.read_text("utf-8")
        file.write_text(file.read_text("utf-8").replace(old, new))

    return spoil


def _written(part: str, text: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / part).write_text(text)

    return spoil


def _stray(folder: Path) -> None:
    (folder / "limit.yaml").write_text("a: 1\n")


def _unnamed_limit(folder: Path) -> None:
    spare = 'lidocaine-spare: {title: Spare, unit: "1", values: {2026-11-28: 1}, sources: [], status: design}\n'
    (folder / "limits.yaml").write_text((folder / "limits.yaml").read_text("utf-8") + spare)


def _unnamed_set(folder: Path) -> None:
    text = (folder / "valuesets" / "dx_heart_block.json").read_text("utf-8")
    spare = folder / "valuesets" / "dx_spare_of_lidocaine.json"
    spare.write_text(text.replace("dx_heart_block", "dx_spare_of_lidocaine"))


def _shipped_rule(folder: Path) -> None:
    shutil.move(folder / "rules" / "lidocaine-seizure", folder / "rules" / "seizure-disorder")


HOURLY = "rules/lidocaine-above-hourly-maximum/rule.yaml"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            _replaced("rules/lidocaine-rate-too-high/rule.yaml", "above: lidocaine-rate", "above: rate-warn"),
            "rate-warn",
        ),
        (_without("protocol.yaml", "  bolus:"), "bolus"),
        (_replaced("drug.yaml", "lidocaine_drug", "lidocain_drug"), "did you mean lidocaine_drug"),
        (_replaced("drug.yaml", "drugs:\n  lidocaine:", "drugs:\n  ketamine:"), "two protocols judge one drug"),
        (_replaced("protocol.yaml", "id: lidocaine", "id: ketamine"), "ketamine"),
        (
            _replaced("rules/lidocaine-seizure/rule.yaml", "offers: [delete]", "offers: [lower-rate]"),
            "restart_fraction",
        ),
        (
            _replaced("limits.yaml", "lidocaine-weights:", "lidocaine-weight:"),
            "lidocaine-weights, which does not exist",
        ),
        (_unnamed_limit, "nothing names the limit lidocaine-spare"),
        (_unnamed_set, "nothing names the value set dx_spare_of_lidocaine"),
        (_written("protocol.yaml", "conventions: 3\n"), "conventions: expected is a mapping"),
        (_written("limits.yaml", "a: 1\n"), "the limit a: expected is a mapping"),
        (_written("drug.yaml", ": : [\n"), "lidocaine/drug.yaml cannot be read"),
        (_written("rules/lidocaine-seizure/rule.yaml", "a: 1\n"), "unknown field `a`"),
        (
            _replaced(HOURLY, "routes: [intravenous,", "routes: [intravenus,"),
            "route intravenus; did you mean intravenous?",
        ),
        (
            _replaced(HOURLY, "of: continuous", "of: continuous\n    route: [intraosseus]"),
            "did you mean intraosseous?",
        ),
        (_stray, "nothing reads limit.yaml; did you mean limits.yaml?"),
        (_shipped_rule, "seizure-disorder is a name of ketamine already"),
    ],
)
def test_a_folder_that_cannot_be_used_stops_the_start(
    spoil: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    folder = tmp_path / "lidocaine"
    shutil.copytree(LIDOCAINE, folder)
    spoil(folder)
    with pytest.raises(ConfigurationError, match=says.replace("?", r"\?")):
        load(protocols=[str(folder)])


def test_no_line_of_python_stands_in_the_folder_and_none_names_it() -> None:
    assert [file for file in LIDOCAINE.rglob("*") if file.suffix == ".py"] == []
    named = [file for file in Path("cds_service").rglob("*.py") if "lidocaine" in file.read_text("utf-8").lower()]
    assert named == []
