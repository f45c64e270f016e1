"""Whatever a server does, reading it ends at the deadline, with its socket closed and its thread free."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cds_service import transport
from cds_service.deadline import Deadline
from cds_service.transport import Budget, Failure, NotInTime, Refused, TooLarge, Unreachable
from tests.servers.local import Reply, local_server, unused_port

SECONDS = 0.3
MARGIN = 1.5
"""For a busy machine. Without a deadline each of these servers would hold its caller for as long as it likes."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
GOOD = HEAD + b"\r\n{}"

Talk = Callable[[socket.socket, threading.Event], None]
"""What a server does with a connection until the event is set."""


class Talking:
    """A TCP server, and what it knows of its connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.begun = 0
        self.open = 0


@contextmanager
def talking(talk: Talk) -> Iterator[Talking]:
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    server = Talking(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        server.begun += 1
        server.open += 1
        with connection, suppress(OSError):
            talk(connection, over)
        server.open -= 1

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join(5)


def drip(start: bytes, byte: bytes, pause: float = 0.02) -> Talk:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(start)
        while not over.wait(pause):
            connection.sendall(byte)

    return talk


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Reads and says nothing; ends when the other side closes."""
    connection.settimeout(0.05)
    while not over.is_set():
        with suppress(TimeoutError):
            if connection.recv(65536) == b"":
                return


