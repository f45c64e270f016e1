"""A drug of the family is held against limits of its own, or the protocol does not load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from cds_service.knowledge import Knowledge
from cds_service.protocol import model
from cds_service.protocol.errors import ProtocolError
from cds_service.rules import family, judge


def without(protocol: model.Protocol, *gone: str) -> model.Protocol:
    return replace(protocol, limits={name: limit for name, limit in protocol.limits.items() if name not in gone})


def stand_ins(protocol: model.Protocol) -> Iterator[model.Limit]:
    return (limit for limit in protocol.limits.values() if limit.stands_for is not None)


def test_every_amount_that_esketamine_is_held_against_is_its_own(knowledge: Knowledge) -> None:
    assert list(family.lacking(knowledge.protocol)) == []


def test_a_protocol_does_not_load_where_a_drug_would_be_held_against_anothers_limit(knowledge: Knowledge) -> None:
    lacks = without(knowledge.protocol, "esketamine-rate-warn")
    with pytest.raises(ProtocolError, match="rate-warn is read for esketamine, which has none of its own"):
        judge.check(lacks)


def test_each_dose_of_the_first_drug_is_missed_where_its_stand_in_is_gone(knowledge: Knowledge) -> None:
    protocol = knowledge.protocol
    doses = [limit for limit in stand_ins(protocol) if limit.unit in ("mg/kg", "mg/kg/h")]
    unread = [limit.id for limit in doses if not list(family.lacking(without(protocol, limit.id)))]
    assert len(doses) > 20
    assert unread == []


def test_what_another_medicine_or_the_labelled_product_is_held_against_is_no_limit_of_the_drug(
    knowledge: Knowledge,
) -> None:
    said = " ".join(family.lacking(replace(knowledge.protocol, drugs=["ketamine", "esketamine", "arketamine"])))
    assert "rate-warn is read for arketamine" in said
    assert "midazolam" not in said
    assert "nasal-dose-most" not in said
