"""The FHIR client against real local servers: complete or a gap, always in time, and nothing sent elsewhere."""

import gzip
import json
import posixpath
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.fhir.client import FhirServers, Limits, is_below
from cds_service.fhir.source import Answer, NoSource
from cds_service.says.records import NOT_REACHED, NOT_WITHIN, SERVER_ANSWERED
from tests.fhir.as_it_arrives import CONDITION, OUTCOME, PATIENT, bundle, encoded
from tests.said import told
from tests.servers.local import FOREVER, LocalServer, Received, Reply, local_server, unused_port

DEADLINE = 0.3
GRACE = 5.0
"""For a busy machine; without a deadline the servers here would keep their client waiting for an hour."""
QUIET_GRACE = 0.1
"""On a machine that does nothing else."""
PLENTY = 10.0
"""The deadline where a test is not about time: a busy machine then fails nothing."""
TOKEN = "a-secret-token"
LATE = "the FHIR server did not answer within 300 ms"
UNREACHABLE = "the FHIR server could not be reached"

SEARCH = "Condition?patient=p1"

T = TypeVar("T")


@contextmanager
def allowed(*bases: str, threads: int = 32, **limits: Any) -> Iterator[FhirServers]:
    servers = FhirServers(bases, replace(Limits(deadline=PLENTY), **limits), threads=threads)
    try:
        yield servers
    finally:
        servers.close()


def conditions(*ids: str, following: str | None = None) -> bytes:
    link = [{"relation": "next", "url": following}] if following else []
    return encoded(bundle(*({**CONDITION, "id": each} for each in ids), link=link))


def ids(answer: Answer) -> list[str | None]:
    return [resource.id for page in answer.pages for resource in page.resources]


def ask(server: LocalServer, url: str = SEARCH, token: str | None = TOKEN, **limits: Any) -> Answer:
    """One search of one server."""
    with allowed(server.base, **limits) as servers:
        return servers.source(server.base, token).fetch({"conditions": url})["conditions"]


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


# Where the token goes


def test_the_token_goes_to_the_allowed_server_as_a_bearer_token() -> None:
    with local_server(Reply(conditions("1"))) as server:
        ask(server)
    (request,) = server.received
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept"] == "application/fhir+json"


def test_without_a_token_there_is_no_authorization_even_where_the_machine_knows_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login nurse password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with local_server(Reply(conditions("1"))) as server:
        assert ask(server, token=None).gap is None
    assert "authorization" not in server.received[0].headers


def test_no_proxy_of_the_environment_sees_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with local_server(Reply(conditions("1"))) as server, local_server(Reply(conditions("proxy"))) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ids(ask(server)) == ["1"]
        assert proxy.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_not_followed_and_the_token_is_not_sent_there(status: int) -> None:
    with local_server(Reply(conditions("elsewhere"))) as other:
        away = Reply(status=status, headers={"Location": f"{other.base}/Condition?patient=p1"})
        with local_server(away) as server:
            answer = ask(server)
        assert answer == Answer([], SERVER_ANSWERED(str(status)))
        assert len(server.received) == 1
        assert other.received == []
        assert other.connections == []


def test_a_redirect_is_not_followed_on_the_same_server_either() -> None:
    with local_server(Reply(status=302, headers={"Location": "/admin"})) as server:
        assert told(ask(server).gap) == "the FHIR server answered 302"
    assert [request.path for request in server.received] == ["/fhir/Condition?patient=p1"]


@pytest.mark.parametrize(
    "link",
    [
        "{other}?page=2",
        "//127.0.0.1:{port}/fhir?page=2",
        "http://127.0.0.1:{own}@127.0.0.1:{port}/fhir?page=2",
        "http://127.0.0.1:{port}\\@127.0.0.1:{own}/fhir?page=2",
        "http://127.0.0.1:{own}/fhirevil?page=2",
        "/other?page=2",
        "../other?page=2",
        "http://127.0.0.1:{own}/fhir/%2e%2e/other?page=2",
        "http://127.0.0.1:{own}/fhir/..;/other?page=2",
        "https://127.0.0.1:{own}/fhir?page=2",
        "ftp://127.0.0.1:{own}/fhir?page=2",
        "file:///etc/passwd",
        "http://[127.0.0.1/fhir?page=2",
    ],
)
def test_a_next_link_that_leads_off_the_server_is_not_followed_and_the_first_page_is_kept(link: str) -> None:
    with local_server(Reply(conditions("elsewhere"))) as other:

        def script(request: Received) -> Reply:
            following = link.format(other=other.base, port=other.port, own=server.port)
            return Reply(conditions("1", following=following))

        with local_server(script) as server:
            answer = ask(server)
        assert ids(answer) == ["1"]
        assert told(answer.gap) == "the FHIR server's next page is not on that server"
        assert len(server.received) == 1
        assert other.connections == []


