"""What ketamine-cds export does where a server refuses, gives too little, or too much."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service import cli
from cds_service.retrospect import bulk
from tests.retrospect.bulk_server import BulkServer, outcome
from tests.retrospect.exported import COUNTS, FILES, fetch, held, running
from tests.servers.local import Reply

pytestmark = pytest.mark.usefixtures("quick")


def test_more_than_is_allowed_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = BulkServer(FILES, counts=COUNTS)
    with running(server):
        assert fetch(server, tmp_path / "export", "--gigabytes", "1e-7") == 3
    assert "more than --gigabytes allows" in capsys.readouterr().err


def test_what_did_not_come_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer lines than the server names, a type without a file, and what it could not export; no words of it."""
    errors = [outcome("processing", "Erika Mustermann"), outcome("processing"), outcome("security"), b"{"]
    server = BulkServer({"Observation-1": FILES["Observation-1"]}, counts={"Observation-1": 9}, errors=errors)
    with running(server):
        assert fetch(server, tmp_path / "export") == 1
    said = capsys.readouterr()
    assert "Observation-0001.ndjson has 5 lines, and the server says 9" in said.out
    assert "no file came for Patient" in said.out
    assert "could not export everything: 1 not readable, 2 processing, 1 security" in said.out
    assert "Mustermann" not in said.out + said.err + (tmp_path / "export" / bulk.DONE).read_text()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Reply(outcome("not-supported", "_type is not known"), 400), "answered 400: _type is not known"),
        (Reply(b"", 200), "did not begin an export, but answered 200"),
        (Reply(b"<html>", 404, {"Content-Type": "text/html"}), "answered 404"),
    ],
)
def test_a_server_that_does_not_begin_is_quoted(
    fault: Reply, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = BulkServer(FILES, fault=lambda received: fault)
    with running(server):
        assert fetch(server, tmp_path / "export") == 3
    assert says in capsys.readouterr().err


def test_what_belongs_to_no_patient_is_left_where_the_server_refuses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = BulkServer({"Patient-1": FILES["Patient-1"]})
    server.fault = lambda received: (
        Reply(outcome("invalid"), 400) if "$export" in received.path and "Location" in received.path else None
    )
    with running(server):
        assert fetch(server, tmp_path / "export", "--types", "Patient,Location") == 1
        assert fetch(server, tmp_path / "system", "--system", "--types", "Patient,Location") == 3
    assert server.asked["_type"] == ["Patient"]
    assert "no file came for Location" in capsys.readouterr().out


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b'{"output":{}}', b'{"output":[{"type":"../x","url":"a"}]}', b'{"output":[{"type":"Patient"}]}'],
)
def test_a_manifest_that_is_none_writes_nothing(manifest: bytes, tmp_path: Path) -> None:
    server = BulkServer(FILES)
    server.fault = lambda received: Reply(manifest) if "/jobs/" in received.path else None
    with running(server):
        assert fetch(server, tmp_path / "export") == 3
    assert held(tmp_path / "export") == {}


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = BulkServer(FILES, counts=COUNTS)
    with running(server):
        assert fetch(server, tmp_path / "export") == 0
        assert fetch(server, tmp_path / "export") == 3
        assert "is not empty" in capsys.readouterr().err
        server.polls, server.retry_after = 1, "999999"
        assert fetch(server, tmp_path / "other") == 3
        assert fetch(server, tmp_path / "other", "--group", "g") == 3
    assert "unfinished export of something else" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--key", "k"], "--key and --client go together"),
        (["--types", "Patient,Claim"], "replay reads no Claim"),
        (["--group", "../x"], "not the id of a Group"),
        (["--hours", "0"], "more than nothing"),
        (["--hours", "nan"], "more than nothing"),
        (["--gigabytes", "inf"], "and an end"),
        (["--since", "spring"], "--since spring: not a date and time"),
        (["--scope", "system/*.read"], "go with --key"),
        (["--key", "k", "--client", "c", "--token-file", "t"], "one at a time"),
        (["--token-file", "/nowhere"], "/nowhere: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_one_line(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", "http://127.0.0.1:9/fhir", "--into", str(tmp_path / "x"), *options]) == 3
    error = capsys.readouterr().err.strip()
    assert says in error
    assert len(error.splitlines()) == 1
