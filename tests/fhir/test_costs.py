"""What one call may cost a FHIR server, and what a server may cost a call: threads, time, bytes, requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from cds_service import bounds, transport
from cds_service.deadline import Deadline
from cds_service.fhir import bundles
from cds_service.fhir.client import MAX_TOKEN, FhirServers
from cds_service.fhir.source import Answer, Limits, read_named
from cds_service.says.records import NOT_IN_TIME
from tests.fhir.test_client import DEADLINE, GRACE, PLENTY, SEARCH, TOKEN, allowed, conditions, within
from tests.said import told
from tests.servers.local import FOREVER, Received, Reply, local_server
from tests.waiting import until


@pytest.mark.parametrize(
    "reply",
    [
        Reply(wait=FOREVER),
        Reply(conditions("1"), head_pause=0.02),
        Reply(conditions("1") * 9, pause=0.02),
        Reply(conditions("1"), pause=FOREVER),
    ],
    ids=["never answers", "drips its head", "drips its body", "stalls in the body"],
)
def test_a_server_that_hung_does_not_keep_the_threads_from_the_next_request(reply: Reply) -> None:
    fails, urls, held = [True], {str(i): SEARCH for i in range(6)}, Held()

    def script(request: Received) -> Reply:
        return reply if fails[0] else Reply(conditions("1"))

    with local_server(script) as server:
        servers = FhirServers([server.base], Limits(deadline=DEADLINE), threads=2, held=held)
        assert None not in {answer.gap for answer in servers.source(server.base, TOKEN).fetch(urls).values()}
        until(lambda: held.now == 0, "threads are held beyond the deadline")
        fails[0] = False
        servers.limits = Limits(deadline=PLENTY)
        assert told({each.gap for each in servers.source(server.base, TOKEN).fetch(urls).values()}) == {None}
        servers.close()


class Held:
    """How many threads wait for a server."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, change: int) -> None:
        with self._lock:
            self.now += change
            self.most = max(self.most, self.now)


def test_the_threads_that_wait_are_counted() -> None:
    held, urls = Held(), {str(i): SEARCH for i in range(6)}
    with local_server(Reply(conditions("1"), wait=0.05)) as server:
        servers = FhirServers([server.base], Limits(deadline=PLENTY), threads=4, held=held)
        servers.source(server.base, TOKEN).fetch(urls)
        servers.close()
    until(lambda: held.now == 0)
    assert 1 <= held.most <= 4


def test_searches_end_before_the_answer_must_be_ready_and_what_is_missing_is_said() -> None:
    with local_server(Reply(wait=FOREVER)) as server, allowed(server.base) as servers:

        def ask_in_time() -> Answer:
            return servers.source(server.base, TOKEN, Deadline.after(DEADLINE)).fetch({"c": SEARCH})["c"]

        answer = within(DEADLINE + GRACE, ask_in_time)
        assert answer == Answer([], NOT_IN_TIME)
        over = servers.source(server.base, TOKEN, Deadline(0)).fetch({"c": SEARCH})["c"]
        assert over == Answer([], NOT_IN_TIME)
        assert len(server.received) <= 3


def test_a_page_that_is_complete_after_the_deadline_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    parsed: list[bytes] = []

    def late(*arguments: Any) -> bytes:
        time.sleep(0.3)
        asked.append(1)
        return conditions("1")

    monkeypatch.setattr(transport.Prepared, "get", late)
    monkeypatch.setattr(bundles, "page_to_read", parsed.append)
    with allowed("http://127.0.0.1:9/fhir", deadline=0.1) as servers:
        answer = servers.source("http://127.0.0.1:9/fhir", TOKEN).fetch({"c": SEARCH})["c"]
        time.sleep(0.4)
    assert (len(asked), answer.pages, parsed) == (1, [], [])


@pytest.mark.parametrize(("spare", "complete"), [(0, 5), (-1, 4)])
def test_all_pages_of_a_call_together_have_a_bound(spare: int, complete: int) -> None:
    """Five searches of equal size; with one byte less, one of them is too large."""
    body = conditions("1")
    urls = {str(i): SEARCH for i in range(5)}
    with (
        local_server(Reply(body)) as server,
        allowed(server.base, max_total_bytes=5 * len(body) + spare) as servers,
    ):
        answers = servers.source(server.base, TOKEN).fetch(urls).values()
    gaps = [answer.gap for answer in answers]
    assert told(gaps.count(None)) == complete
    assert set(map(told, gaps)) - {None} <= {"the FHIR server's answer is too large"}


@pytest.mark.parametrize("more", [0, 1])
def test_a_token_that_no_server_would_take_is_not_sent(more: int) -> None:
    with local_server(Reply(conditions("1"))) as server, allowed(server.base) as servers:
        source = servers.source(server.base, "a" * (MAX_TOKEN + more))
        assert (source.why_not is None) is not more
        assert source.fetch({"c": SEARCH})["c"].gap == source.why_not


# What references name


class Asked:
    why_not: str | None = None

    def __init__(self) -> None:
        self.urls: list[str] = []

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        self.urls += urls.values()
        return {key: Answer(gap="no") for key in urls}


@pytest.mark.parametrize(
    ("reference", "is_read"),
    [
        ("Medication/1", True), ("Medication/a-B.9/_history/2", True), ("https://e.example/fhir/Medication/1", True),
        ("Medication/" + "x" * 64, True), ("Medication/" + "x" * 65, False), ("Patient/1", False),
        ("Binary/1", False),
        ("$export", False), ("metadata", False), ("Medication", False), ("Medication/", False), ("?", False),
        ("Medication?code=1&_count=100000", False), ("Medication/1?x=y", False), ("Medication/1/$everything", False),
        ("Medication/1#x", False), ("Medication/1/", False), ("Medication/a b", False), ("Medication/\n1", False),
        ("urn:uuid:1", False), ("", False), (None, False), ("x-Medication/1", False), ("Medication/%2e%2e", False),
        ("https://other.example/fhir/Medication/1", False), ("$export/Medication/1", False),
    ],
)  # fmt: skip
def test_a_reference_is_read_only_where_it_names_such_a_resource(reference: str | None, is_read: bool) -> None:
    asked = Asked()
    assert list(read_named(asked, "Medication", [reference], "https://e.example/fhir")) == []
    read = (reference or "").removeprefix("https://e.example/fhir/")
    assert asked.urls == ([read] if is_read else [])


@pytest.mark.parametrize("more", [0, 1, 2000])
def test_of_many_references_the_first_are_read_each_once(more: int) -> None:
    asked = Asked()
    references = [f"Medication/{i}" for i in range(bounds.REFERENCES + more) for _ in range(2)]
    list(read_named(asked, "Medication", references, None))
    assert asked.urls == [f"Medication/{i}" for i in range(bounds.REFERENCES)]
