"""More than a worker can do in time: refused before it is read, or answered with a card; never a silent wait."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from threading import Event
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from cds_service.hooks.errors import Busy
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web import overload
from cds_service.web.app import create_app
from tests.hooks.client import encoded
from tests.hooks.conformance import decoded, faults
from tests.scenarios.build import hook_request
from tests.servers.local import Received, Reply, local_server
from tests.timing import least
from tests.waiting import until
from tests.web.test_observe import samples
from tests.web.test_server import JSON, ORDER, PATIENCE, Running, started

SIGN = "/cds-services/ketamine-order-sign"
BUSY = "Not checked: the ketamine service is busy. This order was not checked."
BODY_SECONDS = 2
CALLS = 8
HEAD = f"POST {SIGN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def _other_drug() -> dict[str, Any]:
    request: dict[str, Any] = hook_request(ORDER)
    order = request["context"]["draftOrders"]["entry"][0]["resource"]
    order["medicationCodeableConcept"] = {"text": "morphine"}
    return request | {"prefetch": {}}


# In process: what one worker holds ----------------------------------------------------------------------------------


def test_at_the_bound_a_call_is_taken_and_one_more_is_refused_until_another_ends() -> None:
    load = overload.Load(Settings(calls_at_once=2))
    first, _ = load.begin(), load.begin()
    with pytest.raises(Busy):
        load.begin()
    first.end()
    load.begin()


def test_bytes_are_taken_up_to_the_bound_and_given_back_with_the_call() -> None:
    load = overload.Load(Settings(bytes_in_flight=1_000))
    first, second = load.begin(), load.begin()
    first.grow(600)
    second.grow(400)
    with pytest.raises(Busy):
        second.grow(1)
    first.end()
    second.grow(600)


def test_one_body_alone_may_be_larger_than_the_bound_of_all() -> None:
    """Else a setting of one would silently lower the other."""
    load = overload.Load(Settings(bytes_in_flight=1_000))
    held = load.begin()
    held.grow(5_000)
    held.grow(500)  # it unfolds while it is decompressed
    with pytest.raises(Busy):
        load.begin().grow(1)


def test_no_ending_of_a_call_leaves_anything_behind(knowledge: Knowledge) -> None:
    """As many calls as are held at once, of each kind, and then one more."""
    http = create_app(Settings(calls_at_once=1, bytes_in_flight=1_000_000, judged_at_once=1), knowledge).test_client()
    for _ in range(3):
        assert http.post(SIGN, data=encoded(hook_request(ORDER)), headers=JSON).status_code == 200
        assert http.post(SIGN, data=b"{", headers=JSON).status_code == 400
        assert http.post(SIGN, data=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
        assert http.post("/cds-services/unknown", data=b"{}", headers=JSON).status_code == 404
        assert http.post(f"{SIGN}/feedback", data=b"{}", headers=JSON).status_code == 400


@pytest.fixture
def busy(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """All turns are taken, for as long as the test lasts."""
    monkeypatch.setattr(overload.Load, "turn", lambda self, seconds: False)
    return create_app(Settings(), knowledge).test_client()


def test_a_call_without_a_turn_says_on_a_card_that_nothing_was_checked(busy: FlaskClient) -> None:
    answer = busy.post(SIGN, data=encoded(hook_request(ORDER)), headers=JSON)
    assert answer.status_code == 200
    body = decoded(answer.data)
    assert faults(body) == []
    (card,) = body["cards"]
    assert (card["summary"], card["indicator"]) == (BUSY, "warning")


def test_a_call_without_a_turn_for_another_drug_has_no_cards(busy: FlaskClient) -> None:
    answer = busy.post(SIGN, data=encoded(_other_drug()), headers=JSON)
    assert (answer.status_code, decoded(answer.data)) == (200, {"cards": []})


def test_what_is_not_judged_is_counted(busy: FlaskClient) -> None:
    def turns() -> float:
        return samples(busy.get("/metrics").text).get(("ketamine_cds_shed_total", frozenset({("why", "turn")})), 0)

    before = turns()
    busy.post(SIGN, data=encoded(hook_request(ORDER)), headers=JSON)
    assert turns() == before + 1


# Served -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {
        "CALLS_AT_ONCE": str(CALLS),
        "JUDGED_AT_ONCE": "1",
        "BODY_SECONDS": str(BODY_SECONDS),
        "HEADER_SECONDS": "2",
        "MAX_BODY_BYTES": "1000000",
        "FHIR_DEADLINE_MS": "60000",
        "ANSWER_DEADLINE_MS": "60000",
    }
    with ExitStack() as stack:
        ehr = stack.enter_context(local_server(_held_up))
        named = {f"KETAMINE_CDS_{name}": value for name, value in settings.items()}
        folder = tmp_path_factory.mktemp("overload")
        running = stack.enter_context(started(folder, None, KETAMINE_CDS_FHIR_SERVERS=ehr.base, **named))
        running.wait_for("Listening on ")
        running.ehr = ehr.base  # type: ignore[attr-defined]
        yield running


_ARRIVED, _GOES_ON = Event(), Event()


def _held_up(request: Received) -> Reply:
    _ARRIVED.set()
    _GOES_ON.wait(PATIENCE)
    return Reply(body=b'{"resourceType":"Bundle","type":"searchset"}')


@contextmanager
def _connections(service: Running, count: int, sends: bytes) -> Iterator[Sequence[socket.socket]]:
    port = int(service.base.rpartition(":")[2])
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE)) for _ in range(count)]
        for each in found:
            each.sendall(sends)
        yield found


def _first_line(connection: socket.socket) -> bytes:
    return connection.makefile("rb").readline().strip()


def _in_progress(service: Running) -> float:
    text = requests.get(f"{service.base}/metrics", timeout=PATIENCE).text
    return samples(text)["ketamine_cds_calls_in_progress", frozenset()]


def test_slow_bodies_are_given_up_and_meanwhile_others_hear_at_once_that_the_service_is_busy(
    service: Running,
) -> None:
    slow = (HEAD + "Content-Length: 100\r\n\r\n{").encode()
    with _connections(service, CALLS, slow) as held:
        until(lambda: _in_progress(service) == CALLS)
        refused = requests.post(service.base + SIGN, encoded(hook_request(ORDER)), headers=JSON, timeout=PATIENCE)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["resourceType"] == "OperationOutcome"
        assert requests.get(f"{service.base}/healthz", timeout=PATIENCE).status_code == 200
        assert {_first_line(each) for each in held} == {b"HTTP/1.1 408 Request Timeout"}
        for each in held:  # and closed: a sender that drips on holds nothing
            while each.recv(4096):
                pass
    until(lambda: _in_progress(service) == 0)
    assert requests.post(service.base + SIGN, encoded(hook_request(ORDER)), headers=JSON, timeout=PATIENCE).ok


def test_a_body_that_drips_is_given_up_as_one_that_stops(service: Running) -> None:
    with _connections(service, 1, (HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode()) as (slow,):
        slow.settimeout(0.05)
        answered = b""
        while not answered:
            with suppress(TimeoutError):
                slow.sendall(b"1\r\n \r\n")
                answered = slow.recv(4096)
    assert answered.startswith(b"HTTP/1.1 408 ")
    until(lambda: _in_progress(service) == 0)


def test_a_body_above_its_bound_is_refused_before_it_is_sent(service: Running) -> None:
    with _connections(service, 1, (HEAD + "Content-Length: 1000001\r\n\r\n").encode()) as (connection,):
        assert _first_line(connection) == b"HTTP/1.1 413 Payload Too Large"


def test_a_body_without_a_length_is_read_up_to_its_bound_and_the_sender_reads_why(service: Running) -> None:
    at, above = ((b" " * 100_000 for _ in range(count)) for count in (10, 200))
    assert requests.post(service.base + SIGN, at, headers=JSON, timeout=PATIENCE).status_code == 400
    answer = requests.post(service.base + SIGN, above, headers=JSON, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (413, "too-long")


def test_a_refused_body_that_is_sent_all_the_same_does_not_hide_the_refusal(service: Running) -> None:
    answer = requests.post(service.base + SIGN, b" " * 8_000_000, headers=JSON, timeout=PATIENCE)
    assert answer.status_code == 413


def test_half_headers_and_silent_connections_are_closed(service: Running) -> None:
    with (
        _connections(service, 100, HEAD.encode()) as halves,
        _connections(service, 20, b"") as silent,
    ):
        answer = requests.post(service.base + SIGN, encoded(hook_request(ORDER)), headers=JSON, timeout=PATIENCE)
        assert answer.status_code == 200
        for each in (*halves, *silent):
            assert each.recv(4096) == b""


@contextmanager
def _one_call_in_turn(service: Running) -> Iterator[Future[requests.Response]]:
    """It waits for its EHR while the context lasts."""
    _ARRIVED.clear()
    _GOES_ON.clear()
    waits = encoded(hook_request(ORDER) | {"prefetch": {}, "fhirServer": service.ehr})  # type: ignore[attr-defined]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(requests.post, service.base + SIGN, waits, headers=JSON, timeout=PATIENCE)
        try:
            assert _ARRIVED.wait(PATIENCE)
            yield first
        finally:
            _GOES_ON.set()


def test_while_one_call_has_the_only_turn_others_are_answered_that_they_were_not_checked(service: Running) -> None:
    with _one_call_in_turn(service) as first:
        ours = requests.post(service.base + SIGN, encoded(hook_request(ORDER)), headers=JSON, timeout=PATIENCE)
        other = requests.post(service.base + SIGN, encoded(_other_drug()), headers=JSON, timeout=PATIENCE)
        assert not first.done(), "they were answered before the first one was"
    assert [card["summary"] for card in ours.json()["cards"]] == [BUSY]
    assert other.json() == {"cards": []}
    assert first.result(PATIENCE).json()["cards"][0]["summary"] != BUSY


@pytest.mark.timing
def test_a_busy_service_says_so_within_half_a_second(service: Running) -> None:
    def taken() -> float:
        with _one_call_in_turn(service):
            answer = requests.post(service.base + SIGN, encoded(hook_request(ORDER)), headers=JSON, timeout=PATIENCE)
            assert answer.json()["cards"][0]["summary"] == BUSY
            return answer.elapsed.total_seconds()

    assert least(taken, 0.5) < 0.5


# A large body beside ordinary ones --------------------------------------------------------------------------------


def _judging(load: overload.Load, size: int) -> overload.Held:
    held = load.begin()
    held.grow(size)
    assert held.turn()
    return held


def test_a_large_body_waits_while_an_ordinary_order_is_judged_and_not_while_another_large_one_is() -> None:
    load = overload.Load(Settings())
    large, other = _judging(load, overload.LARGE), _judging(load, overload.LARGE)
    assert _seconds(large.give_way) < overload.GIVEN_SECONDS / 2, "nobody to give way to"
    ordinary = _judging(load, overload.LARGE - 1)
    assert _seconds(large.give_way) >= overload.GIVEN_SECONDS * 0.9
    ordinary.end()
    assert _seconds(other.give_way) < overload.GIVEN_SECONDS / 2


def test_what_a_large_body_gives_of_its_time_is_bounded() -> None:
    """Else it would never be answered beside a steady stream of orders."""
    load = overload.Load(Settings())
    large, _ = _judging(load, overload.LARGE), _judging(load, 5_000)
    assert _seconds(lambda: [large.give_way() for _ in range(1_000)]) < 3 * overload.GIVEN_SECONDS


def test_an_ordinary_order_goes_first_as_soon_as_its_header_is_there() -> None:
    load = overload.Load(Settings())
    large = _judging(load, overload.LARGE)
    coming = load.begin(5_000)
    assert _seconds(large.give_way) >= overload.GIVEN_SECONDS * 0.9
    coming.end()


def test_a_body_that_its_header_calls_large_is_waited_for_by_nobody() -> None:
    load = overload.Load(Settings())
    large = _judging(load, overload.LARGE)
    load.begin(overload.LARGE)
    assert _seconds(large.give_way) < overload.GIVEN_SECONDS / 2


def test_a_short_call_that_has_cost_much_gives_way_and_is_waited_for_no_more() -> None:
    """Twelve thousand levels, say, have fewer bytes than many a chart."""
    load = overload.Load(Settings())
    large, costly = _judging(load, overload.LARGE), _judging(load, 5_000)
    costly.give_way()
    assert load.has_ordinary
    began = time.thread_time()
    while time.thread_time() - began < overload.COSTLY_SECONDS:
        pass
    assert _seconds(costly.give_way) < overload.GIVEN_SECONDS / 2, "nobody to give way to"
    assert not load.has_ordinary
    assert _seconds(large.give_way) < overload.GIVEN_SECONDS / 2
    ordinary = _judging(load, 5_000)
    assert _seconds(costly.give_way) >= overload.GIVEN_SECONDS * 0.9
    ordinary.end()
    costly.end()
    large.end()
    assert not load.has_ordinary


def test_a_call_that_waits_costs_nothing_and_stays_an_ordinary_one() -> None:
    load = overload.Load(Settings())
    waiting = _judging(load, 5_000)
    time.sleep(2 * overload.COSTLY_SECONDS)
    waiting.give_way()
    assert load.has_ordinary


def _seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
