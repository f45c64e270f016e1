"""Where a client's keys come from: cached, rotated, meant for one use, and read only from where they may be."""

from __future__ import annotations

import gzip
import json
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cds_service.deadline import Deadline
from cds_service.hooks import keysets, outbound
from cds_service.hooks.authentication import Authenticator, Keys
from cds_service.hooks.clients import Client, Network
from cds_service.hooks.keysets import KeySet, KeysUnavailable
from cds_service.hooks.replay import MemoryReplayGuard
from tests.hooks.test_authentication import JKU, NOW, accepted, authenticator, refused
from tests.hooks.tokens import ISSUER, PUBLIC_URL, Signer, jwks, private_members
from tests.servers.local import FOREVER, Received, Reply, local_server
from tests.waiting import until

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


# Keys ---------------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_an_unknown_key_is_looked_for_once_and_a_rotated_one_is_found() -> None:
    old, new = Signer(kid="old"), Signer(kid="new")
    clock, readings, published = Clock(), [], [old]

    def read() -> bytes:
        readings.append(clock.seconds)
        return jwks(*published)

    keys = KeySet(read, clock)
    assert keys.key("old", "ES384")
    published[:] = [new]
    assert keys.key("new", "ES384") is None, "within ten seconds the set is not read again"
    clock.seconds += 11
    assert keys.key("new", "ES384")
    assert keys.key("old", "ES384") is None, "a key that was taken back is no longer used"
    assert readings == [1000.0, 1011.0]


def test_invented_key_ids_do_not_reach_the_clients_server_more_than_once_in_ten_seconds(signer: Signer) -> None:
    clock, readings = Clock(), []

    def read() -> bytes:
        readings.append(clock.seconds)
        return jwks(signer)

    keys = KeySet(read, clock)
    for number in range(200):
        clock.seconds += 0.1
        assert keys.key(f"invented-{number}", "ES384") is None
    assert len(readings) <= 3


def test_keys_are_read_again_when_they_age_and_no_order_waits_for_that(signer: Signer) -> None:
    clock, readings, goes_on = Clock(), [], threading.Event()

    def read() -> bytes:
        readings.append(clock.seconds)
        if len(readings) > 1:
            goes_on.wait()
        return jwks(signer, *[rotated] * (len(readings) > 1))

    rotated = Signer(kid="rotated")
    keys = KeySet(read, clock)
    assert keys.key(signer.kid, "ES384")
    clock.seconds += 301
    for _ in range(5):
        assert keys.key(signer.kid, "ES384"), "answered while the set is read"
    goes_on.set()
    assert keys.key("rotated", "ES384")
    assert readings == [1000.0, 1301.0]


def test_keys_are_kept_for_an_hour_while_their_source_fails(signer: Signer) -> None:
    clock, works = Clock(), [True]

    def read() -> bytes:
        if not works[0]:
            raise KeysUnavailable("down")
        return jwks(signer)

    keys = KeySet(read, clock)
    assert keys.key(signer.kid, "ES384")
    works[0] = False
    clock.seconds += 3000
    assert keys.key(signer.kid, "ES384"), "an hour's failure of the key server stops no order check"
    clock.seconds += 1000
    with pytest.raises(KeysUnavailable):
        keys.key(signer.kid, "ES384")
    works[0] = True
    clock.seconds += 3
    assert keys.key(signer.kid, "ES384")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"keys":{}}', b"<html>", b"[" * 100_000, b'{"keys":null}', b'{"keys":[{"kid":"\xff"}]}'],
)
def test_a_body_that_is_no_jwk_set_gives_no_keys(body: bytes) -> None:
    with pytest.raises(KeysUnavailable):
        KeySet(lambda: body).usable(["ES384"])
    with pytest.raises(KeysUnavailable):
        KeySet(lambda: body).key("key-1", "ES384")


