"""Which addresses lie below the base of a FHIR server."""

import json
import posixpath
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cds_service import bounds
from cds_service.fhir.addresses import is_below
from cds_service.fhir.exchange import Base
from tests.servers.local import Reply, local_server

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


def test_an_address_that_no_server_takes_is_not_below_the_base_and_is_not_remembered() -> None:
    """The library that takes addresses apart keeps the latest 128 of them, of up to 16 MB each."""
    assert is_below(f"{BASE}/".ljust(bounds.ADDRESS, "a"), BASE)
    base = Base(f"{BASE}/")
    assert base.below("a" * bounds.ADDRESS) is None, "too long with the base before it"
    urlsplit.cache_clear()
    assert not is_below(f"{BASE}/".ljust(bounds.ADDRESS + 1, "a"), BASE)
    assert base.below(f"{BASE}/?".ljust(bounds.ADDRESS + 1, "a")) is None
    assert urlsplit.cache_info().currsize == 0


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


@given(
    st.sampled_from(
        [
            "https://ehr.example/fhir/", "https://ehr.example/", "https://ehr.example/a/./b/", "https://ehr.example//a/",
            "https://ehr.example/fhir?x/", "https://ehr.example/fhir#x/", "https://EHR.example:443/a;b/", "https://a@b/c/",
            "https://ehr.example/a/../b/", "ftp://ehr.example/", "https://ehr.example/%2e%2e/",
        ]
    ),
    st.lists(st.sampled_from([*"aB0-._~/?&=,:;@#%\\ []", "..", "http:", "https://ehr.example/fhir/"]), max_size=8),
)  # fmt: skip
@example("https://ehr.example/fhir/", ["Condition?patient=1"])
@example("https://a@b/c/", ["Condition"])
@example("https://ehr.example/%2e%2e/", ["Condition"])
@example("https://ehr.example/fhir?x/", ["Condition"])
def test_a_link_leads_where_urljoin_says_and_only_below_its_base(base: str, parts: list[str]) -> None:
    link = "".join(parts)
    try:
        absolute = urljoin(base, link)
    except ValueError:
        absolute = link
    assert Base(base).below(link) == (absolute if is_below(absolute, base) else None)
