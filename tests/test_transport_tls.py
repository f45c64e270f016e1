"""TLS within a deadline, and a session that a library brings."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
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
from cds_service.transport import Budget, NotInTime, Refused, TooLarge, Unreachable
from tests.servers.local import Reply, local_server
from tests.transported import DRIPS, MARGIN, SECONDS, Talk, drip, failed, kept, polite, silent, talking
from tests.waiting import until

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
        until(lambda: server.open == 0)


@pytest.mark.parametrize("how", ["says nothing", "drips its first line", "drips a body", "drips chunks"])
def test_a_connection_with_tls_that_was_kept_is_left_at_the_deadline_too(
    how: str, certificate: tuple[Path, Path]
) -> None:
    wrapped = partial(_encrypted, certificate=certificate)
    with kept(DRIPS[how], wrapped, str(certificate[0])) as (prepared, base, server):
        began = time.monotonic()
        with pytest.raises(NotInTime):
            prepared.get(base + "Patient/1", Deadline.after(SECONDS), Budget(1000))
        assert time.monotonic() - began < SECONDS + MARGIN
        until(lambda: server.open == 0)
        assert server.begun == 1


@pytest.mark.parametrize(
    "talk", [silent, drip(b"", b"\x16"), drip(b"\x16\x03\x03\x40\x00", b"\x00")], ids=["silent", "bytes", "a record"]
)
def test_a_handshake_that_does_not_end_is_left_at_the_deadline(talk: Talk, certificate: tuple[Path, Path]) -> None:
    with talking(talk) as server:
        how_failed, seconds = failed(f"https://127.0.0.1:{server.port}/", ca_bundle=str(certificate[0]))
        assert how_failed in (NotInTime, Unreachable)
        assert seconds < SECONDS + MARGIN
        until(lambda: server.open == 0)


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
