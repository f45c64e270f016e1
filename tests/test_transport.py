"""Whatever a server does, reading it ends at the deadline, with its socket closed and its thread free."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from cds_service import sockets, transport
from cds_service.deadline import Deadline
from cds_service.transport import Budget, NotInTime, Refused, TooLarge, Unreachable
from tests.servers.ports import unused_port
from tests.transported import (
    DRIPS,
    GOOD,
    MARGIN,
    SECONDS,
    failed,
    get,
    polite,
    silent,
    talking,
)
from tests.waiting import until


def deaf(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


@pytest.mark.parametrize("how", DRIPS)
def test_a_server_is_left_at_the_deadline_whatever_it_drips(how: str) -> None:
    with talking(DRIPS[how]) as server:
        how_failed, seconds = failed(f"http://127.0.0.1:{server.port}/")
        assert how_failed in (NotInTime, Unreachable)  # a compressed body of such bytes may be no gzip
        assert seconds < SECONDS + MARGIN
        until(lambda: server.open == 0, "the socket is still open")


def test_a_request_that_nobody_reads_is_left_at_the_deadline() -> None:
    """The token of a request may be larger than what the kernel takes for a server that does not read."""
    with talking(deaf) as server, transport.session() as session:
        headers, began = {"Authorization": "Bearer " + "a" * 6_000_000}, time.monotonic()
        with pytest.raises(NotInTime):
            transport.get(session, f"http://127.0.0.1:{server.port}/", headers, Deadline.after(SECONDS))
        assert time.monotonic() - began < SECONDS + MARGIN


def test_a_host_that_accepts_nothing_is_left_at_the_deadline() -> None:
    """The queue of those that wait to be accepted is full, as with a server that has stopped."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            how_failed, seconds = failed(f"http://127.0.0.1:{port}/")
        finally:
            for each in waiting:
                each.close()
    assert (how_failed, seconds < SECONDS + MARGIN) == (NotInTime, True)


def test_a_port_on_which_nobody_listens_is_said_at_once() -> None:
    assert failed(f"http://127.0.0.1:{unused_port()}/", seconds=10)[0] is Unreachable


def test_one_deadline_that_is_over_asks_nobody() -> None:
    with talking(polite) as server:
        assert failed(f"http://127.0.0.1:{server.port}/", seconds=0)[0] is NotInTime
        assert server.begun == 0


def test_a_good_answer_is_read_and_its_connection_is_used_again_under_a_new_deadline() -> None:
    with talking(polite) as server, transport.session() as session:
        url = f"http://127.0.0.1:{server.port}/"
        for _ in range(3):
            assert transport.get(session, url, {}, Deadline.after(2), Budget(2)) == b"{}"
            time.sleep(0.05)
        assert server.begun == 1
        assert transport.get(session, url, {}, Deadline.after(10), Budget(2)) == b"{}"


def test_a_connection_that_was_cut_is_not_used_again() -> None:
    fails = [True]

    def talk(connection: socket.socket, over: threading.Event) -> None:
        (silent if fails[0] else polite)(connection, over)

    with talking(talk) as server, transport.session() as session:
        url = f"http://127.0.0.1:{server.port}/"
        with pytest.raises(NotInTime):
            transport.get(session, url, {}, Deadline.after(SECONDS), Budget(2))
        fails[0] = False
        assert transport.get(session, url, {}, Deadline.after(10), Budget(2)) == b"{}"
        assert server.begun == 2


def answers_once(connection: socket.socket, over: threading.Event) -> None:
    """Answer the first request of a connection, and close it at the second one."""
    connection.recv(65536)
    connection.sendall(GOOD)
    connection.recv(65536)


def test_a_kept_connection_that_the_server_closes_in_that_moment_is_no_failure() -> None:
    with talking(answers_once) as server, transport.session() as session:
        url = f"http://127.0.0.1:{server.port}/"
        for _ in range(2):
            assert transport.get(session, url, {}, Deadline.after(SECONDS), Budget(1000)) == b"{}"
        until(lambda: server.begun == 2)


def test_a_server_that_never_answers_is_asked_twice_and_is_then_unreachable() -> None:
    with talking(lambda connection, over: None) as server:
        assert failed(f"http://127.0.0.1:{server.port}/")[0] is Unreachable
        assert server.begun <= 2


def test_a_status_and_a_size_are_told_apart() -> None:
    def refusing(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    with talking(refusing) as server, pytest.raises(Refused) as refused:
        get(f"http://127.0.0.1:{server.port}/", seconds=10)
    assert refused.value.status == 503
    with talking(polite) as server:
        assert get(f"http://127.0.0.1:{server.port}/", seconds=10, size=2) == b"{}"
        with pytest.raises(TooLarge):
            get(f"http://127.0.0.1:{server.port}/", seconds=10, size=1)


def test_a_budget_is_shared_and_stays_used_up() -> None:
    budget = Budget(5)
    budget.take(5)
    for _ in range(2):
        with pytest.raises(TooLarge):
            budget.take(1)


# Names --------------------------------------------------------------------------------------------------------------


def _looking_up(monkeypatch: pytest.MonkeyPatch, look_up: Callable[[], list[tuple[str, int]]]) -> None:
    ask = socket.getaddrinfo

    def asked(host: str, port: int, *arguments: object, **named: object) -> object:
        if host != "ehr.example":
            return ask(host, port, *arguments, **named)  # type: ignore[arg-type]
        if named.get("flags"):
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address, port in look_up()]

    monkeypatch.setattr(socket, "getaddrinfo", asked)


def test_a_name_server_that_says_nothing_holds_no_thread_and_is_asked_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "_PATIENCE_WITH_NAMES", 3.0)
    asked, answers = [], threading.Event()
    with talking(polite) as server:

        def look_up() -> list[tuple[str, int]]:
            asked.append(1)
            if len(asked) == 1:
                answers.wait(10)
            return [("127.0.0.1", server.port)]

        _looking_up(monkeypatch, look_up)
        url = f"http://ehr.example:{server.port}/"
        for _ in range(3):
            how_failed, seconds = failed(url, seconds=0.1)
            assert (how_failed, seconds < 0.1 + MARGIN) == (NotInTime, True)
        assert len(asked) == 1, "those who ask while one look-up is under way share it"
        time.sleep(sockets._PATIENCE_WITH_NAMES)
        assert get(url, seconds=10) == b"{}", "a look-up that hangs does not hold up the next"
        answers.set()
        until(lambda: not sockets._lookups)


def test_a_name_is_looked_up_anew_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking(polite) as server:
        addresses = ["127.0.0.2", "127.0.0.1"] * 50
        _looking_up(monkeypatch, lambda: [(addresses.pop(), server.port)])
        for _ in range(100):
            with suppress(Unreachable):
                get(f"http://ehr.example:{server.port}/", seconds=10)
    assert addresses == []


def test_the_second_address_of_a_host_is_tried_where_the_first_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking(polite) as server:
        _looking_up(monkeypatch, lambda: [("127.0.0.2", unused_port()), ("127.0.0.1", server.port)])
        assert get(f"http://ehr.example:{server.port}/", seconds=10) == b"{}"
