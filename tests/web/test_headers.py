"""Addresses, headers and names made to cost much: bounded, and none is read by what takes more than its length."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from cds_service import bounds
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from tests.hooks.client import client, encoded
from tests.scenarios.build import hook_request
from tests.web.test_server import PATIENCE, Running, started

SIGN = "/cds-services/ketamine-order-sign"
BODY = encoded(hook_request({"order": {"rate": "1.2 mg/kg/h"}}))
ADDRESS = "/healthz"
COSTLY: dict[str, Callable[[int], str]] = {
    "blanks": lambda size: f"a{' ' * size}b",
    "commas": lambda size: "," * size,
    "languages": lambda size: ",".join(f"x{number};q=0.1" for number in range(size // 10)),
    "parameters": lambda size: "application/json" + ";a=b" * (size // 4),
    "an open quote": lambda size: f'application/json;a="{"b" * size}',
    "pieces": lambda size: "application/json" + "".join(f";a*{number}=b" for number in range(size // 9)),
    "slashes": lambda size: "/" * size,
}


@pytest.fixture(scope="module")
def http(knowledge: Knowledge) -> FlaskClient:
    return client(knowledge, Settings())


def _cost(act: Callable[[], object]) -> float:
    """Seconds of a processor, of the quickest of three."""

    def once() -> float:
        began = time.thread_time()
        act()
        return time.thread_time() - began

    return min(once() for _ in range(3))


@pytest.mark.timing
@pytest.mark.parametrize("value", COSTLY)
@pytest.mark.parametrize(
    "header", ["Accept", "Accept-Language", "Content-Type", "Content-Encoding", "Cookie", "Range", "If-None-Match"]
)
def test_no_header_costs_more_than_its_length(header: str, value: str, http: FlaskClient) -> None:
    """A GET of the first page with 30,000 blanks in its Accept took 1.5 s of a processor, with 60,000 six."""

    def ask(size: int) -> None:
        headers = {header: COSTLY[value](size)}
        http.get("/", headers=headers)
        http.get("/fhir/metadata", headers=headers)
        http.post(SIGN, data=BODY, headers={"Content-Type": "application/json", **headers})

    ask(100)
    assert _cost(lambda: ask(bounds.HEADER)) < _cost(lambda: ask(100)) + 0.15


def _named_at_length(text: str) -> dict[str, dict[str, Any]]:
    """Requests with a long text where no resource is read."""
    request = hook_request({"order": {"rate": "1.2 mg/kg/h"}})

    def linked(relation: str, url: str) -> dict[str, Any]:
        page = {"resourceType": "Bundle", "link": [{"relation": relation, "url": url}], "entry": []}
        return request | {"prefetch": request["prefetch"] | {"vitalSigns": page, "x": page}}

    return {
        "a key of the prefetch": request
        | {"prefetch": request["prefetch"] | {text: {"resourceType": "Bundle", "entry": []}}},
        "a self link": linked("self", text),
        "a next link": linked("next", text),
        "a relation": linked(text, "https://ehr.example"),
        "the FHIR server": request | {"fhirServer": f"https://ehr.example/{text}"},
        "the patient": request | {"context": request["context"] | {"patientId": text}},
        "the call": request | {"hookInstance": text},
    }


@pytest.mark.timing
@pytest.mark.parametrize("text", ["/", "a/", "_", "A ", "%2F", "&", "code=1,"])
@pytest.mark.parametrize("place", _named_at_length(""))
def test_a_name_or_an_address_of_a_megabyte_costs_next_to_nothing(place: str, text: str, http: FlaskClient) -> None:
    """A self link took 1.6 s of a processor, the key of a prefetch 1.1 s, and nothing looked at the time."""
    long, short = (encoded(_named_at_length(text * (size // len(text)))[place]) for size in (1_000_000, 100))
    post = partial(http.post, SIGN, content_type="application/json")
    post(data=short)
    assert _cost(lambda: post(data=long)) < _cost(lambda: post(data=short)) + 0.1


# Over HTTP ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("headers"), None) as running:
        running.wait_for("Listening on ")
        yield running


def _asked(service: Running, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, Any]]:
    host = service.base.removeprefix("http://")
    connection = HTTPConnection(host, timeout=PATIENCE)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"host": "x"} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("where", ["in the path", "in the query", "in one header", "in many headers"])
def test_a_header_of_the_bound_is_read_and_one_character_more_is_431(where: str, service: Running) -> None:
    beside = len(ADDRESS) + len("host") + len("x")

    def ask(size: int) -> int:
        left = size - beside
        if where == "in the path":
            return _asked(service, f"/nothing/{'a' * (left - len('/nothing/') + len(ADDRESS))}")[0]
        if where == "in the query":
            return _asked(service, f"{ADDRESS}?{'a' * left}")[0]
        count = 1 if where == "in one header" else 50
        names = [f"x{number:02}" for number in range(count)]
        each, rest = divmod(left - 3 * count, count)
        return _asked(service, ADDRESS, **{name: "a" * (each + (rest if name == "x00" else 0)) for name in names})[0]

    assert ask(bounds.HEADER) == (404 if where == "in the path" else 200)
    assert ask(bounds.HEADER + 1) == 431


def test_a_header_above_the_bound_is_an_operation_outcome_that_repeats_nothing(service: Running) -> None:
    status, said = _asked(service, "/", accept=f"Miller{' ' * 60_000}b")
    assert (status, said["resourceType"]) == (431, "OperationOutcome")
    assert "Miller" not in str(said)
    assert 'ketamine_cds_shed_total{why="header"}' in requests.get(f"{service.base}/metrics", timeout=PATIENCE).text
