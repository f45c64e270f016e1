"""A short run of the fuzzer: every kind of change is made, and no answer is bad. `make fuzz` is the long one."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.fuzz.attack import Found, Send, in_process, over_http, run
from tests.fuzz.mutate import IN_PLACE, Case, bases, case
from tests.fuzz.numbers import READ, elements, places, sweep
from tests.web.test_server import started

COUNT = 2_000
OVER_HTTP = 200
SEED = 20261122

BYTES = {"truncated", "flipped", "doubled", "bytes", "bom"}


@pytest.fixture(scope="module")
def application() -> Iterator[tuple[Send, str]]:
    with in_process() as made:
        yield made


@pytest.fixture(scope="module")
def found(application: tuple[Send, str]) -> Found:
    return run(*application, SEED, COUNT)


def test_no_answer_to_a_mutated_request_is_bad(found: Found) -> None:
    assert found.bad == []


def test_every_kind_of_change_was_made_and_both_kinds_of_answer_given(found: Found) -> None:
    """Or the test above would have had nothing to look at."""
    assert set(found.kinds) == {*IN_PLACE, "removed", "repeated", *BYTES}
    assert found.statuses[200] > COUNT / 3
    assert found.statuses[400] > COUNT / 20
    assert found.with_cards > COUNT / 10


def test_every_number_that_is_read_is_swept_in_orders_and_in_records() -> None:
    swept: set[tuple[str, ...]] = set()
    for path in places(bases()):
        names = tuple(str(part) for part in path)
        swept |= {names[start:] for start in range(len(names)) if names[start] in READ}
    wanted = {(kind, *element) for kind, struct in READ.items() for element in elements(struct)}
    assert wanted - swept == set()
    assert len(wanted) > 50


def test_no_answer_is_bad_whichever_number_is_too_large_or_too_small(application: tuple[Send, str]) -> None:
    """Feedback among them: each of its elements becomes such a number."""
    cases = list(sweep(bases(), ("1e-999999999999",)))
    found = run(*application, SEED, len(cases), first=cases)
    assert found.bad == []
    assert {service.partition("-")[2] for service, _ in found.answers} == {
        "order-select",
        "order-sign",
        "patient-view",
        "order-sign/feedback",
    }
    assert found.statuses[200] > len(cases) / 2


def test_a_seed_gives_the_same_cases_each_time() -> None:
    first, second = ([case(rng, bases()) for _ in range(50)] for rng in (random.Random(7), random.Random(7)))
    assert first == second


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, b"{}", "answered 500"),
        (200, b"<html>", "something else than JSON"),
        (200, b'{"cards":[{"summary":"failed"}]}', "the service failed"),
        (200, b'{"cards":[{"summary":"a card without anything else"}]}', "80:"),
        (400, b'{"error":"no"}', "no OperationOutcome"),
    ],
)
def test_a_bad_answer_is_found(status: int, body: bytes, says: str) -> None:
    bad = run(lambda each: (status, body), "failed", SEED, 1).bad
    assert len(bad) == 1
    assert says in bad[0]


def test_a_request_that_raises_is_found() -> None:
    def send(each: Case) -> tuple[int, bytes]:
        raise RecursionError

    assert "RecursionError" in run(send, "failed", SEED, 1).bad[0]


def test_a_request_that_is_never_answered_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def send(each: Case) -> tuple[int, bytes]:
        while True:
            pass

    monkeypatch.setattr("tests.fuzz.attack.BOUND", 0.05)
    assert "no answer within 0.05 s" in run(send, "failed", SEED, 1).bad[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("fuzzed"), None) as running:
        running.wait_for("Listening on ")
        yield running.base


def test_no_answer_over_http_is_bad(served: str, application: tuple[Send, str]) -> None:
    _, failed = application
    outside = run(over_http(served), failed, SEED + 1, OVER_HTTP, measure_self=False)
    assert outside.bad == []
    assert outside.statuses.keys() >= {200, 400}
