"""The command protocol test: a site's own scenarios, with its overlay and its protocols."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service import cli
from cds_service.commands import scenarios
from cds_service.folders import KETAMINE
from cds_service.knowledge import Knowledge
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.overlay import load_protocols
from cds_service.terminology import valuesets

NOW = ("--now", "2026-11-22T10:00:00Z")
OVERLAY = """
site: Example Hospital
limits:
  - {limit: rate-warn, value: 0.3, owner: P&T committee, date: 2026-11-20, reason: the house's figure}
"""
ABOVE = """
- name: A rate above the figure of the house warns
  order: {rate: 0.4 mg/kg/h}
  expect: {warning: [rate-exceeds-protocol-max], says: [above 0.3 mg/kg/h]}
"""


def site(folder: Path, written: str, overlay: str | None = OVERLAY) -> str:
    """A site's folder with one file of scenarios."""
    (folder / "scenarios").mkdir()
    (folder / "scenarios" / "house.yaml").write_text(written)
    if overlay is not None:
        (folder / "overlay.yaml").write_text(overlay)
    return str(folder)


def run(*arguments: str) -> int:
    return cli.main(["protocol", "test", *arguments])


@pytest.fixture
def loaded(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped protocol, loaded once for all tests."""
    monkeypatch.setattr(scenarios, "load", lambda *_: knowledge)


def test_the_scenarios_beside_an_overlay_are_judged_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(site(tmp_path, ABOVE)) == 0
    assert capsys.readouterr().out == "1 scenario: none not as expected\n"


def test_what_is_not_as_expected_is_said_with_how_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], loaded: None
) -> None:
    below = "- {name: A usual rate, order: {rate: 0.2 mg/kg/h}, expect: {critical: [psychosis]}}\n"
    assert run(site(tmp_path, ABOVE + below, overlay=None)) == 1
    said = capsys.readouterr().out
    assert "FAILED scenarios/house.yaml: A rate above the figure of the house warns\n" in said
    assert "rate-exceeds-protocol-max is expected to be warning; it is clear" in said
    assert "psychosis is expected to be critical; it is clear" in said
    assert said.endswith("2 scenarios: 2 not as expected\n")


def test_a_change_counts_from_its_date_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = site(tmp_path, ABOVE, OVERLAY.replace("2026-11-20", "2026-12-24"))
    assert run(folder, *NOW) == 1
    assert run(folder, "--now", "2026-12-24T10:00:00Z") == 0
    assert "1 not as expected" in capsys.readouterr().out


def test_the_example_of_a_site_and_that_of_a_second_protocol_are_as_expected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("examples", *NOW) == 0
    assert run("examples/protocols/lidocaine", *NOW) == 0
    assert "56 scenarios: none not as expected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("[]", "there is no scenario"),
        ("- name: [", "scenarios/house.yaml: not readable as YAML"),
        ("name: one\n", "expected is a list of scenarios"),
        (ABOVE.replace("order:", "ordr:"), "unknown field `ordr`"),
        (ABOVE.replace("warning:", "warnings:"), "unknown field `warnings`"),
        (ABOVE.replace("  order: {rate: 0.4 mg/kg/h}\n", ""), "needs either an order or a list of orders"),
        (ABOVE + ABOVE, "two scenarios are called"),
        (
            ABOVE.replace("rate-exceeds-protocol-max", "rate-exceed-protocol-max"),
            "there is no rule rate-exceed-protocol-max; did you mean rate-exceeds-protocol-max?",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_no_pass(
    written: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], loaded: None
) -> None:
    assert run(site(tmp_path, written, overlay=None)) == 3
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("rate:", "rat:", "an order has no 'rat'; did you mean rate?"),
        ("0.4 mg/kg/h", "fast", "'fast' is not a quantity"),
        ("order: {", "order: {drug: ketamin, ", "nor a word of scenarios; did you mean ketamine?"),
        ("order: {", "patient: {wieght: 70 kg}\n  order: {", "a patient has no 'wieght'; did you mean weight?"),
        ("order: {", "patient: {symptoms: [headach]}\n  order: {", "no symptom 'headach'; did you mean headache?"),
        ("order: {", "patient: {setting: wrad}\n  order: {", "no setting 'wrad'; did you mean ward?"),
        ("order: {", "patient: {weight: [3]}\n  order: {", "A rate above"),
        ("order: {", "patient: 3\n  order: {", "Expected `object`, got `int`"),
        ("order: {", "patient: {problems: 5}\n  order: {", "it cannot be read"),
        (
            "order: {rate: 0.4 mg/kg/h}",
            "hook: patient-view\n  patient: {missing: [administrations]}",
            "the service refuses the request",
        ),
    ],
)
def test_a_scenario_that_says_what_nobody_understands_fails(
    before: str, after: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], loaded: None
) -> None:
    assert run(site(tmp_path, ABOVE.replace(before, after), overlay=None)) != 0
    said = capsys.readouterr()
    assert says in said.out + said.err


def test_an_overlay_does_not_change_a_sites_own_protocol(tmp_path: Path) -> None:
    """It says so in place of "there is no such limit": the folder of that protocol is the site's own."""
    own = Path("examples/protocols/lidocaine")
    sets = valuesets.load(protocols=(KETAMINE, own))
    of_rxnorm = 'product: "6387", system: "http://www.nlm.nih.gov/research/umls/rxnorm", mg_per_ml: 8'
    for change, says in (
        ("limits: [{limit: lidocaine-rate, value: 1", "lidocaine-rate is a limit"),
        ("rules: [{rule: lidocaine-seizure, off: true", "lidocaine-seizure is a rule"),
        (
            "filters: [{rules: [lidocaine-seizure], to: warning, when: in intensive care",
            "lidocaine-seizure is a rule",
        ),
        (f"products: [{{{of_rxnorm}", "6387 is a product"),
    ):
        overlay = tmp_path / "overlay.yaml"
        overlay.write_text(f"site: Example Hospital\n{change}, owner: us, date: 2026-11-20, reason: ours}}]\n")
        with pytest.raises(ProtocolError, match=f"{says} of the protocol lidocaine, which this file cannot change"):
            load_protocols(str(overlay), sets, [own])
