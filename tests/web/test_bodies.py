"""Bodies as clients send them: compressed, in another charset, under another name of JSON; read, and bounded."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from cds_service.hooks.errors import Busy, HookError, Malformed, TooLarge
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web import bodies, overload
from tests.hooks.client import client, encoded, topics
from tests.hooks.conformance import decoded
from tests.scenarios.build import hook_request

SIGN = "/cds-services/ketamine-order-sign"
LIMIT = 50_000
KETAMINE = encoded(hook_request({"order": {"rate": "1.2 mg/kg/h"}}))


@pytest.fixture(scope="module")
def http(knowledge: Knowledge) -> FlaskClient:
    return client(knowledge, Settings(max_body_bytes=LIMIT))


def _raw_deflate(body: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(body) + made.flush()


COMPRESSED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("x-gzip", gzip.compress),
    ("identity, gzip", gzip.compress),
    ("gzip", lambda body: gzip.compress(body[:99]) + gzip.compress(body[99:])),
    ("deflate", zlib.compress),
    ("deflate", _raw_deflate),
    ("identity", bytes),
    ("", bytes),
    ("", gzip.compress),
]


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSED)
def test_a_compressed_order_is_judged(encoding: str, compress: Callable[[bytes], bytes], http: FlaskClient) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    answer = http.post(SIGN, data=compress(KETAMINE), content_type="application/json", headers=headers)
    assert topics(decoded(answer.data)) == ["rate-exceeds-ceiling"]


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, _raw_deflate])
def test_a_bomb_stops_at_the_bound(compress: Callable[[bytes], bytes], http: FlaskClient) -> None:
    encoding = "gzip" if compress is gzip.compress else "deflate"
    bomb = compress(b" " * 20_000_000)
    assert len(bomb) < LIMIT
    answer = http.post(SIGN, data=bomb, content_type="application/json", headers={"Content-Encoding": encoding})
    assert answer.status_code == 413
    fits = compress(KETAMINE + b" " * (LIMIT - len(KETAMINE)))
    answer = http.post(SIGN, data=fits, content_type="application/json", headers={"Content-Encoding": encoding})
    assert answer.status_code == 200


@pytest.mark.parametrize("member", [gzip.compress(b" " * (LIMIT // 10)), gzip.compress(b"")], ids=["long", "empty"])
def test_a_bomb_of_many_members_stops_at_the_bound(member: bytes) -> None:
    """Of empty ones too: each leaves a copy of all that follows it."""
    with pytest.raises(TooLarge):
        bodies.plain(member * 17, "gzip", "", LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "utf-16"])
def test_many_bombs_at_once_are_refused_before_each_has_taken_its_room(encoding: str) -> None:
    """120 bodies of 17 kB took 1.5 GB: what they hold was counted when all of it was there."""
    body = gzip.compress(b" " * 16_000_000) if encoding == "gzip" else (" " * 8_000_000).encode("utf-16")
    load = overload.Load(Settings(bytes_in_flight=18_000_000))
    for_others = load.begin()
    for_others.grow(17_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(Busy):
            bodies.plain(body, encoding if encoding == "gzip" else "", "", 16_000_001, load.begin().grow)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


@given(st.binary(max_size=30_000), st.integers(1, 5_000))
def test_a_body_is_the_same_however_small_the_pieces_in_which_it_comes_out(body: bytes, piece: int) -> None:
    told: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bodies, "_PIECE", piece)
        for compressed, encoding in ((gzip.compress(body), "gzip"), (zlib.compress(body), "deflate")):
            told.clear()
            assert bodies._inflated(compressed, bodies._WINDOWS[encoding], 40_000, told.append) == body
            assert sum(told) == len(body)
            with pytest.raises(Malformed):
                bodies._inflated(compressed[:-1], bodies._WINDOWS[encoding], 40_000, told.append)


def test_a_body_of_a_few_members_is_read_as_one() -> None:
    assert bodies.plain(gzip.compress(b'{"a":') + gzip.compress(b"1}"), "gzip", "", LIMIT) == b'{"a":1}'


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", KETAMINE, 400),
        ("gzip", gzip.compress(KETAMINE)[:-20], 400),
        ("deflate", gzip.compress(KETAMINE), 400),
        ("gzip", b"", 400),
        ("br", KETAMINE, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(KETAMINE)), 415),
        ("SECRET-7c1f", KETAMINE, 415),
    ],
)
def test_what_cannot_be_decompressed_is_refused_in_words(
    encoding: str, body: bytes, status: int, http: FlaskClient
) -> None:
    answer = http.post(SIGN, data=body, content_type="application/json", headers={"Content-Encoding": encoding})
    assert answer.status_code == status
    assert decoded(answer.data)["resourceType"] == "OperationOutcome"
    assert "SECRET" not in answer.text


@pytest.mark.parametrize(
    "media_type",
    [
        "application/fhir+json",
        "application/json+fhir",
        "text/json",
        "application/x-json",
        "Application/FHIR+JSON",
        "application/json; fhirVersion=4.0",
        'application/json; charset="utf8"',
        "application/json; charset=nonsense",
        "application/json; charset=iso-8859-1",
        None,
    ],
)
def test_json_under_any_of_its_names_is_judged(media_type: str | None, http: FlaskClient) -> None:
    answer = http.post(SIGN, data=KETAMINE, content_type=media_type)
    assert topics(decoded(answer.data)) == ["rate-exceeds-ceiling"]


MICROGRAMS = hook_request({"order": {"text": "ketamine 20 \u00b5g/kg/min"}})


@pytest.mark.parametrize(
    ("python", "declared"),
    [
        ("utf-16", "utf-16"),
        ("utf-16", None),
        ("utf-16-le", "utf-16le"),
        ("utf-16-be", None),
        ("utf-16-le", None),
        ("latin-1", "iso-8859-1"),
        ("latin-1", "ISO_8859-1"),
        ("cp1252", "windows-1252"),
        ("utf-8", "iso-8859-1"),
        ("utf-8-sig", "utf-8"),
    ],
)
def test_another_charset_is_read(python: str, declared: str | None, http: FlaskClient) -> None:
    body = encoded(MICROGRAMS).decode().encode(python)
    media_type = "application/json" + (f"; charset={declared}" if declared else "")
    answer = http.post(SIGN, data=body, content_type=media_type)
    assert "rate-exceeds-ceiling" in topics(decoded(answer.data))


@pytest.mark.parametrize(
    ("body", "charset", "status"),
    [(b"\xff{}", "koi8-r", 415), (b"\xff{}", "nonsense", 415), (b"{\0}", "utf-16", 400), (b"\xff{}", "rot13", 415)],
)
def test_a_charset_that_cannot_be_read_is_refused(body: bytes, charset: str, status: int, http: FlaskClient) -> None:
    answer = http.post(SIGN, data=body, content_type=f"application/json; charset={charset}")
    assert answer.status_code == status


def test_no_charset_that_was_asked_for_is_remembered(http: FlaskClient) -> None:
    """Python keeps each name that `codecs.lookup` does not know, however long it is and however many there are."""

    def ask(number: int) -> None:
        media_type = f"application/json; charset=x{number}{'y' * 8_000}"
        assert http.post(SIGN, data=b"\xff{}", content_type=media_type).status_code == 415

    ask(0)
    tracemalloc.start()
    for number in range(1, 101):
        ask(number)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 400_000, "100 names of 8,000 characters"


@given(
    st.binary(max_size=200),
    st.sampled_from(["", "gzip", "deflate", "br", "gzip,deflate", ",", "identity"]),
    st.sampled_from(["", "utf-8", "utf-16", "latin-1", "cp1252", "x", "\0", "hex", "idna", "punycode"]),
)
def test_any_body_is_read_or_refused_and_nothing_else_happens(body: bytes, encoding: str, charset: str) -> None:
    try:
        found = bodies.plain(body, encoding, charset, 10_000)
    except HookError:
        return
    assert len(found) <= 10_000


@given(st.binary(max_size=3000), st.sampled_from(COMPRESSED), st.integers(1, 4000))
def test_the_limit_holds_for_what_comes_out(
    body: bytes, how: tuple[str, Callable[[bytes], bytes]], limit: int
) -> None:
    encoding, compress = how
    body = b"[" + body
    if len(body) > limit and encoding not in ("", "identity"):
        with pytest.raises(TooLarge):
            bodies.plain(compress(body), encoding, "utf-8", limit)
    elif len(body) <= limit:
        assert bodies.plain(compress(body), encoding, "utf-8", limit) == body


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{\n  "hook": "order-sign",\n  "context": {"patientId" "p1"}\n}', "line 3, column 27"),
        (b'{"hook": "order-sign",', "line 1, column 23"),
        (b"{'hook': 1}", "line 1, column 2"),
        ('{"a": "\u00b5\u00b5",\n\n  x}'.encode(), "line 3, column 3"),
        (b"", "line 1, column 1"),
        (b'{"hook": "order-sign"}\n}', "line 2, column"),
    ],
)
@pytest.mark.parametrize("path", [SIGN, f"{SIGN}/feedback"])
def test_malformed_json_says_where(path: str, body: bytes, where: str, http: FlaskClient) -> None:
    answer = http.post(path, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert where in decoded(answer.data)["issue"][0]["diagnostics"]


@pytest.mark.parametrize("path", ["/cds-services/", "/cds-services"])
def test_a_slash_at_the_end_is_the_same_discovery(path: str, http: FlaskClient) -> None:
    answer = http.get(path)
    assert decoded(answer.data)["services"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_slash_at_the_end_is_the_same_service(http: FlaskClient) -> None:
    answer = http.post(f"{SIGN}/", data=KETAMINE, content_type="application/json")
    assert topics(decoded(answer.data)) == ["rate-exceeds-ceiling"]
    entry = {"feedback": [{"card": "nonsense"}]}
    answers = [http.post(f"{SIGN}/feedback{slash}", json=entry) for slash in ("", "/")]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].data == answers[1].data
