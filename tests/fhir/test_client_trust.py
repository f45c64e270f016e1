"""Where the FHIR client goes, and with what: only below the allowed base, and each request with its own token."""

import threading
from pathlib import Path

import pytest

from cds_service.fhir.source import Answer, NoSource
from cds_service.says.records import SERVER_ANSWERED
from tests.fhir.asked import SEARCH, TOKEN, UNREACHABLE, allowed, ask, conditions, ids
from tests.said import told
from tests.servers.local import Received, Reply, local_server

# Where the token goes


def test_the_token_goes_to_the_allowed_server_as_a_bearer_token() -> None:
    with local_server(Reply(conditions("1"))) as server:
        ask(server)
    (request,) = server.received
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept"] == "application/fhir+json"


def test_without_a_token_there_is_no_authorization_even_where_the_machine_knows_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login nurse password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with local_server(Reply(conditions("1"))) as server:
        assert ask(server, token=None).gap is None
    assert "authorization" not in server.received[0].headers


def test_no_proxy_of_the_environment_sees_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with local_server(Reply(conditions("1"))) as server, local_server(Reply(conditions("proxy"))) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ids(ask(server)) == ["1"]
        assert proxy.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_not_followed_and_the_token_is_not_sent_there(status: int) -> None:
    with local_server(Reply(conditions("elsewhere"))) as other:
        away = Reply(status=status, headers={"Location": f"{other.base}/Condition?patient=p1"})
        with local_server(away) as server:
            answer = ask(server)
        assert answer == Answer([], SERVER_ANSWERED(str(status)))
        assert len(server.received) == 1
        assert other.received == []
        assert other.connections == []


def test_a_redirect_is_not_followed_on_the_same_server_either() -> None:
    with local_server(Reply(status=302, headers={"Location": "/admin"})) as server:
        assert told(ask(server).gap) == "the FHIR server answered 302"
    assert [request.path for request in server.received] == ["/fhir/Condition?patient=p1"]


@pytest.mark.parametrize(
    "link",
    [
        "{other}?page=2",
        "//127.0.0.1:{port}/fhir?page=2",
        "http://127.0.0.1:{own}@127.0.0.1:{port}/fhir?page=2",
        "http://127.0.0.1:{port}\\@127.0.0.1:{own}/fhir?page=2",
        "http://127.0.0.1:{own}/fhirevil?page=2",
        "/other?page=2",
        "../other?page=2",
        "http://127.0.0.1:{own}/fhir/%2e%2e/other?page=2",
        "http://127.0.0.1:{own}/fhir/..;/other?page=2",
        "https://127.0.0.1:{own}/fhir?page=2",
        "ftp://127.0.0.1:{own}/fhir?page=2",
        "file:///etc/passwd",
        "http://[127.0.0.1/fhir?page=2",
    ],
)
def test_a_next_link_that_leads_off_the_server_is_not_followed_and_the_first_page_is_kept(link: str) -> None:
    with local_server(Reply(conditions("elsewhere"))) as other:

        def script(request: Received) -> Reply:
            following = link.format(other=other.base, port=other.port, own=server.port)
            return Reply(conditions("1", following=following))

        with local_server(script) as server:
            answer = ask(server)
        assert ids(answer) == ["1"]
        assert told(answer.gap) == "the FHIR server's next page is not on that server"
        assert len(server.received) == 1
        assert other.connections == []


def test_a_server_that_is_not_on_the_allowlist_is_not_asked() -> None:
    with local_server(Reply(conditions("1"))) as server, allowed("https://ehr.example/fhir") as servers:
        source = servers.source(server.base, TOKEN)
        assert isinstance(source, NoSource)
        assert source.why_not is not None
        assert "not on the allowlist" in told(source.why_not)
        assert source.fetch({"c": SEARCH}) == {"c": Answer([], source.why_not)}
        assert server.connections == []


@pytest.mark.parametrize("base", [None, ""])
def test_a_request_that_names_no_server_has_no_source(base: str | None) -> None:
    with allowed("https://ehr.example/fhir") as servers:
        source = servers.source(base, TOKEN)
        assert source == NoSource()
        assert source.fetch({"a": SEARCH, "b": SEARCH}).keys() == {"a", "b"}


def test_a_server_below_an_allowed_base_may_be_asked_and_its_pages_must_stay_below_it() -> None:
    """A client of one tenant of a shared server must not be led to another tenant."""

    def script(request: Received) -> Reply:
        return Reply(conditions("1", following="/fhir/tenant-2/Condition?page=2"))

    with local_server(script) as server, allowed(server.base) as servers:
        source = servers.source(f"{server.base}/tenant-1/", TOKEN)
        answer = source.fetch({"c": SEARCH})["c"]
    assert source.why_not is None
    assert told(answer.gap) == "the FHIR server's next page is not on that server"
    assert [request.path for request in server.received] == ["/fhir/tenant-1/Condition?patient=p1"]


def test_a_cookie_that_was_set_for_one_user_does_not_come_along_with_another_users_token() -> None:
    cookie = {"Set-Cookie": "JSESSIONID=of-the-first-user; Path=/", "Content-Type": "application/fhir+json"}
    with local_server(Reply(conditions("1"), headers=cookie)) as server, allowed(server.base) as servers:
        for token in ("first", "second"):
            assert servers.source(server.base, token).fetch({"c": SEARCH})["c"].gap is None
    assert [request.headers["authorization"] for request in server.received] == ["Bearer first", "Bearer second"]
    assert [request.headers.get("cookie") for request in server.received] == [None, None]


@pytest.mark.parametrize("token", ["two\r\nX-Injected: yes", "tök€n", "\x00"])
def test_a_token_that_is_no_header_value_is_a_gap_and_nothing_is_sent(token: str) -> None:
    with local_server(Reply(conditions("1"))) as server:
        answer = ask(server, token=token)
    if server.received:
        assert "x-injected" not in server.received[0].headers
    else:
        assert told(answer.gap) == UNREACHABLE


def test_two_requests_at_once_do_not_mix_their_tokens_or_their_answers() -> None:
    def script(request: Received) -> Reply:
        return Reply(conditions(request.headers["authorization"].removeprefix("Bearer ")), wait=0.01)

    found: dict[str, set[str | None]] = {}

    def of_user(token: str) -> None:
        source = servers.source(server.base, token)
        answers = source.fetch({str(i): f"Condition?patient={i}" for i in range(5)})
        found[token] = {each for answer in answers.values() for each in ids(answer)}

    with local_server(script) as server, allowed(server.base) as servers:
        users = [threading.Thread(target=of_user, args=(f"user-{i}",)) for i in range(8)]
        for user in users:
            user.start()
        for user in users:
            user.join()
    assert found == {f"user-{i}": {f"user-{i}"} for i in range(8)}