def test_members_that_cannot_be_used_are_passed_over(signer: Signer) -> None:
    others = [7, None, {}, {"kty": "EC", "kid": "broken", "crv": "P-384", "x": "!", "y": "!"}, {"kty": "new"}]
    body = json.dumps({"keys": [*others, signer.jwk()]}).encode()
    keys = KeySet(lambda: body)
    assert keys.key(signer.kid, "ES384")
    assert keys.key("broken", "ES384") is None


@pytest.mark.parametrize(
    ("changes", "is_taken"),
    [({"alg": None}, True), ({"use": None}, True), ({"key_ops": ["verify"]}, True), ({"alg": "ES256"}, False),
     ({"use": "enc"}, False), ({"key_ops": ["sign"]}, False), ({"key_ops": "verify"}, False), ({"kid": None}, False),
     ({"kty": "RSA"}, False), ({"crv": "P-256"}, False)],
)  # fmt: skip
def test_a_key_is_used_for_what_it_is_meant(changes: dict[str, Any], is_taken: bool, signer: Signer) -> None:
    body = json.dumps({"keys": [signer.jwk(**changes)]}).encode()
    assert (KeySet(lambda: body).key(signer.kid, "ES384") is not None) is is_taken


@pytest.mark.parametrize("algorithm", ["ES384", "RS384", "EdDSA"])
def test_a_key_that_is_published_with_its_private_part_verifies_as_its_public_one(algorithm: str) -> None:
    signer = Signer(algorithm)
    keys = KeySet(lambda: json.dumps({"keys": [signer.jwk(**private_members(signer))]}).encode())
    assert accepted(signer.token(NOW), _of(keys, algorithm)) == "ehr"


def test_private_members_of_any_size_are_not_computed_with() -> None:
    """Of an exponent of 100,000 characters the library would look for the primes for 15 s of a processor."""
    signer = Signer("RS384")
    keys = KeySet(lambda: json.dumps({"keys": [signer.jwk(d="_" * 100_000)]}).encode())
    assert accepted(signer.token(NOW), _of(keys, "RS384")) == "ehr"
    assert keys.usable(["RS384"]) == ["RS384"]


def _of(keys: KeySet, algorithm: str) -> Authenticator:
    client = Client(id="ehr", issuers=[ISSUER], jku=[JKU], algorithms=[algorithm])
    return Authenticator([(client, Keys(None, {JKU: keys}))], PUBLIC_URL, MemoryReplayGuard(lambda: NOW))


def test_two_keys_of_one_id_are_told_apart_by_their_algorithm_or_not_used() -> None:
    curve, modulus, other = Signer("ES384"), Signer("RS384"), Signer("ES384")
    assert accepted(curve.token(NOW), authenticator(curve, modulus)) == "ehr"
    assert accepted(modulus.token(NOW), authenticator(curve, modulus)) == "ehr"
    assert refused(curve.token(NOW), authenticator(curve, other)) == "unknown-key"


def test_a_short_rsa_key_is_refused() -> None:
    signer = Signer("RS384", bits=1024)
    with pytest.warns(match="below"):
        token = signer.token(NOW)
    assert refused(token, authenticator(signer)) == "signature"


def test_keys_from_a_file_are_used_whatever_url_the_token_names_and_are_read_again(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(signer))
    monkeypatch.setattr(keysets, "_PAUSE", 0)
    client = Client(id="ehr", issuers=[ISSUER], jwks_file=str(path))
    gate = Authenticator(
        [(client, Keys(keysets.from_file(str(path)), {}))], PUBLIC_URL, MemoryReplayGuard(lambda: NOW)
    )
    assert accepted(signer.token(NOW), gate) == "ehr"
    assert accepted(signer.token(NOW, {"jku": "https://evil.example/jwks"}), gate) == "ehr"
    assert refused(Signer().token(NOW, {"jku": "https://evil.example/jwks"}), gate) == "signature"
    rotated = Signer(kid="rotated")
    path.write_bytes(jwks(rotated))
    assert accepted(rotated.token(NOW), gate) == "ehr"


