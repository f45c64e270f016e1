"""An open connection is asked in a shorter way: what is sent and what is read are the same as in the long one."""

from __future__ import annotations

import gzip
import io
import socket
import threading
import time
from http import client
from typing import Any

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from cds_service import pools, transport
from cds_service.deadline import Deadline
from cds_service.transport import Budget, Failure, NotInTime, Prepared, Unreachable
from tests.transported import DRIPS, GOOD, HEADERS, MARGIN, SECONDS, Talk, kept, polite, talking
from tests.waiting import until


def answering(answer: bytes) -> Talk:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    return talk


# What is read -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", DRIPS)
def test_a_connection_that_was_kept_is_left_at_the_deadline_whatever_it_drips(how: str) -> None:
    with kept(DRIPS[how]) as (prepared, base, server):
        began = time.monotonic()
        with pytest.raises(Failure) as failure:
            prepared.get(base + "Patient/1", Deadline.after(SECONDS), Budget(1000))
        assert failure.type in (NotInTime, Unreachable)
        assert time.monotonic() - began < SECONDS + MARGIN
        until(lambda: server.open == 0, "the socket is still open")
        assert server.begun == 1


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 200 OK\r\ncontent-length:4\r\nConnection: close\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", b"body"),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000, b"x" * 200_000),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60_000 + b"\r\nContent-Length: 4\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\nbody", Unreachable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nbody", Unreachable),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\nContent-Length: 4\r\n\r\nbody", Unreachable),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"Content-Length: 4\r\n\r\nbody", Unreachable),
        (b"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nbody", Unreachable),
        (b"SSH-2.0\r\n", Unreachable),
        (b"HTTP/1.1 404 None\r\nContent-Length: 4\r\n\r\nbody", transport.Refused),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", transport.Refused),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 200001\r\n\r\n" + b"x" * 200_001, transport.TooLarge),
    ],
)
def test_on_a_connection_that_was_kept_an_answer_ends_as_on_a_new_one(answer: bytes, body: bytes | type) -> None:
    with kept(answering(answer)) as (prepared, base, server):
        if isinstance(body, bytes):
            assert prepared.get(base + "Patient/1", Deadline.after(10), Budget(200_000)) == body
        else:
            with pytest.raises(body):
                prepared.get(base + "Patient/1", Deadline.after(10), Budget(200_000))
        assert server.begun == 1


def test_a_connection_on_which_more_came_than_was_asked_for_is_not_used_again() -> None:
    """What a server sends unasked must not become the answer to the next request."""
    sent = threading.Event()

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(GOOD)
        time.sleep(0.05)
        connection.sendall(GOOD)
        sent.set()
        over.wait()

    with kept(talk) as (prepared, base, server):
        assert prepared.get(base + "Patient/1", Deadline.after(10), Budget(2)) == b"{}"
        assert sent.wait(10)
        assert prepared.get(base + "Patient/1", Deadline.after(10), Budget(2)) == b"{}"
        assert server.begun == 2


def _then_polite(answer: bytes) -> Talk:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        polite(connection, over)

    return talk


_ZIPPED = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nbody\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        b"HTTP/1.1 404 None\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000,
    ],
)
def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again(answer: bytes) -> None:
    with kept(_then_polite(answer)) as (prepared, base, server):
        with pytest.raises(Failure):
            prepared.get(base + "Patient/1", Deadline.after(10), Budget(1000))
        assert prepared.get(base + "Patient/1", Deadline.after(10), Budget(2)) == b"{}"
        assert server.begun == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\nX: z\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_ZIPPED) + _ZIPPED,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(_ZIPPED), _ZIPPED),
    ],
)
def test_a_connection_whose_answer_was_read_to_its_end_is_used_again(answer: bytes) -> None:
    with kept(_then_polite(answer)) as (prepared, base, server):
        for _ in range(3):
            assert prepared.get(base + "Patient/1", Deadline.after(10), Budget(2)) == b"{}"
        assert server.begun == 1


class _Socket:
    def __init__(self, sent: bytes) -> None:
        self._sent = sent

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._sent))


def _begun(how: type[client.HTTPResponse], sent: bytes) -> Any:
    answer = how(_Socket(sent), method="GET")  # type: ignore[arg-type]
    try:
        answer.begin()
    except Exception as error:
        return type(error)
    headers = {name.lower(): value.strip() for name, value in HTTPHeaderDict(answer.headers.items()).items()}
    framed = answer.length, answer.chunked, answer.will_close
    try:
        body: Any = answer.read()
    except Exception as error:
        body = type(error)
    return answer.version, answer.status, answer.reason, headers, framed, body


