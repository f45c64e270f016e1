"""The FHIR client against real local servers: complete or a gap, always in time, and nothing sent elsewhere."""

import gzip
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest

from cds_service.fhir.source import Answer
from cds_service.says.records import NOT_REACHED, NOT_WITHIN
from tests.fhir.as_it_arrives import CONDITION, OUTCOME, PATIENT, bundle, encoded
from tests.fhir.asked import PLENTY, SEARCH, TOKEN, UNREACHABLE, allowed, ask, conditions, ids
from tests.said import told
from tests.servers.local import FOREVER, Received, Reply, local_server
from tests.servers.ports import unused_port

DEADLINE = 0.3
GRACE = 5.0
"""For a busy machine; without a deadline the servers here would keep their client waiting for an hour."""
QUIET_GRACE = 0.1
"""On a machine that does nothing else."""
LATE = "the FHIR server did not answer within 300 ms"

T = TypeVar("T")


def within(seconds: float, act: Callable[[], T]) -> T:
    """What `act` gives, in time. A busy machine is late once; a client that is late by itself is late each time."""
    for _ in range(3):
        started = time.monotonic()
        result = act()
        if (elapsed := time.monotonic() - started) < seconds:
            return result
    return pytest.fail(f"three times later than {seconds} s, at last after {elapsed:.2f} s")


def page_number(request: Received) -> int:
    return int(parse_qs(urlsplit(request.path).query).get("page", ["1"])[0])


# Complete answers


def test_a_search_on_one_page_is_complete() -> None:
    with local_server(Reply(conditions("1", "2"))) as server:
        answer = ask(server)
    assert ids(answer) == ["1", "2"]
    assert answer.gap is None
    assert [request.path for request in server.received] == ["/fhir/Condition?patient=p1"]


def test_a_search_that_finds_nothing_is_complete() -> None:
    with local_server(Reply(conditions())) as server:
        assert ask(server).gap is None


def test_a_read_gives_the_resource() -> None:
    with local_server(Reply(encoded(PATIENT))) as server:
        answer = ask(server, "Patient/p1")
    assert told((ids(answer), answer.gap)) == (["p1"], None)
    assert server.received[0].path == "/fhir/Patient/p1"


@pytest.mark.parametrize(
    "form", ["{base}?page={page}", "?page={page}", "Condition?page={page}", "/fhir/x?page={page}"]
)
def test_pages_are_followed_to_the_last_without_loss_and_in_order(form: str) -> None:
    def script(request: Received) -> Reply:
        page = page_number(request)
        following = form.format(base=server.base, page=page + 1) if page < 5 else None
        return Reply(conditions(f"{page}a", f"{page}b", following=following))

    with local_server(script) as server:
        answer = ask(server)
    assert ids(answer) == [f"{page}{letter}" for page in range(1, 6) for letter in "ab"]
    assert answer.gap is None
    assert len(server.received) == 5


def test_a_page_link_from_a_prefetch_can_be_followed() -> None:
    with local_server(Reply(conditions("2"))) as server:
        answer = ask(server, f"{server.base}?_getpages=abc&_getpagesoffset=20")
    assert told((ids(answer), answer.gap)) == (["2"], None)


def test_searches_run_at_the_same_time() -> None:
    all_there = threading.Barrier(11)

    def script(request: Received) -> Reply:
        all_there.wait(PLENTY)
        return Reply(conditions(request.path.rpartition("=")[2]))

    urls = {str(i): f"Condition?patient={i}" for i in range(11)}
    with local_server(script) as server, allowed(server.base) as servers:
        answers = servers.source(server.base, TOKEN).fetch(urls)
    assert {key: ids(answer) for key, answer in answers.items()} == {key: [key] for key in urls}
    assert all(answer.gap is None for answer in answers.values())


def test_more_searches_than_threads_wait_for_their_turn_and_are_all_answered() -> None:
    urls = {str(i): SEARCH for i in range(12)}
    with local_server(Reply(conditions("1"))) as server, allowed(server.base, threads=2) as servers:
        answers = servers.source(server.base, None).fetch(urls)
    assert told([answer.gap for answer in answers.values()]) == [None] * 12


def test_one_connection_serves_one_request_after_another() -> None:
    with local_server(Reply(conditions("1"))) as server, allowed(server.base) as servers:
        for _ in range(5):
            assert servers.source(server.base, TOKEN).fetch({"c": SEARCH})["c"].gap is None
        assert len(server.received) == 5
        assert len(server.connections) == 1


def test_a_connection_that_the_server_has_closed_meanwhile_is_opened_again() -> None:
    with local_server(Reply(conditions("1"), hang_up=True)) as server, allowed(server.base) as servers:
        for _ in range(3):
            assert servers.source(server.base, TOKEN).fetch({"c": SEARCH})["c"].gap is None
            time.sleep(0.05)
        assert len(server.connections) == 3