def test_a_file_that_is_gone_is_a_refusal_and_no_failure(tmp_path: Path, signer: Signer) -> None:
    client = Client(id="ehr", issuers=[ISSUER], jwks_file="gone")
    keys = Keys(keysets.from_file(str(tmp_path / "gone")), {})
    gate = Authenticator([(client, keys)], PUBLIC_URL, MemoryReplayGuard(lambda: NOW))
    assert refused(signer.token(NOW), gate) == "keys-unavailable"


def test_with_several_urls_the_token_must_name_one(signer: Signer) -> None:
    other = "https://other.example/jwks"
    client = Client(id="ehr", issuers=[ISSUER], jku=[JKU, other])
    keys = Keys(None, {JKU: KeySet(lambda: jwks(signer)), other: KeySet(lambda: jwks(Signer()))})
    gate = Authenticator([(client, keys)], PUBLIC_URL, MemoryReplayGuard(lambda: NOW))
    assert refused(signer.token(NOW), gate) == "jku"
    assert accepted(signer.token(NOW, {"jku": JKU}), gate) == "ehr"
    assert refused(signer.token(NOW, {"jku": other}), gate) == "signature"
    assert refused(signer.token(NOW, {"jku": f"{JKU}?"}), gate) == "jku"


# The server of the keys ---------------------------------------------------------------------------------------------


def _url(base: str) -> str:
    return base.replace("/fhir", "/jwks")


def test_keys_are_read_from_a_url(signer: Signer) -> None:
    with local_server(Reply(jwks(signer))) as server:
        keys = keysets.from_url(_url(server.base), "loopback", deadline=10)
        assert keys.key(signer.kid, "ES384")
        assert keys.key(signer.kid, "ES384")
    assert [request.path for request in server.received] == ["/jwks"]
    assert "authorization" not in server.received[0].headers


@pytest.mark.parametrize("network", ["public", "private"])
def test_a_server_on_loopback_is_not_even_connected_to(network: Network, signer: Signer) -> None:
    with local_server(Reply(jwks(signer))) as server:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"):
            keys = keysets.from_url(f"http://{host}:{server.port}/jwks", network, deadline=10)
            with pytest.raises(KeysUnavailable):
                keys.key(signer.kid, "ES384")
    assert server.received == []
    assert server.connections == []


def test_a_redirect_of_the_key_server_is_not_followed(signer: Signer) -> None:
    with (
        local_server(Reply(jwks(signer))) as elsewhere,
        local_server(Reply(status=302, headers={"Location": elsewhere.base})) as server,
    ):
        with pytest.raises(KeysUnavailable):
            keysets.from_url(_url(server.base), "loopback", deadline=10).key(signer.kid, "ES384")
        assert elsewhere.received == []


