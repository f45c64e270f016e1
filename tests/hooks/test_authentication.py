"""Tokens of CDS Hooks 2.0.1: which are taken, which are not, where the keys come from, and that each counts once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cds_service.hooks.authentication import Authenticator, Keys
from cds_service.hooks.clients import Client
from cds_service.hooks.errors import Unauthenticated
from cds_service.hooks.keysets import KeySet
from cds_service.hooks.replay import MemoryReplayGuard, ReplayGuard
from tests.hooks.tokens import DISCOVERY, ISSUER, PUBLIC_URL, Signer, claims, jwks

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
JKU = "https://ehr.example.org/jwks.json"
DISCOVERY_PATH = "/cds-services"
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def keys_of(*signers: Signer) -> Keys:
    return Keys(None, {JKU: KeySet(lambda: jwks(*signers))})


def authenticator(*signers: Signer, replay: ReplayGuard | None = None, **entry: Any) -> Authenticator:
    client = Client(**{"id": "ehr", "issuers": [ISSUER], "jku": [JKU], **entry})
    return Authenticator([(client, keys_of(*signers))], PUBLIC_URL, replay or MemoryReplayGuard(lambda: NOW))


def accepted(token: str, gate: Authenticator, path: str = DISCOVERY_PATH, now: datetime = NOW) -> str:
    return gate.client(f"Bearer {token}", path, now).id


def refused(token: str, gate: Authenticator, path: str = DISCOVERY_PATH, now: datetime = NOW) -> str:
    """The reason; what is said names nothing of the token."""
    with pytest.raises(Unauthenticated) as error:
        gate.client(f"Bearer {token}", path, now)
    assert 'error="invalid_token"' in error.value.headers["WWW-Authenticate"]
    return error.value.reason


# Good tokens --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_both_recommended_algorithms_are_taken_without_being_asked_for(algorithm: str) -> None:
    signer = Signer(algorithm)
    assert accepted(signer.token(NOW), authenticator(signer)) == "ehr"
    assert accepted(signer.token(NOW, {"jku": JKU}), authenticator(signer)) == "ehr"


@pytest.mark.parametrize("algorithm", ["ES256", "ES512", "RS256", "RS512", "PS256", "PS384", "PS512", "EdDSA"])
def test_another_algorithm_is_taken_only_where_the_entry_names_it(algorithm: str) -> None:
    signer = Signer(algorithm)
    assert refused(signer.token(NOW), authenticator(signer)) == "algorithm"
    assert accepted(signer.token(NOW), authenticator(signer, algorithms=(algorithm,))) == "ehr"
    assert refused(Signer().token(NOW), authenticator(signer, algorithms=(algorithm,))) == "algorithm"


@pytest.mark.parametrize(
    "audience",
    [DISCOVERY, f"{DISCOVERY}/", PUBLIC_URL, [DISCOVERY], ["https://other.example", DISCOVERY], [3, DISCOVERY]],
)
def test_the_audience_is_the_called_url_or_the_public_one_alone_or_in_a_list(audience: Any, signer: Signer) -> None:
    assert accepted(signer.token(NOW, aud=audience), authenticator(signer)) == "ehr"


def test_the_audience_of_a_call_is_its_own_url(signer: Signer) -> None:
    path = "/cds-services/ketamine-order-sign"
    gate = authenticator(signer)
    assert accepted(signer.token(NOW, aud=PUBLIC_URL + path), gate, path) == "ehr"
    assert refused(signer.token(NOW, aud=DISCOVERY), gate, path) == "audience"
    assert refused(signer.token(NOW, aud=PUBLIC_URL + path), gate, f"{path}/feedback") == "audience"


@pytest.mark.parametrize("called", ["", "/"])
@pytest.mark.parametrize("named", ["", "/"])
def test_a_slash_at_the_end_is_no_other_audience(called: str, named: str, signer: Signer) -> None:
    gate = authenticator(signer)
    path = "/cds-services/ketamine-order-sign"
    assert accepted(signer.token(NOW, aud=PUBLIC_URL + path + named), gate, path + called) == "ehr"


@pytest.mark.parametrize(
    "audience", ["sand_man", "http://localhost:8000", "http://localhost:8000/cds-services", ["x", "sand_man"]]
)
def test_an_alias_of_the_entry_is_an_audience_too(audience: Any, signer: Signer) -> None:
    gate = authenticator(signer, audience=["sand_man", "http://localhost:8000/"])
    assert accepted(signer.token(NOW, aud=audience), gate) == "ehr"
    assert refused(signer.token(NOW, aud=audience), authenticator(signer)) == "audience"


@pytest.mark.parametrize(
    "audience",
    [None, "", [], {}, 7, "https://cds.example.org", f"{DISCOVERY}x", "https://cds.example.org/cds-services"],
)
def test_any_other_audience_is_refused(audience: Any, signer: Signer) -> None:
    assert refused(signer.token(NOW, aud=audience), authenticator(signer)) == "audience"


def test_the_scheme_is_read_in_any_case(signer: Signer) -> None:
    assert authenticator(signer).client(f"bearer {signer.token(NOW)}", DISCOVERY_PATH, NOW).id == "ehr"


# Whose token it is --------------------------------------------------------------------------------------------------


def test_clients_of_one_issuer_are_told_apart_by_their_tenant(signer: Signer) -> None:
    other = Signer(kid="key-2")
    north = Client(id="north", issuers=[ISSUER], tenant="n", jku=[JKU])
    south = Client(id="south", issuers=[ISSUER], tenant="s", jku=[JKU])
    gate = Authenticator(
        [(north, keys_of(signer)), (south, keys_of(other))], PUBLIC_URL, MemoryReplayGuard(lambda: NOW)
    )
    assert accepted(signer.token(NOW, tenant="n"), gate) == "north"
    assert accepted(other.token(NOW, tenant="s"), gate) == "south"
    assert refused(signer.token(NOW, tenant="s"), gate) == "unknown-key"
    assert refused(signer.token(NOW, tenant="x"), gate) == "issuer"
    assert refused(signer.token(NOW), gate) == "issuer"
    assert refused(signer.token(NOW, tenant=["n"]), gate) == "malformed"


def test_the_tenant_of_an_issuer_with_one_client_does_not_matter(signer: Signer) -> None:
    assert accepted(signer.token(NOW, tenant="any"), authenticator(signer)) == "ehr"


@pytest.mark.parametrize("issuer", ["https://evil.example", f"{ISSUER}/", ISSUER.upper(), ""])
def test_another_issuer_is_refused(issuer: str, signer: Signer) -> None:
    assert refused(signer.token(NOW, iss=issuer), authenticator(signer)) == "issuer"


def test_a_key_of_one_client_signs_nothing_for_another(signer: Signer) -> None:
    other = Signer(kid=signer.kid)
    mine = Client(id="mine", issuers=["https://mine.example"], jku=[JKU])
    theirs = Client(id="theirs", issuers=["https://theirs.example"], jku=[JKU])
    gate = Authenticator(
        [(mine, keys_of(signer)), (theirs, keys_of(other))], PUBLIC_URL, MemoryReplayGuard(lambda: NOW)
    )
    assert accepted(signer.token(NOW, iss="https://mine.example"), gate) == "mine"
    assert refused(signer.token(NOW, iss="https://theirs.example"), gate) == "signature"


# Time ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "reason"),
    [(timedelta(), None), (359 * SECOND, None), (360 * SECOND, "expired"), (-60 * SECOND, None),
     (-61 * SECOND, "not-yet"), (timedelta(days=1), "expired"), (timedelta(days=-1), "not-yet")],
)  # fmt: skip
def test_a_token_lives_from_its_issue_to_its_end_give_or_take_a_minute(
    after: timedelta, reason: str | None, signer: Signer
) -> None:
    token, gate = signer.token(NOW), authenticator(signer)
    if reason is None:
        assert accepted(token, gate, now=NOW + after) == "ehr"
    else:
        assert refused(token, gate, now=NOW + after) == reason


def test_a_token_that_says_from_when_it_holds_does_not_hold_before(signer: Signer) -> None:
    seconds = int(NOW.timestamp())
    assert refused(signer.token(NOW, nbf=seconds + 61), authenticator(signer)) == "not-yet"
    assert accepted(signer.token(NOW, nbf=seconds + 60), authenticator(signer)) == "ehr"
    assert accepted(signer.token(NOW, nbf=seconds - 1000), authenticator(signer)) == "ehr"


def test_a_token_is_not_made_for_longer_than_the_entry_allows(signer: Signer) -> None:
    seconds = int(NOW.timestamp())
    assert accepted(signer.token(NOW, exp=seconds + 600), authenticator(signer)) == "ehr"
    assert refused(signer.token(NOW, exp=seconds + 601), authenticator(signer)) == "lifetime"
    assert accepted(signer.token(NOW, exp=seconds + 3600), authenticator(signer, max_lifetime_seconds=3600)) == "ehr"
    assert refused(signer.token(NOW, exp=seconds), authenticator(signer)) == "lifetime"
    assert refused(signer.token(NOW, exp=seconds - 1), authenticator(signer)) == "lifetime"


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["1", True, [], {}, -1, 1e300, 10**30, "2026-11-22T10:00:00Z"])
def test_a_moment_that_is_none_is_refused(claim: str, value: Any, signer: Signer) -> None:
    assert refused(signer.token(NOW, **{claim: value}), authenticator(signer)) == "malformed"


@pytest.mark.parametrize("claim", ["exp", "iat", "jti", "iss"])
def test_a_token_without_a_required_claim_is_refused(claim: str, signer: Signer) -> None:
    assert refused(signer.token(NOW, **{claim: None}), authenticator(signer)) == "malformed"


def test_seconds_may_have_a_fraction(signer: Signer) -> None:
    seconds = NOW.timestamp()
    assert accepted(signer.token(NOW, iat=seconds - 0.5, exp=seconds + 0.5), authenticator(signer)) == "ehr"


# Form ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, "", "Basic dXNlcjpwYXNz", "Bearer", "Token x"])
def test_a_call_without_a_bearer_token_is_refused(header: str | None, signer: Signer) -> None:
    with pytest.raises(Unauthenticated):
        authenticator(signer).client(header, DISCOVERY_PATH, NOW)


def test_where_no_token_was_sent_no_error_is_named(signer: Signer) -> None:
    """RFC 6750, 3.1."""
    with pytest.raises(Unauthenticated) as error:
        authenticator(signer).client(None, DISCOVERY_PATH, NOW)
    assert error.value.headers == {"WWW-Authenticate": 'Bearer realm="cds-services"'}


@pytest.mark.parametrize(
    "header",
    [{"kid": None}, {"typ": None}, {"typ": "at+jwt"}, {"typ": ["JWT"]}, {"jku": 7}, {"jku": [JKU]}],
)
def test_a_header_that_is_not_as_specified_is_refused(header: Mapping[str, Any], signer: Signer) -> None:
    assert refused(signer.token(NOW, header), authenticator(signer)) in ("malformed", "jku")


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b"[]", None), (b"null", None), (b'"x"', None), (b"{", None), (b"\xff", None),
        (b'{"alg":"ES384","kid":"key-1","typ":"JWT","crit":["x"],"x":1}', None),
        (b'{"alg":"ES384","kid":"key-1","typ":"JWT","b64":true}', None),
        (b'{"alg":"ES384","kid":7,"typ":"JWT"}', None), (b'{"alg":7,"kid":"key-1","typ":"JWT"}', None),
        (None, b"[]"), (None, b"7"), (None, b"{"), (None, b"\xff\xfe"), (None, b"[" * 5000),
        (None, b'{"exp":NaN}'), (None, b'{"exp":' + b"9" * 5000 + b"}"),
    ],
)  # fmt: skip
def test_parts_that_are_no_objects_are_refused(header: bytes | None, payload: bytes | None, signer: Signer) -> None:
    header = header or b'{"alg":"ES384","kid":"key-1","typ":"JWT"}'
    payload = payload or json.dumps(claims(NOW)).encode()
    assert refused(signer.signed(header, payload), authenticator(signer)) == "malformed"


def test_what_is_signed_byte_for_byte_as_a_library_would_is_taken(signer: Signer) -> None:
    """Or the tests that sign such bytes would prove nothing."""
    header = b'{"alg":"ES384","kid":"key-1","typ":"JWT"}'
    assert accepted(signer.signed(header, json.dumps(claims(NOW)).encode()), authenticator(signer)) == "ehr"


@pytest.mark.parametrize("parts", [1, 2, 4, 5])
def test_a_token_of_another_number_of_parts_is_refused(parts: int, signer: Signer) -> None:
    token = ".".join([*signer.token(NOW).split("."), "eyJ9", "eyJ9"][:parts])
    assert refused(token, authenticator(signer)) == "malformed"


def test_a_character_beside_the_alphabet_is_refused(signer: Signer) -> None:
    token = signer.token(NOW)
    for other in (f" {token}", f"{token} ", f"{token}=", f"{token}\n", f"{token},{token}", token.replace(".", "..")):
        assert refused(other, authenticator(signer)) == "malformed"


def test_any_changed_character_breaks_the_token(signer: Signer) -> None:
    token, gate = signer.token(NOW), authenticator(signer)
    for place in range(0, len(token), 7):
        if token[place] == ".":
            continue
        other = "A" if token[place] != "A" else "B"
        assert refused(f"{token[:place]}{other}{token[place + 1 :]}", gate)
    assert accepted(token, gate) == "ehr"


# A token that another implementation made ---------------------------------------------------------------------------

SPECIFIED_KEYS = (
    b'{"keys":[{"kty":"EC","use":"sig","crv":"P-384","kid":"example-kid","alg":"ES384",'
    b'"x":"46SDH7Znh821wblCBglA61sNE9ZrHYKKt3qRtRTmSXyOI_FIGBLWrWa0GPUkDCEk",'
    b'"y":"XMcRuuoGW7CXjQdy-F5i3FeBE0x9hPLdeFdSoDd3ELmx404tLX0VRRcqzAsPhXcI"}]}'
)
SPECIFIED_TOKEN = (
    "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCIsImtpZCI6ImV4YW1wbGUta2lkIiwiamt1IjoiaHR0cHM6Ly9maGlyLWVoci5leGFtcGxlLmNvbS9q"
    "d2tfdXJpIn0.eyJpc3MiOiJodHRwczovL2ZoaXItZWhyLmV4YW1wbGUuY29tLyIsImF1ZCI6Imh0dHBzOi8vY2RzLmV4YW1wbGUub3JnL2Nkcy1z"
    "ZXJ2aWNlcy9zb21lLXNlcnZpY2UiLCJleHAiOjE0MjI1Njg4NjAsImlhdCI6MTMxMTI4MDk3MCwianRpIjoiZWUyMmIwMjEtZTFiNy00NjExLWJh"
    "NWItOGVlYzZhMzNhYzFlIiwidGVuYW50IjoiMmRkZDZjM2EtOGU5YS00NGM2LWEzMDUtNTIxMTFhZDMwMmEyIn0.d1WfLjGRKlcWB94l9do4cM8R"
    "EXeYJLL6SGUBO8VHZhfM8mwKYP70EMxJ67War4TQblEpaQrp11wx5p7oPFm2ETYgCicS84vXWEIYTdjooZdooCSDf2L8-i4awdoUwiEb"
)
"""The example of CDS Hooks, "JWT Signing Algorithm"."""


def test_the_specifications_own_token_is_verified_and_then_lives_too_long() -> None:
    """Its three and a half years are looked at after the signature, so that this reason proves the signature good."""
    jku, issuer = "https://fhir-ehr.example.com/jwk_uri", "https://fhir-ehr.example.com/"
    client = Client(id="ehr", issuers=[issuer], jku=[jku])
    keys = Keys(None, {jku: KeySet(lambda: SPECIFIED_KEYS)})
    gate = Authenticator([(client, keys)], "https://cds.example.org", MemoryReplayGuard(lambda: NOW))
    path, then = "/cds-services/some-service", datetime(2012, 1, 1, tzinfo=UTC)
    assert refused(SPECIFIED_TOKEN, gate, path, then) == "lifetime"
    assert refused(SPECIFIED_TOKEN, gate, path) == "expired"
    assert refused(SPECIFIED_TOKEN.replace(".d1Wf", ".d1We"), gate, path, then) == "signature"


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", [10**309, 10**400, 10**4000, -(10**400), 1e308])
def test_a_moment_of_any_size_is_refused_and_nothing_else(name: str, value: float, signer: Signer) -> None:
    assert refused(signer.token(NOW, **{name: value}), authenticator(signer)) == "malformed"


@pytest.mark.parametrize("text", [b"1e400", b"-1e400", b"1" + b"0" * 5000, b"-1", b"NaN", b"Infinity"])
@pytest.mark.parametrize("name", [b"exp", b"iat", b"nbf"])
def test_a_moment_written_in_any_way_is_refused_and_nothing_else(name: bytes, text: bytes, signer: Signer) -> None:
    payload = json.dumps(claims(NOW, **{name.decode(): None})).encode()[:-1] + b',"%b":%b}' % (name, text)
    token = signer.signed(json.dumps({"alg": signer.algorithm, "kid": signer.kid, "typ": "JWT"}).encode(), payload)
    assert refused(token, authenticator(signer)) in ("malformed", "expired", "lifetime")


def test_a_refusal_says_for_the_log_whose_token_it_seems_to_be_and_what_was_expected(signer: Signer) -> None:
    gate = authenticator(signer)
    with pytest.raises(Unauthenticated) as wrong:
        gate.client(f"Bearer {signer.token(NOW, aud='https://else.example')}", DISCOVERY_PATH, NOW)
    assert (wrong.value.client, wrong.value.expected) == ("ehr", PUBLIC_URL)
    with pytest.raises(Unauthenticated) as unknown:
        gate.client(f"Bearer {signer.token(NOW, iss='https://else.example')}", DISCOVERY_PATH, NOW)
    assert (unknown.value.client, unknown.value.expected) == (None, "")
