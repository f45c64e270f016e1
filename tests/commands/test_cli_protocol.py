"""ketamine-cds protocol: what it validates, shows and compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cds_service.protocol.loader import load
from cds_service.terminology import valuesets
from tests.commands.called import BAD_INPUT, request_file

pytestmark = pytest.mark.usefixtures("apart")


# protocol ----------------------------------------------------------------------------------------------------------


OWNED = "owner: P&T committee, date: {date}, reason: local practice"
OVERLAY = """
site: General Hospital
limits:
  - {{limit: rate-warn, value: 0.3, {owned}}}
rules:
  - {{rule: indication-missing, off: true, {owned}}}
"""


def _overlay(folder: Path, text: str = OVERLAY, date: str = "2026-01-01") -> Path:
    path = folder / "site.yaml"
    path.write_text(text.format(owned=OWNED.format(date=date)), "utf-8")
    return path


def test_validate_accepts_the_shipped_protocol(run: Any) -> None:
    status, output, errors = run("protocol", "validate")
    assert (status, errors) == (0, "")
    assert output.startswith("Ketamine order safety protocol ")
    assert " rules, " in output


def test_validate_accepts_an_overlay_and_names_the_site(run: Any, tmp_path: Path) -> None:
    status, output, _ = run("protocol", "validate", _overlay(tmp_path))
    assert status == 0
    assert "with the overlay of General Hospital" in output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "site: X\nlimits: [{{limit: rate-warn, value: 0.3, date: 2026-01-01, reason: r}}]",
            "missing required field `owner`",
        ),
        (
            "site: X\nlimits: [{{limit: rate-warn, value: 0.3, date: 2026-01-01, owner: o}}]",
            "missing required field `reason`",
        ),
        ("site: X\nlimits: [{{limit: rate-warn, value: 0.3, owner: o, reason: r}}]", "missing required field `date`"),
        (
            "site: X\nlimits: [{{limit: rate-warn, value: 0.3, date: 2026-01-01, owner: ' ', reason: r}}]",
            "needs an owner",
        ),
        ("site: X\nlimits: [{{limit: rate-wran, value: 0.3, {owned}}}]", "there is no limit rate-wran"),
        ("site: X\nlimits: [{{limit: rate-warn, value: high, {owned}}}]", "value"),
        ("site: X\nlimits: [{{limit: rate-warn, value: [0.1, 0.3], {owned}}}]", "rate-warn takes one number"),
        ("site: X\nlimits: [{{limit: rate-warn, value: 0.3, unit: mg/h, {owned}}}]", "unit"),
        ("site: X\nrules: [{{rule: no-such-rule, off: true, {owned}}}]", "there is no rule no-such-rule"),
        ("site: X\nrules: [{{rule: indication-missing, severity: loud, {owned}}}]", "severity"),
        ("site: X\nlimit: []", "limit"),
        ("limits: []", "missing required field `site`"),
        ("site: [", "not readable as YAML"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("action", ["validate", "diff"])
def test_an_overlay_that_cannot_be_used_is_refused(
    action: str, text: str, says: str, run: Any, tmp_path: Path
) -> None:
    status, output, errors = run("protocol", action, _overlay(tmp_path, text))
    assert (status, output) == (BAD_INPUT, "")
    assert errors.startswith("ketamine-cds: site.yaml: ")
    assert says in errors


def test_an_overlay_that_is_not_there_is_named(run: Any, tmp_path: Path) -> None:
    status, _, errors = run("protocol", "diff", tmp_path / "none.yaml")
    assert status == BAD_INPUT
    assert "none.yaml: cannot be read" in errors


def test_diff_shows_each_change_with_its_owner(run: Any, tmp_path: Path) -> None:
    status, output, _ = run("protocol", "diff", _overlay(tmp_path))
    assert status == 0
    assert output.splitlines() == [
        "limit rate-warn: 0.5 -> 0.3 mg/kg/h",
        "  changed by P&T committee on 2026-01-01: local practice",
        "rule indication-missing: off",
        "  changed by P&T committee on 2026-01-01: local practice",
    ]


def test_diff_of_an_overlay_without_changes_says_so(run: Any, tmp_path: Path) -> None:
    assert run("protocol", "diff", _overlay(tmp_path, "site: X"))[:2] == (0, "the overlay changes nothing\n")


def test_a_change_that_takes_effect_later_is_shown_and_does_not_hold_yet(run: Any, tmp_path: Path) -> None:
    overlay = _overlay(tmp_path, date="2199-01-01")
    assert "limit rate-warn: 0.5 -> 0.3 mg/kg/h" in run("protocol", "diff", overlay)[1]
    _, shown, _ = run("protocol", "show", "rate-warn", "--overlay", overlay)
    assert "  0.5 mg/kg/h, evidence" in shown
    assert "  from 2199-01-01: 0.3" in shown
    _, table, _ = run("protocol", "show", "--overlay", overlay)
    (line,) = [line for line in table.splitlines() if line.startswith("rate-warn ")]
    assert " 0.5 " in line


def test_a_later_change_holds_from_its_day_on_for_the_orders_too(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETAMINE_CDS_OVERLAY", str(_overlay(tmp_path, date="2026-11-23")))
    path = request_file(tmp_path, {"order": {"rate": "0.4 mg/kg/h"}})
    assert run("check", path, "--now", "2026-11-22T23:59:00Z")[0] == 0
    status, output, _ = run("check", path, "--now", "2026-11-23T00:01:00Z")
    assert status == 1
    assert "Rate 0.4 mg/kg/h is above the protocol maximum 0.3" in output
    assert "P&T committee, 2026-11-23" in " ".join(output.split())


def test_show_lists_rules_and_limits(run: Any) -> None:
    status, output, _ = run("protocol", "show")
    assert status == 0
    protocol = load(valuesets.load())
    shown = {word for line in output.splitlines() for word in line.split()[:2]}
    assert {*protocol.rules, *protocol.limits} <= shown


def test_show_of_a_rule_names_its_tiers_limits_and_sources(run: Any) -> None:
    status, output, _ = run("protocol", "show", "rate-exceeds-protocol-max")
    assert status == 0
    assert "warning" in output
    assert "rate-warn" in output
    assert "K-04" in output


def test_show_of_what_is_not_there_is_refused(run: Any) -> None:
    status, output, errors = run("protocol", "show", "no-such-thing")
    assert (status, output) == (BAD_INPUT, "")
    assert errors.startswith("ketamine-cds: there is no rule and no limit no-such-thing; did you mean ")
    assert errors.count("\n") == 1
