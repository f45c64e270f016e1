"""Whatever a clause may ask of an order is judged: a field that nobody reads would hold for every order."""

from cds_service.protocol.model import OrderIs
from cds_service.rules.clauses.ordered import _OF_ORDER, _OF_STEPS


def test_every_field_of_an_order_clause_is_judged() -> None:
    assert {*_OF_ORDER, *_OF_STEPS} == set(OrderIs.__struct_fields__)
    assert not _OF_ORDER.keys() & _OF_STEPS.keys()
