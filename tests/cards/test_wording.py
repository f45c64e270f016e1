"""The words of a card without a patient, as they are published and documented."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec

from cds_service.cards.wording import Wording, wording
from cds_service.knowledge import Knowledge

DAY = date(2026, 11, 22)


def _said(knowledge: Knowledge, rule: str, tier: str) -> Wording:
    return wording(knowledge.protocol.rules[rule], tier, knowledge.texts.by_rule[rule], knowledge.protocol, DAY)


def test_limits_are_filled_in_and_what_an_order_would_say_is_named(knowledge: Knowledge) -> None:
    said = _said(knowledge, "rate-exceeds-protocol-max", "above-warn")
    assert said.summary == "Rate ‹figure› mg/kg/h is above the protocol maximum 0.5"
    assert said.detail.startswith("Ordered: ‹ordered›. The protocol warns above 0.5 mg/kg/h, ")


def test_a_limit_of_the_site_stands_in_the_words(knowledge: Knowledge) -> None:
    protocol = knowledge.protocol
    changed = msgspec.structs.replace(protocol.limits["rate-warn"], values={DAY: Decimal("0.4")})
    protocol = msgspec.structs.replace(protocol, limits={**protocol.limits, "rate-warn": changed})
    rule, text = protocol.rules["rate-exceeds-protocol-max"], knowledge.texts.by_rule["rate-exceeds-protocol-max"]
    assert wording(rule, "above-warn", text, protocol, DAY).summary.endswith("maximum 0.4")


def test_of_limits_in_several_units_none_is_taken_for_the_one_that_is_meant(knowledge: Knowledge) -> None:
    said = _said(knowledge, "obesity-dosing-weight", "above-on-ideal-weight")
    assert "‹figure› ‹unit›" in said.summary


def test_every_tier_of_every_rule_has_words_in_one_paragraph_without_markup(knowledge: Knowledge) -> None:
    for rule in knowledge.protocol.rules.values():
        for tier in rule.tiers:
            said = _said(knowledge, rule.id, tier.name)
            assert said.summary, rule.id
            assert "\n" not in said.detail, rule.id
            assert "\\" not in said.detail, rule.id
            assert "{{" not in said.summary + said.detail, rule.id