def test_a_compressed_answer_is_read() -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/fhir+json"}
    with local_server(Reply(gzip.compress(conditions("1")), headers=headers)) as server:
        answer = ask(server)
    assert told((ids(answer), answer.gap)) == (["1"], None)


def test_the_answer_is_read_whatever_json_the_server_calls_it() -> None:
    for content_type in ("application/json", "application/json+fhir", "text/plain", ""):
        with local_server(Reply(conditions("1"), headers={"Content-Type": content_type})) as server:
            assert ids(ask(server)) == ["1"]


# Answers that are none

HTML = b"<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>"
NO_JSON = "the answer is not readable as JSON"
NO_FHIR = "the answer is not a FHIR resource"
BOMB = gzip.compress(b'{"resourceType":"Bundle","x":"' + b" " * 30_000_000 + b'"}')

BAD = {
    "never answers": (Reply(wait=FOREVER), LATE),
    "is late": (Reply(conditions("1"), wait=DEADLINE + 0.1), LATE),
    "drips its body": (Reply(conditions("1"), pause=0.02), LATE),
    "drips its head": (Reply(conditions("1"), head_pause=0.02), LATE),
    "stops in the body": (Reply(conditions("1")[:50], claims=10_000, pause=0.001), UNREACHABLE),
    "stalls in the body": (Reply(conditions("1"), pause=FOREVER), LATE),
    "cuts its body": (Reply(conditions("1"), claims=10_000), UNREACHABLE),
    "hangs up": (Reply(instead=b""), UNREACHABLE),
    "speaks another protocol": (Reply(instead=b"SSH-2.0-OpenSSH_9.6\r\n"), UNREACHABLE),
    "sends an endless head": (Reply(instead=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n"), UNREACHABLE),
    "compresses badly": (Reply(conditions("1"), headers={"Content-Encoding": "gzip"}), UNREACHABLE),
    "sends a page for people": (Reply(HTML, headers={"Content-Type": "text/html"}), NO_JSON),
    "calls a page for people json": (Reply(HTML), NO_JSON),
    "sends json that breaks off": (Reply(conditions("1")[:-1]), NO_JSON),
    "sends nothing": (Reply(b""), NO_JSON),
    "sends no content": (Reply(b"", status=204), "the FHIR server answered 204"),
    "sends bytes": (Reply(bytes(range(256))), NO_JSON),
    "sends null": (Reply(b"null"), NO_FHIR),
    "sends a list": (Reply(b"[]"), NO_FHIR),
    "sends an object that is not fhir": (Reply(b'{"error": "access denied"}'), NO_FHIR),
    "sends an empty object": (Reply(b"{}"), NO_FHIR),
    "sends an error with 200": (Reply(encoded(OUTCOME)), "the EHR answered with an error (forbidden)"),
    "sends a resource for a search": (Reply(encoded(PATIENT)), "the FHIR server's answer is not a search result"),
    "sends its own description": (
        Reply(b'{"resourceType":"CapabilityStatement"}'),
        "the FHIR server's answer is not a search result",
    ),
    "is too large": (Reply(conditions("1") + b" " * 200_001), "the FHIR server's answer is too large"),
    "sends a gzip bomb": (
        Reply(BOMB, headers={"Content-Encoding": "gzip"}),
        "the FHIR server's answer is too large",
    ),
    "redirects without an address": (Reply(status=302), "the FHIR server answered 302"),
    **{
        f"answers {status}": (Reply(encoded(OUTCOME), status=status), f"the FHIR server answered {status}")
        for status in (400, 401, 403, 404, 410, 429, 500, 502, 503)
    },
}


@pytest.mark.parametrize("fault", BAD)
def test_a_server_that_fails_leaves_a_gap_in_time_and_says_how_it_failed(fault: str) -> None:
    reply, gap = BAD[fault]
    with local_server(reply) as server:
        deadline = DEADLINE if gap == LATE else PLENTY
        answer = within(DEADLINE + GRACE, lambda: ask(server, deadline=deadline, max_bytes=200_000))
    assert told(answer.gap) == gap
    assert [resource for resource in ids(answer) if resource == "1"] == []


@pytest.mark.timing
@pytest.mark.parametrize("fault", BAD)
def test_a_server_that_fails_costs_no_more_than_the_deadline(fault: str) -> None:
    with local_server(BAD[fault][0]) as server:
        within(DEADLINE + QUIET_GRACE, lambda: ask(server, deadline=DEADLINE, max_bytes=200_000))


def test_a_server_that_is_not_there_leaves_a_gap_at_once() -> None:
    base = f"http://127.0.0.1:{unused_port()}/fhir"
    with allowed(base) as servers:
        answer = within(GRACE, lambda: servers.source(base, TOKEN).fetch({"c": SEARCH})["c"])
    assert answer == Answer([], NOT_REACHED)


def test_a_name_that_does_not_resolve_leaves_a_gap() -> None:
    base = "http://no-such-host.invalid/fhir"
    with allowed(base, deadline=DEADLINE) as servers:
        answer = within(DEADLINE + GRACE, lambda: servers.source(base, TOKEN).fetch({"c": SEARCH})["c"])
    assert told(answer.gap) in (UNREACHABLE, LATE)
    assert answer.pages == []


def test_every_gap_is_a_sentence_without_an_address_a_token_or_a_class_name() -> None:
    for _, gap in BAD.values():
        assert gap.startswith("the ")
        for technical in ("http", "127.0.0.1", TOKEN, "Error", "Exception", '("', "object at"):
            assert technical not in gap


def test_a_slow_search_does_not_hold_up_the_others() -> None:
    def script(request: Received) -> Reply:
        return Reply(conditions("1"), wait=FOREVER if "slow" in request.path else 0)

    with local_server(script) as server, allowed(server.base, deadline=1.0) as servers:
        answers = servers.source(server.base, TOKEN).fetch({"good": SEARCH, "bad": "Condition?patient=slow"})
    assert answers["good"].gap is None
    assert answers["bad"] == Answer([], NOT_WITHIN("1000"))


def test_the_pages_that_came_in_time_are_kept_beside_the_gap() -> None:
    def script(request: Received) -> Reply:
        page = page_number(request)
        return Reply(conditions(str(page), following=f"?page={page + 1}"), wait=FOREVER if page == 3 else 0)

    with local_server(script) as server:
        answer = ask(server, deadline=1.0)
    assert ids(answer) == ["1", "2"]
    assert told(answer.gap) == "the FHIR server did not answer within 1000 ms"


def test_an_error_on_a_later_page_is_a_gap_and_the_pages_before_it_are_kept() -> None:
    def script(request: Received) -> Reply:
        return Reply(conditions("1", following="?page=2")) if page_number(request) == 1 else Reply(status=410)

    with local_server(script) as server:
        answer = ask(server)
    assert ids(answer) == ["1"]
    assert told(answer.gap) == "the FHIR server answered 410"


def test_an_error_among_the_entries_is_a_gap_and_the_following_pages_are_still_read() -> None:
    first = encoded(bundle(CONDITION, OUTCOME, link=[{"relation": "next", "url": "?page=2"}]))

    def script(request: Received) -> Reply:
        return Reply(first if page_number(request) == 1 else conditions("2"))

    with local_server(script) as server:
        answer = ask(server)
    assert "2" in ids(answer)
    assert told(answer.gap) == "the EHR answered with an error (forbidden)"


def test_what_was_handed_out_at_the_deadline_does_not_change_any_more() -> None:
    def script(request: Received) -> Reply:
        page = page_number(request)
        return Reply(conditions(str(page), following="?page=2" if page == 1 else None), wait=0.8 * (page - 1))

    with local_server(script) as server, allowed(server.base, deadline=0.5) as servers:
        answer = servers.source(server.base, TOKEN).fetch({"c": SEARCH})["c"]
        assert (ids(answer), len(answer.pages)) == (["1"], 1)
        time.sleep(0.5)
        assert (ids(answer), len(answer.pages)) == (["1"], 1)
        assert told(answer.gap) == "the FHIR server did not answer within 500 ms"


def test_one_deadline_covers_all_that_is_asked_for_one_request() -> None:
    def ask_three_times() -> list[str | None]:
        source = servers.source(server.base, TOKEN)
        return [told(source.fetch({"c": SEARCH})["c"].gap) for _ in range(3)]

    with local_server(Reply(wait=FOREVER)) as server, allowed(server.base, deadline=DEADLINE) as servers:
        assert ask_three_times() == [LATE] * 3
        assert len(server.received) == 1, "after the first nothing is left for the others"


def test_searches_that_were_still_waiting_at_the_deadline_are_not_sent_later() -> None:
    urls = {str(i): f"Condition?patient={i}" for i in range(20)}
    with local_server(Reply(wait=FOREVER)) as server, allowed(server.base, threads=2, deadline=DEADLINE) as servers:
        servers.source(server.base, TOKEN).fetch(urls)
        time.sleep(0.2)
        assert len(server.received) <= 2


def test_paging_without_end_is_ended() -> None:
    def script(request: Received) -> Reply:
        page = page_number(request)
        return Reply(conditions(str(page), following=f"?page={page + 1}"))

    with local_server(script) as server:
        answer = ask(server, max_pages=4)
    assert len(server.received) == 4
    assert ids(answer) == ["1", "2", "3", "4"]
    assert told(answer.gap) == "the FHIR server gave more than 4 pages"


def test_a_page_that_leads_back_to_itself_is_not_read_twice() -> None:
    with local_server(Reply(conditions("1", following=SEARCH))) as server:
        answer = ask(server)
    assert len(server.received) == 1
    assert ids(answer) == ["1"]
    assert told(answer.gap) == "the FHIR server gave more than 1 pages"
