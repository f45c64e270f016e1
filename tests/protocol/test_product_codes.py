"""Products in the published value sets: whoever reads these finds a medicine by the code of a product, as we do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cds_service.knowledge import Knowledge
from cds_service.protocol import published_sets
from cds_service.protocol.cql import SetPart
from cds_service.protocol.cql.valuesets import parts
from cds_service.published import as_cql
from cds_service.terminology import products
from tests.scenarios.build import NOW

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ESKETAMINE = {"esketamine-drug", "allergy-ketamine"}
MOST_BYTES = 2_000_000
SetsOf = Mapping[tuple[str, str], Sequence[str]]


@pytest.fixture(scope="module")
def published(knowledge: Knowledge) -> Mapping[str, Any]:
    whole = published_sets.value_sets([knowledge.protocol])
    return whole | parts(as_cql(knowledge, knowledge.protocol, NOW.date()).sets, whole)


@pytest.fixture(scope="module")
def sets_of(published: Mapping[str, Any]) -> SetsOf:
    """(system, code) -> the ids of the sets that list it."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, each in published.items():
        for include in each.get("compose", {}).get("include", ()):
            for concept in include.get("concept", ()):
                found.setdefault((include["system"], concept["code"]), []).append(name)
    return found


@pytest.mark.parametrize(
    ("code", "sets"),
    [
        pytest.param("309362", {"rx-cyp2b6-inhibitors"}, id="a tablet of clopidogrel"),
        pytest.param("858364", set(), id="eye drops of ketorolac act on the eye alone"),
        pytest.param("996824", {"rx-ergot", SetPart("rx_ergot", "ergometrine").id}, id="a tablet of an ergot"),
        pytest.param("2119387", {*ESKETAMINE, "esketamine-drug.nasal"}, id="the labelled nasal spray"),
        pytest.param("2119377", ESKETAMINE, id="a strength without a form is not known to be the spray"),
    ],
)
def test_a_product_is_in_the_sets_of_what_is_in_it(code: str, sets: set[str], sets_of: SetsOf) -> None:
    assert set(sets_of.get((RXNORM, code), ())) == sets


def test_a_product_is_wherever_an_ingredient_of_it_is_and_nowhere_twice(sets_of: SetsOf) -> None:
    known = {(system, code): products.find(system, code) for system, code, _ in products.named()}
    anywhere = {key: each.ingredients for key, each in known.items() if each and each.form in (None, "injection")}
    assert len(anywhere) > 900
    for key, ingredients in anywhere.items():
        expected = {name for each in ingredients for name in sets_of.get((RXNORM, each), ())}
        assert expected <= set(sets_of.get(key, ())), key
    assert all(len(names) == len(set(names)) for names in sets_of.values())


def test_the_value_sets_stay_small_enough_for_one_page(published: Mapping[str, Any]) -> None:
    assert len(json.dumps(list(published.values()), separators=(",", ":"))) < MOST_BYTES
