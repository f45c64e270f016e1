"""What the conformance suite shares: the service under test, its answers, and which requirement each test is of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from tests.conformance.signing import caller
from tests.conformance.target import ORIGIN, PATIENCE, Exchange, Target, posed
from tests.servers.local import LocalServer, Received, Reply, local_server
from tests.web.test_server import started

URL = "KETAMINE_TEST_CONFORMANCE_URL"
"""The base URL of the service under test; without it the suite starts this project's own."""
REPORT = "KETAMINE_TEST_CONFORMANCE_REPORT"
"""A file to which each test's requirements and outcome are written, one JSON object per line."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requirement(*ids): the requirements that the test is of (requirements.csv)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    file = os.environ.get(REPORT)
    decided = report.when == "call" or (not report.passed and report.when == "setup")
    if file and decided:
        ids = [each for mark in item.iter_markers("requirement") for each in mark.args]
        why = report.longrepr[2].removeprefix("Skipped: ") if report.skipped else ""
        line = {"test": item.nodeid, "requirements": ids, "outcome": report.outcome, "when": report.when, "why": why}
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
    return report


# The service and the FHIR server beside it -------------------------------------------------------------------------


class Records:
    """What the FHIR server has: an answer for each address, and an empty searchset for every other search."""

    def __init__(self) -> None:
        self.at: dict[str, Any] = {}

    def __call__(self, request: Received) -> Reply:
        path = unquote(request.path.partition("/fhir/")[2])
        nothing = {"resourceType": "Bundle", "type": "searchset", "total": 0}
        if path in self.at:
            return Reply(json.dumps(self.at[path], default=float).encode())
        if "?" in path:
            return Reply(json.dumps(nothing).encode())
        return Reply(b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}', 404)


@pytest.fixture(scope="session")
def records() -> Records:
    return Records()


@pytest.fixture(scope="session")
def fhir(records: Records) -> Iterator[LocalServer]:
    with local_server(records) as server:
        yield server


@pytest.fixture(scope="session")
def target(fhir: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The service: at the given URL, or `ketamine-cds serve` on a free port."""
    base = os.environ.get(URL)
    if base:
        _reach(base)
        yield Target(base, is_ours=False, caller=caller())
        return
    folder = tmp_path_factory.mktemp("conformance")
    settings = {"FHIR_SERVERS": fhir.base, "CORS_ORIGINS": ORIGIN, "STATE_DIR": str(folder), "LOG_LEVEL": "WARNING"}
    with started(folder, None, **{f"KETAMINE_CDS_{name}": value for name, value in settings.items()}) as running:
        running.wait_for("Listening on ")
        yield Target(running.base, is_ours=True)


def _reach(base: str) -> None:
    """End the run with one sentence where nobody answers, rather than each test with an error of its own."""
    try:
        requests.get(base, timeout=PATIENCE, allow_redirects=False)
    except requests.RequestException as error:
        why = type(error).__name__
        pytest.exit(f"nothing answers at {base} ({why}): is the service started, and the URL right?", returncode=3)


@pytest.fixture(scope="session")
def services(target: Target) -> list[dict[str, Any]]:
    """What discovery lists; the tests of discovery say so where it lists nothing."""
    content = target.discovery().content
    listed = content.get("services") if isinstance(content, dict) else None
    usable = [each for each in listed or () if isinstance(each, dict) and isinstance(each.get("id"), str)]
    if not usable:
        pytest.fail("discovery lists no service that could be called")
    return usable


@pytest.fixture(scope="session")
def exchanges(target: Target, services: list[dict[str, Any]]) -> list[Exchange]:
    """Every request sent once to each service of its hook."""
    made = [
        Exchange(each, service, target.call(service["id"], each.body))
        for each in posed()
        for service in services
        if service.get("hook") == each.hook
    ]
    if not made:
        pytest.skip("there is no request for any hook of the service; KETAMINE_TEST_CONFORMANCE_REQUESTS names more")
    return made


# What came back ----------------------------------------------------------------------------------------------------


Element = Mapping[str, Any]


@pytest.fixture(scope="session")
def responses(exchanges: list[Exchange]) -> list[Element]:
    """The objects of all answers of 200."""
    found = [each.answer.content for each in exchanges if each.answer.status == 200]
    return _there([each for each in found if isinstance(each, dict)], "no call was answered 200 with an object")


@pytest.fixture(scope="session")
def cards(responses: list[Element]) -> list[Element]:
    return _there(_within(responses, "cards"), "no request gave a card")


@pytest.fixture(scope="session")
def sources(cards: list[Element]) -> list[Element]:
    return [card["source"] for card in cards if isinstance(card.get("source"), dict)]


@pytest.fixture(scope="session")
def suggestions(cards: list[Element]) -> list[Element]:
    return _there(_within(cards, "suggestions"), "no card has a suggestion")


@pytest.fixture(scope="session")
def actions(suggestions: list[Element]) -> list[Element]:
    return _there(_within(suggestions, "actions"), "no suggestion has an action")


@pytest.fixture(scope="session")
def links(cards: list[Element]) -> list[Element]:
    return _there(_within(cards, "links"), "no card has a link")


@pytest.fixture(scope="session")
def reasons(cards: list[Element]) -> list[Element]:
    return _there(_within(cards, "overrideReasons"), "no card has override reasons")


@pytest.fixture(scope="session")
def topics(sources: list[Element]) -> list[Element]:
    return _there([each["topic"] for each in sources if isinstance(each.get("topic"), dict)], "no source has a topic")


def _within(things: list[Element], key: str) -> list[Element]:
    return [
        each
        for thing in things
        for each in (thing.get(key) if isinstance(thing.get(key), list) else [])
        if isinstance(each, dict)
    ]


def _there(things: list[Element], why_not: str) -> list[Element]:
    """The things; where there are none the requirement is about something that the service does not use."""
    if not things:
        pytest.skip(why_not)
    return things
