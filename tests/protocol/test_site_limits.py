"""Where a site's limit decides, the card says that it is the site's."""

from __future__ import annotations

from pathlib import Path

from cds_service.advise import advise
from cds_service.cards.model import EXTENSION
from cds_service.fhir.source import NoSource
from cds_service.knowledge import load
from tests.scenarios.build import NOW, sent

OWNED = "owner: P&T committee, date: 2026-11-20, reason: local practice"


def test_a_limit_of_the_site_that_decides_stands_on_the_card(tmp_path: Path) -> None:
    """Midazolam is started lower from 50 years on at this site; at 55, that age is why 2 mg is too much."""
    overlay = tmp_path / "site.yaml"
    overlay.write_text(
        f"site: General Hospital\nlimits: [{{limit: midazolam-older-age, value: 50, {OWNED}}}]", "utf-8"
    )
    midazolam = {"drug": "6960 Midazolam", "dose": "2 mg", "indication": "none"}
    request = sent({"patient": {"age": 55}, "orders": [{"rate": "0.2 mg/kg/h"}, midazolam]})
    cards = advise(request, True, load(overlay=str(overlay)), NoSource(), NOW).cards
    (card,) = [card for card in cards if "Midazolam" in card.summary]
    limits = {limit["id"]: limit["site"] for limit in (card.extension or {})[EXTENSION]["limits"]}
    assert limits["midazolam-older-age"] is True
    assert "Site limit (P&amp;T committee" in (card.detail or "")