def test_a_server_that_is_not_on_the_allowlist_is_not_asked() -> None:
    with local_server(Reply(conditions("1"))) as server, allowed("https://ehr.example/fhir") as servers:
        source = servers.source(server.base, TOKEN)
        assert isinstance(source, NoSource)
        assert source.why_not is not None
        assert "not on the allowlist" in told(source.why_not)
        assert source.fetch({"c": SEARCH}) == {"c": Answer([], source.why_not)}
        assert server.connections == []


@pytest.mark.parametrize("base", [None, ""])
def test_a_request_that_names_no_server_has_no_source(base: str | None) -> None:
    with allowed("https://ehr.example/fhir") as servers:
        source = servers.source(base, TOKEN)
        assert source == NoSource()
        assert source.fetch({"a": SEARCH, "b": SEARCH}).keys() == {"a", "b"}


def test_a_server_below_an_allowed_base_may_be_asked_and_its_pages_must_stay_below_it() -> None:
    """A client of one tenant of a shared server must not be led to another tenant."""

    def script(request: Received) -> Reply:
        return Reply(conditions("1", following="/fhir/tenant-2/Condition?page=2"))

    with local_server(script) as server, allowed(server.base) as servers:
        source = servers.source(f"{server.base}/tenant-1/", TOKEN)
        answer = source.fetch({"c": SEARCH})["c"]
    assert source.why_not is None
    assert told(answer.gap) == "the FHIR server's next page is not on that server"
    assert [request.path for request in server.received] == ["/fhir/tenant-1/Condition?patient=p1"]


def test_a_cookie_that_was_set_for_one_user_does_not_come_along_with_another_users_token() -> None:
    cookie = {"Set-Cookie": "JSESSIONID=of-the-first-user; Path=/", "Content-Type": "application/fhir+json"}
    with local_server(Reply(conditions("1"), headers=cookie)) as server, allowed(server.base) as servers:
        for token in ("first", "second"):
            assert servers.source(server.base, token).fetch({"c": SEARCH})["c"].gap is None
    assert [request.headers["authorization"] for request in server.received] == ["Bearer first", "Bearer second"]
    assert [request.headers.get("cookie") for request in server.received] == [None, None]


@pytest.mark.parametrize("token", ["two\r\nX-Injected: yes", "tök€n", "\x00"])
def test_a_token_that_is_no_header_value_is_a_gap_and_nothing_is_sent(token: str) -> None:
    with local_server(Reply(conditions("1"))) as server:
        answer = ask(server, token=token)
    if server.received:
        assert "x-injected" not in server.received[0].headers
    else:
        assert told(answer.gap) == UNREACHABLE


def test_two_requests_at_once_do_not_mix_their_tokens_or_their_answers() -> None:
    def script(request: Received) -> Reply:
        return Reply(conditions(request.headers["authorization"].removeprefix("Bearer ")), wait=0.01)

    found: dict[str, set[str | None]] = {}

    def of_user(token: str) -> None:
        source = servers.source(server.base, token)
        answers = source.fetch({str(i): f"Condition?patient={i}" for i in range(5)})
        found[token] = {each for answer in answers.values() for each in ids(answer)}

    with local_server(script) as server, allowed(server.base) as servers:
        users = [threading.Thread(target=of_user, args=(f"user-{i}",)) for i in range(8)]
        for user in users:
            user.start()
        for user in users:
            user.join()
    assert found == {f"user-{i}": {f"user-{i}"} for i in range(8)}


# Below the base, or not

BASE = "https://ehr.example/fhir"


