"""A server that passes over every search parameter, and whose next pages are on another host.

The service keeps to the patient, does not go there, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from uuid import uuid4

import pytest

from cds_service.knowledge import Knowledge
from tests import charts
from tests.hooks.client import encoded
from tests.sandbox import facts
from tests.sandbox.ehr import Ehr, ordered, own_patients
from tests.sandbox.figures import count
from tests.sandbox.plain import Plain, PlainChart, Resource, chart_of
from tests.servers.hapi import move_dates
from tests.servers.local import LocalServer, Received, Reply, local_server

NOW = datetime.now(UTC).replace(microsecond=0)
NAME = "a stand-in that knows no search parameter"
PAGE_SIZE = 250
"""Of the first page: all of the patients who stand first, and more of others than is looked at."""
NEXT_IS_ELSEWHERE = "the FHIR server's next page is not on that server"
"""What the card says of it."""
FIRST = 17
"""Patients of this project, who stand first; after them the thirteen public ones."""


@pytest.fixture(scope="module")
def patients() -> list[PlainChart]:
    """As they were written, each with ids of its own."""
    own = [_identified(each) for each in own_patients(NOW)]
    public = [_identified(move_dates(json.loads(charts.read(file)), NOW)) for file in charts.files()]
    assert (len(own), len(public)) == (FIRST, 13)
    return [*own, *public]


def _identified(transaction: Resource) -> PlainChart:
    entries = transaction["entry"]
    ids = {each["fullUrl"]: str(uuid4()) for each in entries}
    text = encoded([{**each["resource"], "id": ids[each["fullUrl"]]} for each in entries]).decode()
    for each in entries:
        url, kind = each["fullUrl"], each["resource"]["resourceType"]
        text = text.replace(f'"{url}"', f'"{kind}/{ids[url]}"')
    resources: list[Resource] = json.loads(text, parse_float=Decimal)
    (patient,) = [each for each in resources if each["resourceType"] == "Patient"]
    return chart_of(patient, [each for each in resources if each is not patient])


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[LocalServer]:
    """A host that nobody has allowed."""
    with local_server(Reply(b"{}")) as server:
        yield server


@pytest.fixture(scope="module")
def stand_in(patients: list[PlainChart], elsewhere: LocalServer) -> Iterator[LocalServer]:
    """The server: one resource by its id, or the first page of all that there are of a type."""
    by_reference = {reference: each for plain in patients for reference, each in plain.resources.items()}

    @cache
    def first_page(kind: str) -> bytes:
        all_of_them = [each for reference, each in by_reference.items() if reference.startswith(f"{kind}/")]
        bundle: Resource = {"resourceType": "Bundle", "type": "searchset"}
        bundle["entry"] = [{"resource": each} for each in all_of_them[:PAGE_SIZE]]
        if len(all_of_them) > PAGE_SIZE:
            bundle["link"] = [{"relation": "next", "url": f"{elsewhere.base}/{kind}?page=2"}]
        return encoded(bundle)

    def script(request: Received) -> Reply:
        path = request.path.removeprefix("/fhir/")
        kind, _, searched = path.partition("?")
        return Reply(first_page(kind) if searched else encoded(by_reference[path]))

    with local_server(script) as server:
        yield server


@pytest.fixture(scope="module")
def ehr(patients: list[PlainChart], stand_in: LocalServer, knowledge: Knowledge) -> Iterator[Ehr]:
    made = Ehr(NAME, Plain(stand_in.base), knowledge, NOW, own=patients[:FIRST], found=patients[FIRST:])
    count(NAME, "patients", len(patients))
    yield made
    made.close()


def test_only_the_patients_own_is_read_and_all_of_it_where_it_is_on_the_first_page(ehr: Ehr) -> None:
    for plain in ehr.charts:
        records, chart = ehr.read(plain)
        found = [facts.of_lists(records, plain, ehr.knowledge.queries), facts.of_chart(chart, plain)]
        count(NAME, "facts compared", sum(each.compared for each in found))
        assert [difference for each in found for difference in each] == []
        if plain in ehr.own:
            read = {each.reference for query in ehr.knowledge.queries for each in records.of(facts.kind_of(query))}
            wanted = {
                f"{each['resourceType']}/{each['id']}" for q in ehr.knowledge.queries for each in plain.expected(q)
            }
            assert wanted <= read


def test_every_fact_on_a_card_is_the_patients_own(ehr: Ehr) -> None:
    for plain in ehr.charts:
        request = ehr.request("order-sign", plain, ordered(plain, rate="0.6 mg/kg/h"))
        answer = ehr.call(request)
        found = facts.of_cards(
            answer, ehr.facts(request), plain, ehr.weight_codes if plain in ehr.own else frozenset()
        )
        count(NAME, "facts compared", found.compared)
        assert found == []
        assert NEXT_IS_ELSEWHERE in str(answer["cards"])


def test_the_other_host_is_never_asked(ehr: Ehr, elsewhere: LocalServer) -> None:
    plain = ehr.own[0]
    for hook in ("order-select", "order-sign", "patient-view"):
        drafts = () if hook == "patient-view" else (ordered(plain, rate="0.6 mg/kg/h"),)
        ehr.call(ehr.request(hook, plain, *drafts))
    assert (elsewhere.received, elsewhere.connections) == ([], [])