def deaf(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def polite(connection: socket.socket, over: threading.Event) -> None:
    """HTTP with keep-alive."""
    connection.settimeout(0.05)
    while not over.is_set():
        with suppress(TimeoutError):
            if connection.recv(65536) == b"":
                return
            connection.sendall(GOOD)


def get(url: str, seconds: float = SECONDS, size: int = 1000, ca_bundle: str | None = None) -> bytes:
    with transport.session(ca_bundle=ca_bundle) as session:
        return transport.get(session, url, {}, Deadline.after(seconds), Budget(size))


def failed(url: str, seconds: float = SECONDS, ca_bundle: str | None = None) -> tuple[type[Failure], float]:
    """(how it failed, seconds)"""
    began = time.monotonic()
    with pytest.raises(Failure) as failure:
        get(url, seconds, ca_bundle=ca_bundle)
    return failure.type, time.monotonic() - began


def until(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


DRIPS = {
    "says nothing": silent,
    "drips its first line": drip(b"", b"H"),
    "drips a header": drip(HEAD + b"X: ", b"a"),
    "drips headers": drip(HEAD, b"X: y\r\n"),
    "says again and again that it goes on": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips a body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "drips a body without end": drip(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" "),
    "drips chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "drips the size of a chunk": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "drips trailers": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "drips a compressed body": drip(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n", gzip.compress(b"")[:1]
    ),
    "drips what is read over": drip(b"HTTP/1.1 302 Found\r\nContent-Length: 100000\r\nX: ", b"a"),
}


@pytest.mark.parametrize("how", DRIPS)
def test_a_server_is_left_at_the_deadline_whatever_it_drips(how: str) -> None:
    with talking(DRIPS[how]) as server:
        how_failed, seconds = failed(f"http://127.0.0.1:{server.port}/")
        assert how_failed in (NotInTime, Unreachable)  # a compressed body of such bytes may be no gzip
        assert seconds < SECONDS + MARGIN
        assert until(lambda: server.open == 0), "the socket is still open"


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
        assert until(lambda: server.begun == 2)


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


def test_a_name_server_that_says_nothing_holds_no_thread_and_is_asked_again_after_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
        time.sleep(transport._PATIENCE_WITH_NAMES)
        assert get(url, seconds=10) == b"{}", "a look-up that hangs does not hold up the next"
        answers.set()
        assert until(lambda: not transport._lookups)


def test_a_name_is_looked_up_anew_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking(polite) as server:
        addresses = ["127.0.0.2", "127.0.0.1"]
        _looking_up(monkeypatch, lambda: [(addresses.pop(), server.port)])
        for _ in range(2):
            with suppress(Unreachable):
                get(f"http://ehr.example:{server.port}/", seconds=10)
    assert addresses == []


def test_the_second_address_of_a_host_is_tried_where_the_first_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking(polite) as server:
        _looking_up(monkeypatch, lambda: [("127.0.0.2", unused_port()), ("127.0.0.1", server.port)])
        assert get(f"http://ehr.example:{server.port}/", seconds=10) == b"{}"


# TLS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) of 127.0.0.1, signed by itself."""
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "certificate.pem", folder / "key.pem"


def _encrypted(talk: Talk, certificate: tuple[Path, Path]) -> Talk:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def talked(connection: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as made:
            talk(made, over)

    return talked


def test_tls_is_checked_against_the_bundle_and_a_connection_is_used_again(certificate: tuple[Path, Path]) -> None:
    with talking(_encrypted(polite, certificate)) as server:
        url = f"https://127.0.0.1:{server.port}/"
        assert failed(url, seconds=10)[0] is Unreachable
        with transport.session(ca_bundle=str(certificate[0])) as session:
            for _ in range(3):
                assert transport.get(session, url, {}, Deadline.after(10), Budget(2)) == b"{}"
        assert server.begun == 2
        assert failed(f"https://localhost:{server.port}/", 10, str(certificate[0]))[0] is Unreachable, "another name"


@pytest.mark.parametrize("how", ["says nothing", "drips a header", "drips a body", "drips chunks"])
def test_a_server_with_tls_is_left_at_the_deadline_too(how: str, certificate: tuple[Path, Path]) -> None:
    with talking(_encrypted(DRIPS[how], certificate)) as server:
        how_failed, seconds = failed(f"https://127.0.0.1:{server.port}/", ca_bundle=str(certificate[0]))
        assert (how_failed, seconds < SECONDS + MARGIN) == (NotInTime, True)
        assert until(lambda: server.open == 0)


@pytest.mark.parametrize(
    "talk", [silent, drip(b"", b"\x16"), drip(b"\x16\x03\x03\x40\x00", b"\x00")], ids=["silent", "bytes", "a record"]
)
def test_a_handshake_that_does_not_end_is_left_at_the_deadline(talk: Talk, certificate: tuple[Path, Path]) -> None:
    with talking(talk) as server:
        how_failed, seconds = failed(f"https://127.0.0.1:{server.port}/", ca_bundle=str(certificate[0]))
        assert how_failed in (NotInTime, Unreachable)
        assert seconds < SECONDS + MARGIN
        assert until(lambda: server.open == 0)


# The session of a library -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "becomes"),
    [
        (Reply(b"x" * 1001), TooLarge),
        (Reply(gzip.compress(b"x" * 100_000), headers={"Content-Encoding": "gzip"}), TooLarge),
        (Reply(b"", 302, {"Location": "http://127.0.0.1:1/"}), Refused),
        (Reply(b"", 307, {"Location": "http://127.0.0.1:1/"}), Refused),
        (Reply(b"{}", wait=60), NotInTime),
        (Reply(b"{}" * 100, pause=60), NotInTime),
        (Reply(b"{}", head_pause=60), NotInTime),
    ],
)
def test_a_session_that_a_library_brings_keeps_to_the_same_rules(reply: Reply, becomes: type[Exception]) -> None:
    with local_server(reply) as server:
        session = transport.bound(requests.Session(), SECONDS, 1000)
        began = time.monotonic()
        with pytest.raises(becomes):
            session.post(server.base, data={"code": "c"})
        assert time.monotonic() - began < SECONDS + MARGIN
        assert len(server.received) == 1


def test_it_keeps_no_cookie_and_gives_out_what_is_whole() -> None:
    with local_server(Reply(b"x" * 1000, headers={"Set-Cookie": "a=b"})) as server:
        session = transport.bound(requests.Session(), SECONDS + MARGIN, 1000)
        assert session.get(server.base).content == b"x" * 1000
        session.get(server.base)
        assert all("cookie" not in each.headers for each in server.received)