FAULTS = {
    "silent": Reply(wait=FOREVER), "slow": Reply(b"{}", wait=2.0), "dripping head": Reply(b"{}", head_pause=0.2),
    "dripping body": Reply(b" " * 100, pause=0.2), "huge": Reply(b" " * 300_000), "500": Reply(b"{}", status=500),
    "a page for people": Reply(b"<html></html>"), "cut": Reply(b"{}", claims=10),
    "no HTTP": Reply(instead=b"\x00\x01"),
    "a bomb": Reply(gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_key_server_that_fails_costs_no_more_than_the_deadline_and_is_asked_again(
    fault: str, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that dripped its head kept the keys away for as long as it went on, however healthy it was meanwhile."""
    monkeypatch.setattr(keysets, "_PAUSE_AFTER_FAILURE", 0.2)
    fails, began = [True], datetime.now(UTC)
    with local_server(lambda request: FAULTS[fault] if fails[0] else Reply(jwks(signer))) as server:
        keys = keysets.from_url(_url(server.base), "loopback", deadline=0.5)
        for _ in range(2):
            with pytest.raises(KeysUnavailable):
                keys.key(signer.kid, "ES384")
        assert datetime.now(UTC) - began < 15 * SECOND
        fails[0] = False
        until(lambda: _comes(keys, signer), "the keys are still away", 15)


def _comes(keys: KeySet, signer: Signer) -> bool:
    """Whether the key is there now; clients try again, too."""
    with suppress(KeysUnavailable):
        return keys.key(signer.kid, "ES384") is not None
    return False


def test_an_order_waits_for_keys_only_until_its_deadline_and_the_next_one_has_them(signer: Signer) -> None:
    """The reading goes on beside it, and is not begun anew."""
    goes_on = threading.Event()

    def script(request: Received) -> Reply:
        goes_on.wait(10)
        return Reply(jwks(signer))

    with local_server(script) as server:
        keys = keysets.from_url(_url(server.base), "loopback", deadline=10)
        for _ in range(3):
            with pytest.raises(KeysUnavailable):
                keys.key(signer.kid, "ES384", Deadline.after(0.05))
        goes_on.set()
        assert keys.key(signer.kid, "ES384", Deadline.after(10))
        assert len(server.received) == 1


def test_keys_that_are_read_at_the_start_are_there_for_the_first_call(signer: Signer) -> None:
    with local_server(Reply(jwks(signer))) as server:
        client = Client(id="ehr", issuers=[ISSUER], jku=[JKU])
        keys = Keys(None, {JKU: keysets.from_url(_url(server.base), "loopback", deadline=10)})
        gate = Authenticator([(client, keys)], PUBLIC_URL, MemoryReplayGuard(lambda: NOW))
        gate.read_keys()
        until(lambda: server.received)
        assert accepted(signer.token(NOW), gate) == "ehr"
        assert len(server.received) == 1


def test_orders_that_come_at_once_share_one_reading(signer: Signer) -> None:
    readings, found = [], []

    def read() -> bytes:
        readings.append(1)
        time.sleep(0.1)
        return jwks(signer)

    keys = KeySet(read)
    callers = [threading.Thread(target=lambda: found.append(keys.key(signer.kid, "ES384"))) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (len(readings), len(found), None in found) == (1, 8, False)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("8.8.8.8", "public"), ("2606:4700::1111", "public"), ("::ffff:8.8.8.8", "public"),
        ("10.1.2.3", "private"), ("172.16.0.1", "private"), ("192.168.1.1", "private"), ("100.64.0.1", "private"),
        ("fd00::1", "private"), ("::ffff:10.0.0.1", "private"), ("64:ff9b::a00:1", "private"),
        ("2002:0a00:0001::", "private"),
        ("127.0.0.1", "loopback"), ("127.8.8.8", "loopback"), ("::1", "loopback"), ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("169.254.169.254", None), ("fe80::1", None), ("fe80::1%eth0", None), ("0.0.0.0", None), ("::", None),
        ("224.0.0.1", None), ("ff02::1", None), ("255.255.255.255", None), ("240.0.0.1", None),
        ("::ffff:169.254.169.254", None), ("64:ff9b::a9fe:a9fe", None), ("192.0.2.1", None),
        ("::ffff:0:8.8.8.8", "public"), ("::ffff:0:10.0.0.1", "private"), ("::ffff:0:127.0.0.1", "loopback"),
        ("::ffff:0:169.254.169.254", None), ("::127.0.0.1", None), ("::169.254.169.254", None), ("::8.8.8.8", None),
        ("64:ff9b:1::7f00:1", None), ("64:ff9b:1::a9fe:a9fe", None), ("2002:a9fe:a9fe::", None),
        ("2001:0:7f00:1::", None),
        ("fec0::1", None), ("5f00::1", None), ("3fff::1", None), ("2001:db8::1", None), ("100::1", None),
        ("192.0.0.192", None), ("192.88.99.1", None), ("100.100.100.200", None), ("168.63.129.16", None),
        ("fd00:ec2::254", None), ("fd20:ce::254", None),
    ],
)  # fmt: skip
def test_an_address_is_connected_to_only_where_its_network_is_allowed(address: str, network: str | None) -> None:
    allowed = {each for each in ("public", "private", "loopback") if outbound.is_allowed(address, each)}  # type: ignore[arg-type]
    expected = {"public": {"public", "private", "loopback"}, "private": {"private", "loopback"}}
    assert allowed == (expected.get(network, {network}) if network else set())