LINES = [
    "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200\r\n", "HTTP/1.1 200 \r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1 2000 OK\r\n",
    "HTTP/1.1 204 None\r\n", "HTTP/1.1 404 Not\r\n", "HTTP/1.1 100 Continue\r\n", "http/1.1 200 OK\r\n",
    "HTTP/1.1  200 OK\r\n", "HTTP/1.1 200 \xe4\r\n", "HTTP/1.1 200 OK\n", "HTTP/1.1 200OK\r\n", "",
]  # fmt: skip
FIELDS = [
    "Content-Length: 4\r\n", "content-length:4 \r\n", "Content-Length: 5\r\n", "Content-Length: -1\r\n",
    "Content-Length: \r\n", "Content-Length: 4, 4\r\n", "Content-Length: +4\r\n", "Content-Length: 0x4\r\n",
    "Content-Length: 9999999999999999\r\n", "Content-Length : 4\r\n", " Content-Length: 4\r\n",
    "Content-Length: \u0664\r\n",
    "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: Chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n", "Connection: Keep-Alive\r\n", "Connection: x, Close\r\n", "ETag: W/\"1\"\r\n", "X:\r\n",
    "X: \x0b\r\n", "X: y\n", "no colon\r\n", ": empty\r\n", "X: \xe4\r\n", "X: a\r\n b\r\n", "\r\n",
    "Set-Cookie: a=b\r\n",
]  # fmt: skip


@given(st.sampled_from(LINES), st.lists(st.sampled_from(FIELDS), max_size=5), st.sampled_from(["", "\r\n"]))
@example("HTTP/1.1 200 OK\r\n", ["Content-Length: 4\r\n", "Content-Length: 4\r\n"], "\r\n")
@example("HTTP/1.1 200 OK\r\n", ["Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"], "\r\n")
def test_a_head_says_what_it_says_to_http_client(line: str, fields: list[str], end: str) -> None:
    sent = (line + "".join(fields) + end).encode("utf-8") + b"4\r\nbody\r\n0\r\n\r\n"
    assert _begun(pools.Plain, sent) == _begun(client.HTTPResponse, sent)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_http_fail_as_with_http_client(sent: bytes) -> None:
    assert _begun(pools.Plain, sent) == _begun(client.HTTPResponse, sent)


# What is sent -------------------------------------------------------------------------------------------------------

LINKS = [
    "Patient/1", "Observation?patient=1&code=1-8,http://loinc.org|2-6&_sort=-date", "Medication/a.b~c-1?x", "?page=2",
    "Condition?", "Condition?code=%2D%7c%7C", "a/./b", "a//b", "a/b/", "Condition?x=\u00e4 y", "Condition#x",
    "a;b?c=d;e", "Condition?x='()*+,;=:@/?!$&~", "Condition?[x]", "Condition?a^b`{}\"<>",
]  # fmt: skip


def test_a_request_is_sent_in_the_same_bytes_however_it_was_prepared() -> None:
    received: list[bytes] = []

    def talk(connection: socket.socket, over: threading.Event) -> None:
        while request := connection.recv(65536):
            received.append(request)
            connection.sendall(GOOD)

    with talking(talk) as server, transport.session() as session:
        base = f"http://127.0.0.1:{server.port}/fhir/"
        prepared = Prepared(session, base, HEADERS)
        for link in LINKS:
            prepared.get(base + link, Deadline.after(10), Budget(2))
            transport.get(session, base + link, HEADERS, Deadline.after(10), Budget(2))
        session.close()
    assert received[::2] == received[1::2]
    assert len(received) == 2 * len(LINKS)
    assert received[0].startswith(b"GET /fhir/Patient/1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer a.b-c\r\n" in received[0]
    assert server.begun == 1, "all but the first on a connection that was kept"


@given(
    st.lists(st.sampled_from([*"aZ0-._~/?&=,:;@!$'()*+%|#\\ [\u00e4", "%2D", "/../", "/./", "//"]), max_size=9).map(
        "".join
    )
)
def test_what_needs_no_quoting_is_what_requests_leaves_as_it_is(link: str) -> None:
    base = "https://ehr.example/fhir/"
    if transport.PLAIN.fullmatch(link):
        made = requests.Request("GET", base + link).prepare()
        assert (made.url, made.path_url) == (base + link, "/fhir/" + link)


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1/a/", "https://ehr.example:443/a/", "http://[::1]:8080/", "http://EHR.example/a b/"]
)
def test_headers_name_the_host_as_requests_does(base: str) -> None:
    with transport.session() as session:
        prepared = Prepared(session, base, {})
        connection: Any = prepared._pool._new_conn()
        parts: list[bytes] = []
        connection.send = parts.append
        connection.request("GET", "/x", headers=session.headers)
    assert b"".join(parts) == b"GET /x" + prepared._head


@pytest.mark.parametrize(
    ("base", "headers"),
    [("ftp://ehr.example/", {}), ("http://[x/", {}), ("http:///", {}), ("http://ehr.example/", {"X": "a\r\nY: b"})],
)
def test_what_cannot_be_sent_is_said_before_anything_is(base: str, headers: dict[str, str]) -> None:
    with transport.session() as session, pytest.raises(Unreachable):
        Prepared(session, base, headers)
