"""Who may call: signed tokens, requirement by requirement, at a service that asks for them."""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conformance.conftest import URL
from tests.conformance.signing import Caller, caller, made
from tests.conformance.target import Answer, Target
from tests.servers.local import Reply, local_server
from tests.web.test_server import started

requirement = pytest.mark.requirement

PATH = "/cds-services"
ISSUER = "https://ehr.example.org"
ALGORITHMS = ("ES384", "RS384")
REGISTERED = {
    # RFC 7518, section 3.1, without none and the symmetric ones; EdDSA is of RFC 8037.
    "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
}  # fmt: skip


@dataclass(frozen=True)
class Guarded:
    """A service that asks for tokens, and the clients that it knows."""

    target: Target
    callers: tuple[Caller, ...]

    @property
    def url(self) -> str:
        return self.target.base + PATH

    def discovery(self, token: str) -> Answer:
        return self.target.send("GET", PATH, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    base = os.environ.get(URL)
    if base:
        known = caller()
        target = Target(base, is_ours=False)
        if known is None or target.send("GET", PATH).status != 401:
            pytest.skip("the service asks for no token, or KETAMINE_TEST_CONFORMANCE_KEY names no key that it knows")
        yield Guarded(target, (known,))
        return
    folder = tmp_path_factory.mktemp("guarded")
    pairs = [made(algorithm, ISSUER, algorithm.lower()) for algorithm in ALGORITHMS]
    (folder / "keys.json").write_text(json.dumps({"keys": [key for _, key in pairs]}), "utf-8")
    entry = {"id": "suite", "issuers": [ISSUER], "jwks_file": "keys.json"}
    (folder / "clients.yaml").write_text(json.dumps({"clients": [entry]}), "utf-8")
    settings = {"AUTH": "required", "CLIENTS": str(folder / "clients.yaml"), "STATE_DIR": str(folder)}
    with started(folder, None, **{f"KETAMINE_CDS_{name}": value for name, value in settings.items()}) as running:
        running.wait_for("Listening on ")
        yield Guarded(Target(running.base, is_ours=True), tuple(each for each, _ in pairs))


def _is_refused(answer: Answer) -> bool:
    return answer.status == 401 and "WWW-Authenticate" in answer.headers


@requirement("176", "205")
def test_a_signed_token_lets_its_client_in(guarded: Guarded) -> None:
    for each in guarded.callers:
        assert guarded.discovery(each.token(guarded.url)).status == 200, each.algorithm


@requirement("205")
def test_es384_and_rs384_are_accepted(guarded: Guarded) -> None:
    if not guarded.target.is_ours:
        pytest.skip("the suite has no key of its own that the service knows")
    assert {each.algorithm for each in guarded.callers} == {"ES384", "RS384"}
    assert [guarded.discovery(each.token(guarded.url)).status for each in guarded.callers] == [200, 200]


@requirement("200")
def test_an_algorithm_that_is_not_registered_is_refused(guarded: Guarded) -> None:
    for each in guarded.callers:
        assert each.algorithm in REGISTERED
        _, claims, signature = each.token(guarded.url).split(".")
        head = {"typ": "JWT", **each.header, "alg": "XX999"}
        assert _is_refused(guarded.discovery(f"{_segment(json.dumps(head).encode())}.{claims}.{signature}"))


@requirement("176", "177")
def test_a_call_without_a_token_is_refused(guarded: Guarded) -> None:
    assert _is_refused(guarded.target.send("GET", PATH))
    for content in (b"{}", b""):
        answer = guarded.target.send("POST", f"{PATH}/any", content, {"Content-Type": "application/json"})
        assert answer.status == 401


@requirement("176")
def test_a_token_whose_claims_were_changed_is_refused(guarded: Guarded) -> None:
    for each in guarded.callers:
        head, _, signature = each.token(guarded.url).split(".")
        other = each.token(guarded.url, sub="somebody else").split(".")[1]
        assert _is_refused(guarded.discovery(f"{head}.{other}.{signature}"))


@requirement("176")
def test_a_token_under_another_key_is_refused(guarded: Guarded) -> None:
    each, stranger = guarded.callers[0], ec.generate_private_key(ec.SECP384R1())
    assert _is_refused(guarded.discovery(each.signed(stranger, "ES384", guarded.url)))


@requirement("195")
def test_an_issuer_that_is_not_on_the_list_is_refused(guarded: Guarded) -> None:
    for each in guarded.callers:
        assert _is_refused(guarded.discovery(each.token(guarded.url, iss="https://stranger.example.com")))


@requirement("195")
def test_a_key_set_at_an_address_that_is_not_on_the_list_is_not_even_asked_for(guarded: Guarded) -> None:
    """It holds the very key that signed the token."""
    for each in guarded.callers:
        stranger, public = made("ES384", each.issuer, "stranger")
        with local_server(Reply(json.dumps({"keys": [public]}).encode())) as elsewhere:
            header = {"jku": f"{elsewhere.base}/keys.json"}
            assert _is_refused(guarded.discovery(stranger.token(guarded.url, header)))
        assert (elsewhere.received, elsewhere.connections) == ([], [])


@requirement("199")
def test_a_token_that_names_no_key_set_is_checked_with_keys_that_were_exchanged(guarded: Guarded) -> None:
    without = [each for each in guarded.callers if "jku" not in each.header]
    if not without:
        pytest.skip("the suite's client names its key set")
    assert {guarded.discovery(each.token(guarded.url)).status for each in without} == {200}


@requirement("201")
def test_a_token_without_a_signature_is_refused(guarded: Guarded) -> None:
    for each in guarded.callers:
        claims = each.token(guarded.url).split(".")[1]
        for name in ("none", "None", "NONE"):
            head = _segment(json.dumps({"typ": "JWT", **each.header, "alg": name}).encode())
            assert _is_refused(guarded.discovery(f"{head}.{claims}."))


@requirement("203")
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_token_under_a_symmetric_algorithm_is_refused(algorithm: str, guarded: Guarded) -> None:
    """With the public key, which everybody has, as the secret."""
    for each in guarded.callers:
        signed = _hmac(algorithm, each, guarded.url)
        assert _is_refused(guarded.discovery(signed))


def _hmac(algorithm: str, each: Caller, url: str) -> str:
    public = each.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = _segment(json.dumps({"typ": "JWT", **each.header, "alg": algorithm}).encode())
    start = f"{head}.{each.token(url).split('.')[1]}"
    return f"{start}.{_segment(hmac.digest(public, start.encode(), f'sha{algorithm[2:]}'))}"


def _segment(data: Any) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