@pytest.mark.parametrize(
    "url",
    [
        "https://ehr.example/fhir",
        "https://ehr.example/fhir/",
        "https://ehr.example/fhir?_getpages=1",
        "https://ehr.example/fhir/Condition?patient=p1",
        "https://EHR.example/fhir/Condition",
        "HTTPS://ehr.example:443/fhir/Condition",
        "https://ehr.example:/fhir/Condition",
        "https://ehr.example/fhir/a..b/..c",
        "https://ehr.example/fhir/Condition?next=../../x&at=@",
        "https://ehr.example/fhir/Condition#@evil.example",
    ],
)
def test_an_address_below_the_base_is_below_it(url: str) -> None:
    assert is_below(url, BASE)
    assert is_below(url, BASE + "/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "ehr.example/fhir",
        "//ehr.example/fhir",
        "http://ehr.example/fhir",
        "https://ehr.example",
        "https://ehr.example/",
        "https://ehr.example/fhirevil",
        "https://ehr.example/FHIR",
        "https://ehr.example/fhi",
        "https://ehr.example//fhir",
        "https://ehr.example:8443/fhir",
        "https://ehr.example:80/fhir",
        "https://ehr.example:0/fhir",
        "https://ehr.example:port/fhir",
        "https://ehr.example:99999/fhir",
        "https://ehr.example.evil.example/fhir",
        "https://evil.example/fhir",
        "https://evil.example/https://ehr.example/fhir",
        "https://evil.example?https://ehr.example/fhir",
        "https://evil.example#https://ehr.example/fhir",
        "https://ehr.example@evil.example/fhir",
        "https://evil.example@ehr.example/fhir",
        "https://user:password@ehr.example/fhir",
        "https://ehr.example\\@evil.example/fhir",
        "https://evil.example\\@ehr.example/fhir",
        "https://ehr.example/fhir\\..\\admin",
        "https://ehr.example/fhir%5c..%5cadmin",
        "https://ehr.example/fhir/..",
        "https://ehr.example/fhir/../admin",
        "https://ehr.example/fhir/../fhir",
        "https://ehr.example/fhir/%2e%2e/admin",
        "https://ehr.example/fhir/%2E%2e/admin",
        "https://ehr.example/fhir/.%2e/admin",
        "https://ehr.example/fhir/..%2fadmin",
        "https://ehr.example/fhir/%2e%2e%2fadmin",
        "https://ehr.example/fhir/..;/admin",
        "https://ehr.example/fhir/..;x=1/admin",
        "https://ehr.example/fhir/..%3b/admin",
        "https://ehr.example/fhir/x/../../admin",
        "https://ehr.example/fhir/%252e%252e/admin",
        "https://ehr.example/fhir/%252E%252e%252fadmin",
        "https://ehr.example/fhir/..%252fadmin",
        "https://ehr.example/fhir/.%25252e/admin",
        "https://ehr.example/fhir/x%252fy",
        "https://ehr.example/fhir/x%255cy",
        "https://ehr.example/fhir/%c0%ae%c0%ae/admin",
        "https://ehr.example/fhir/%00",
        "https://ehr.example/fhir/x%0d%0aHost:%20evil.example",
        "https://[ehr.example/fhir",
        "https://ehr.example/fh\tir",
        "https://ehr.example/fhir/x\r\nHost: evil.example",
        "https://ehr.example\u2024evil/fhir",
        "https://ehr\uff0eexample/fhir",
    ],
)
def test_an_address_that_only_looks_like_it_is_not_below_the_base(url: str) -> None:
    assert not is_below(url, BASE)


def test_the_default_port_is_that_of_the_scheme() -> None:
    assert is_below("http://h:80/fhir/x", "http://h/fhir")
    assert is_below("http://h/fhir/x", "http://h:80/fhir")
    assert not is_below("http://h:443/fhir/x", "http://h/fhir")
    assert is_below("http://h:8080/fhir/x", "http://h:8080/fhir")
    assert not is_below("http://h/fhir/x", "http://h:8080/fhir")


pieces = st.sampled_from(
    ["http://", "https://", "//", "/", "\\", "@", ":", ":80", ":443", "?", "#", ";", ".", "..", "%2e", "%2F", "%5c",
     "%00", "%252e%252e", "%25", "%252f", "2e", "%c0%ae", "ehr.example", "EHR.EXAMPLE", "evil.example", "fhir",
     "fhirevil", "[", "]", " ", "\t", "\n", "\u3002", "Condition"]
)  # fmt: skip


@settings(max_examples=1500)
@given(st.lists(pieces, max_size=9).map("".join), st.sampled_from(["", BASE, BASE + "/", "https://ehr.example"]))
def test_whatever_is_below_the_base_is_sent_there_by_requests_too(rest: str, start: str) -> None:
    """The two parsers must not disagree: what is_below lets pass must not reach another host or path."""
    url = start + rest
    if not is_below(url, BASE):
        return
    try:
        sent = requests.Request("GET", url).prepare().url
    except (requests.RequestException, ValueError):
        return
    assert sent is not None
    parts = urlsplit(sent)
    assert (parts.scheme, parts.hostname, parts.port or 443) == ("https", "ehr.example", 443)
    path = parts.path
    for _ in range(3):  # a proxy and a server may each decode it once more
        path = unquote(path)
        way = posixpath.normpath(path)
        assert way == "/fhir" or way.startswith("/fhir/")


def test_the_answer_of_the_tests_own_server_is_what_a_plain_client_sees() -> None:
    """Else the faults above could be those of the script."""
    with local_server(Reply(b'{"a": 1}', status=418, headers={"X-Test": "yes"})) as server:
        with requests.get(f"{server.base}/x", timeout=5) as response:
            assert response.status_code == 418
            assert response.headers["X-Test"] == "yes"
            assert json.loads(response.content) == {"a": 1}
        assert server.received[0].path == "/fhir/x"
