"""Ordinary, right orders are seldom interrupted, whatever the client sends."""

from __future__ import annotations

import pytest

from cds_service.advise import advice
from cds_service.cards.model import EXTENSION
from cds_service.fhir.queries import prefetch_keys
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge
from tests.burden.orders import CLIENTS, of_client, ordinary
from tests.burden.table import answers, burden
from tests.scenarios.build import NOW, sent

MOST = {"full data": 0.15, "no nursing orders": 0.15, "thin client": 0.25}
"""The part of the orders that may be interrupted."""
FEWEST_ORDERS = 150


def test_the_ordinary_orders_are_many_and_each_is_another_one() -> None:
    scenarios = [{**scenario, "name": ""} for _, scenario in ordinary()]
    assert len(scenarios) >= FEWEST_ORDERS
    assert all(one not in scenarios[place + 1 :] for place, one in enumerate(scenarios))


@pytest.mark.parametrize("client", CLIENTS)
def test_ordinary_orders_are_seldom_interrupted(client: str, knowledge: Knowledge) -> None:
    found = burden(answers(client, knowledge))
    assert found.share <= MOST[client], found
    assert found.critical == 0


@pytest.mark.parametrize(
    ("sends", "severity"), [(frozenset(prefetch_keys()), "warning"), (None, "info"), (frozenset({"patient"}), "info")]
)
def test_missing_monitoring_warns_where_the_client_is_known_to_send_such_orders(
    sends: frozenset[str] | None, severity: str, knowledge: Knowledge
) -> None:
    request = sent(of_client({"patient": {}, "order": {"rate": "0.2 mg/kg/h"}}, "no nursing orders"))
    cards = advice(request, True, knowledge, NoSource(), NOW, sends=sends).response.cards
    told = [rule for card in cards for rule in (card.extension or {})[EXTENSION]["rules"]]
    assert told == [{"id": "monitoring-order-missing", "severity": severity}]
