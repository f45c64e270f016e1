"""A site switches a rule off, on again, or to another severity; each change says who, when and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.advise import advise
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.knowledge import load
from cds_service.protocol.errors import ProtocolError
from tests.hooks.client import encoded
from tests.scenarios.build import NOW, hook_request

RULE = "rate-exceeds-protocol-max"
OWNED = "owner: P&T committee, date: 2026-01-01, reason: local practice"


def _cards(folder: Path, *changes: str, owned: str = OWNED) -> list[tuple[str, str]]:
    """(indicator, leading rule) of the cards of a rate of 0.8 mg/kg/h at a site with these changes."""
    lines = [f"  - {{rule: {RULE}, {change}, {owned}}}" for change in changes]
    file = folder / "site.yaml"
    file.write_text("\n".join(["site: General Hospital", "rules:", *lines]), "utf-8")
    knowledge = load(overlay=str(file))
    body = encoded(hook_request({"hook": "order-sign", "order": {"rate": "0.8 mg/kg/h"}}))
    answer = advise(parse(body, "order-sign"), True, knowledge, NoSource(), NOW)
    return [(card.indicator, card.source.topic.code) for card in answer.cards if card.source.topic]


@pytest.mark.parametrize(
    ("changes", "cards"),
    [
        (["off: false"], [("warning", RULE)]),
        (["off: true"], []),
        (["off: true", "off: false"], [("warning", RULE)]),
        (["off: true", "severity: info"], []),
        (["severity: info"], [("info", RULE)]),
        (["severity: critical"], [("critical", RULE)]),
        (["severity: info", "off: false"], [("info", RULE)]),
        (["severity: critical", "severity: info"], [("info", RULE)]),
    ],
)
def test_a_rule_is_switched_and_graded_by_the_site(
    changes: list[str], cards: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert _cards(tmp_path, *changes) == cards


@pytest.mark.parametrize("change", ["off: true", "off: false", "severity: info"])
@pytest.mark.parametrize("missing", ["owner", "date", "reason"])
def test_no_switch_is_taken_without_its_owner_date_and_reason(change: str, missing: str, tmp_path: Path) -> None:
    owned = ", ".join(part for part in OWNED.split(", ") if not part.startswith(missing))
    with pytest.raises(ProtocolError, match=missing):
        _cards(tmp_path, change, owned=owned)
