"""A Bulk Data export is fetched whole, goes on where it was stopped, and says what did not come."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest

from cds_service import cli
from cds_service.commands.export import default_types
from cds_service.retrospect import bulk, exports
from tests.retrospect.bulk_server import BulkServer, outcome
from tests.retrospect.exported import COUNTS, FILES, TYPES, fetch, held, running
from tests.servers.local import Received, Reply, local_server
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("quick")


WHOLE = {
    "Observation-0001.ndjson": FILES["Observation-1"],
    "Observation-0002.ndjson": FILES["Observation-2"] + b"\n",
    "Patient-0001.ndjson": FILES["Patient-1"],
}


def test_all_files_come_for_their_owner_alone_and_the_job_is_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = BulkServer(FILES, counts=COUNTS, polls=3)
    with running(server):
        assert fetch(server, tmp_path / "export", "--since", "2026-01-01T00:00:00Z") == 0
    assert held(tmp_path / "export") == WHOLE
    assert {each.stat().st_mode & 0o077 for each in (tmp_path / "export").iterdir()} == {0}
    assert (tmp_path / "export").stat().st_mode & 0o077 == 0
    assert server.deleted == ["1"]
    assert server.asked["_type"] == ["Patient,Observation"]
    assert server.asked["_since"] == ["2026-01-01T00:00:00+00:00"]
    printed = capsys.readouterr()
    assert "2 Patient, 6 Observation" in printed.out
    assert "2026-11-01T00:00:00Z" in printed.out
    assert "in progress" in printed.err
    assert exports.find(tmp_path / "export", tmp_path / "plain").types == {"Patient", "Observation"}


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ((), "/fhir/Patient/$export"),
        (("--group", "g-1"), "/fhir/Group/g-1/$export"),
        (("--system",), "/fhir/$export"),
    ],
)
def test_it_can_be_of_all_patients_of_a_group_or_of_the_whole_server(
    options: tuple[str, ...], path: str, tmp_path: Path
) -> None:
    server = BulkServer(FILES, counts=COUNTS)
    with running(server) as local:
        assert fetch(server, tmp_path / "export", *options) == 0
    assert local.received[0].path.partition("?")[0] == path


def test_it_signs_as_a_backend_service_and_gets_a_new_token_when_one_is_not_taken_any_more(tmp_path: Path) -> None:
    assert cli.main(["keys", "new", "--into", str(tmp_path / "keys")]) == 0
    (public,) = msgspec.json.decode((tmp_path / "keys" / "jwks.json").read_bytes())["keys"]
    server = BulkServer(FILES, counts=COUNTS, polls=3, public_key=jwt.PyJWK(public).key)
    polled: list[str] = []

    def forgets(received: Received) -> Reply | None:
        """After the first poll the server takes the old token no more."""
        if "/jobs/" in received.path:
            polled.append(received.headers["authorization"])
            if len(polled) == 2:
                return Reply(outcome("login"), 401)
        return None

    server.fault = forgets
    signs = ("--client", "replay", "--key", str(tmp_path / "keys" / "private-key.json"))
    with running(server):
        assert fetch(server, tmp_path / "export", *signs) == 0
    assert held(tmp_path / "export") == WHOLE
    assert server.scopes == ["system/Patient.rs system/Observation.rs"] * 2
    assert polled[0] == "Bearer token-1"
    assert polled[-1] == "Bearer token-2"


def test_a_key_that_the_server_does_not_know_gets_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ours", "theirs"):
        cli.main(["keys", "new", "--into", str(tmp_path / name)])
    (public,) = msgspec.json.decode((tmp_path / "theirs" / "jwks.json").read_bytes())["keys"]
    server = BulkServer(FILES, public_key=jwt.PyJWK(public).key)
    signs = ("--client", "replay", "--key", str(tmp_path / "ours" / "private-key.json"))
    with running(server):
        assert fetch(server, tmp_path / "export", *signs) == 3
    assert "gave no access token, but 400: invalid_client" in capsys.readouterr().err
    assert server.jobs == 0


def test_a_token_goes_only_where_it_is_asked_for_and_never_in_clear_to_another_server(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    with local_server(Reply(FILES["Patient-1"])) as elsewhere:
        server = BulkServer({"Patient-1": FILES["Patient-1"]})
        manifest = {"requiresAccessToken": True, "output": [{"type": "Patient", "url": f"{elsewhere.base}/signed"}]}
        server.fault = lambda received: (
            Reply(msgspec.json.encode(manifest)) if received.method == "GET" and "/jobs/" in received.path else None
        )
        with running(server) as local:
            options = ("--types", "Patient", "--token-file", str(tmp_path / "token"))
            assert fetch(server, tmp_path / "export", *options) == 0
    assert {each.headers["authorization"] for each in local.received} == {"Bearer secret"}
    assert [each.headers.get("authorization") for each in elsewhere.received] == [None]


def test_links_that_have_run_out_are_asked_for_anew(tmp_path: Path) -> None:
    server = BulkServer(FILES, counts=COUNTS)
    expired: list[str] = []

    def expires(received: Received) -> Reply | None:
        if received.path.endswith("/files/1/Observation-1"):
            expired.append(received.path)
            return Reply(outcome("expired"), 410)
        return None

    server.fault = expires
    with running(server):
        assert fetch(server, tmp_path / "export") == 0
    assert held(tmp_path / "export") == WHOLE
    assert (len(expired), server.links, server.jobs) == (1, 2, 1)


def test_a_job_that_the_server_lost_is_begun_again_and_nothing_of_the_first_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = BulkServer(FILES, counts=COUNTS)

    def loses(received: Received) -> Reply | None:
        """In the first job one file came, and then it is gone with its links."""
        if received.path.endswith("/files/1/Observation-1"):
            server.jobs, server.files = 7, {**FILES, "Patient-1": FILES["Patient-1"][:36]}
            return Reply(outcome("not-found"), 404)
        return None

    server.fault = loses
    with running(server):
        assert fetch(server, tmp_path / "export") == 0
    assert "from the beginning" in capsys.readouterr().err
    assert held(tmp_path / "export") == {**WHOLE, "Patient-0001.ndjson": FILES["Patient-1"][:36]}
    assert server.deleted == ["8"]


def test_a_server_that_loses_every_job_is_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = BulkServer(FILES)
    server.fault = lambda received: Reply(outcome("not-found"), 404) if "/jobs/" in received.path else None
    with running(server):
        assert fetch(server, tmp_path / "export") == 3
    assert server.jobs == bulk.MOST_JOBS
    assert f"lost its export {bulk.MOST_JOBS} times" in capsys.readouterr().err


def test_a_job_that_failed_for_good_is_said_and_the_same_command_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = BulkServer(FILES, counts=COUNTS)
    server.fault = lambda received: (
        Reply(outcome("exception", "no disk"), 500) if received.path.endswith("/jobs/1") else None
    )
    with running(server):
        assert fetch(server, tmp_path / "export") == 3
        assert "answered 500: no disk instead of its export" in capsys.readouterr().err
        assert fetch(server, tmp_path / "export") == 0
    assert held(tmp_path / "export") == WHOLE
    assert server.deleted == ["2"]


@pytest.mark.parametrize("seconds", [b'"soon"', b"null", b"0", b"3600.5"])
def test_a_token_is_used_however_long_it_says_to_hold(seconds: bytes, tmp_path: Path) -> None:
    cli.main(["keys", "new", "--into", str(tmp_path / "keys")])
    given = b'{"access_token":"t","expires_in":' + seconds + b"}"
    server = BulkServer(FILES, counts=COUNTS)
    server.fault = lambda received: Reply(given) if received.path == "/fhir/token" else None
    signs = ("--client", "replay", "--key", str(tmp_path / "keys" / "private-key.json"))
    with running(server):
        assert fetch(server, tmp_path / "export", *signs, "--token-url", f"{server.base}/token") == 0


@pytest.mark.parametrize(
    "broken",
    [
        Reply(FILES["Observation-1"][:50], claims=len(FILES["Observation-1"])),
        Reply(b"", 503),
        Reply(instead=b""),
    ],
    ids=["breaks off", "busy", "hangs up"],
)
def test_a_file_that_breaks_off_is_fetched_again_from_its_beginning(broken: Reply, tmp_path: Path) -> None:
    server = BulkServer(FILES, counts=COUNTS)
    tried: list[str] = []

    def breaks(received: Received) -> Reply | None:
        if received.path.endswith("/Observation-1"):
            tried.append(received.path)
            return broken if len(tried) < 3 else None
        return None

    server.fault = breaks
    with running(server):
        assert fetch(server, tmp_path / "export") == 0
    assert held(tmp_path / "export") == WHOLE
    assert len(tried) == 3


def test_a_server_that_is_busy_is_asked_again_after_the_time_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(bulk.time, "sleep", slept.append)
    server = BulkServer(FILES, counts=COUNTS, polls=2, retry_after="120")
    busy = [Reply(outcome("throttled"), 429, {"Retry-After": "7"}), Reply(b"", 503)]
    server.fault = lambda received: busy.pop(0) if busy and received.path.endswith("n") else None
    with running(server):
        assert fetch(server, tmp_path / "export") == 0
    assert slept[:4] == [7.0, 4.0, 120.0, 120.0]


def test_a_server_that_takes_too_long_is_left_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = BulkServer(FILES, counts=COUNTS, polls=1, retry_after="7200")
    with running(server) as local:
        assert fetch(server, tmp_path / "export", "--hours", "1") == 3
        assert "in the time that --hours gives it; the same command goes on" in capsys.readouterr().err
        with pytest.raises(exports.NoExport, match="not finished"):
            exports.find(tmp_path / "export", tmp_path / "plain")
        assert fetch(server, tmp_path / "export", "--hours", "1") == 0
    assert held(tmp_path / "export") == WHOLE
    assert sum("$export" in each.path for each in local.received) == 1


def test_by_default_it_fetches_all_that_replay_reads() -> None:
    assert {"Patient", "Observation", "MedicationRequest", "Medication", "Location"} <= set(default_types())


def test_a_command_that_was_killed_goes_on_with_the_files_that_are_not_there(tmp_path: Path) -> None:
    """SIGKILL in the middle of the second file: the job is the same, and the first file does not come again."""
    stuck = threading.Event()
    server = BulkServer(FILES, counts=COUNTS)

    def sticks(received: Received) -> Reply | None:
        if received.path.endswith("/Observation-1") and not stuck.is_set():
            stuck.set()
            return Reply(FILES["Observation-1"], pause=0.2)
        return None

    server.fault = sticks
    with running(server) as local:
        arguments: list[Any] = ["export", server.base, "--into", str(tmp_path / "export"), *TYPES]
        with subprocess.Popen([sys.executable, "-m", "cds_service.cli", *arguments]) as command:
            assert stuck.wait(60)
            until(lambda: {"Patient-0001.ndjson", exports.UNFINISHED_EXPORT} <= _files(tmp_path / "export"))
            command.send_signal(signal.SIGKILL)
        assert {"Patient-0001.ndjson", exports.UNFINISHED_EXPORT} <= _files(tmp_path / "export")
        assert not (tmp_path / "export" / "Observation-0001.ndjson").exists()
        assert cli.main(arguments) == 0
    assert held(tmp_path / "export") == WHOLE
    paths = [each.path for each in local.received]
    assert sum("$export" in path for path in paths) == 1
    assert sum(path.endswith("Patient-1") for path in paths) == 1
    assert server.deleted == ["1"]


def _files(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}
