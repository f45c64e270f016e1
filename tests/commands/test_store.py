"""The command store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from cds_service.cli import BAD_INPUT, main
from cds_service.store.migrate import HEAD
from cds_service.store.store import Store
from tests.servers.ports import unused_port
from tests.servers.postgres import Postgres, postgres
from tests.store.build import feedback, invocation

__all__ = ["postgres"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["default", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store that the settings name."""
    monkeypatch.setenv("KETAMINE_CDS_STATE_DIR", str(tmp_path))
    if request.param == "default":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'other' / 'audit.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.database()
    monkeypatch.setenv("KETAMINE_CDS_STORE", url)
    return url


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main([str(argument) for argument in ("store", *arguments)])
        return status, *capfd.readouterr()

    return command


def _filled(url: str) -> None:
    """One call with its feedback of each of the last three years."""
    store = Store(url)
    for years in range(3):
        at = datetime.now(UTC) - timedelta(days=365 * years + 1)
        record = invocation(str(uuid4()), at=at)
        store.write([record])
        store.add_feedback([feedback(record.cards[0].uuid, received_at=at)])
    store.close()


def test_migrate_says_what_it_did(url: str, run: Run) -> None:
    status, output, errors = run("migrate")
    assert (status, errors) == (0, "")
    assert output.endswith(f": at {HEAD}, before it was at nothing\n")
    assert run("migrate")[1].endswith(f": at {HEAD}, before it was at {HEAD}\n")


def test_export_prints_every_record_as_a_line_of_json(url: str, run: Run) -> None:
    _filled(url)
    status, output, _ = run("export")
    records = [json.loads(line) for line in output.splitlines()]
    assert status == 0
    assert [record["record"] for record in records] == ["invocation"] * 3 + ["feedback"] * 3
    assert [record["at"] for record in records[:3]] == sorted(record["at"] for record in records[:3])
    assert records[0]["findings"][0]["rule"] == "rate-exceeds-protocol-max"
    since = (datetime.now(UTC) - timedelta(days=100)).isoformat()
    assert len(run("export", "--since", since)[1].splitlines()) == 2


def test_prune_keeps_what_the_settings_say(url: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _filled(url)
    monkeypatch.setenv("KETAMINE_CDS_RETENTION_DAYS", "500")
    assert run("prune")[1] == "deleted what is older than 500 days: 1 invocations, 1 feedback entries\n"
    assert (
        run("prune", "--days", 100)[1] == "deleted what is older than 100 days: 1 invocations, 1 feedback entries\n"
    )
    assert len(run("export")[1].splitlines()) == 2


def test_an_empty_store_is_exported_as_nothing(url: str, run: Run) -> None:
    assert run("export")[:2] == (0, "")


@pytest.mark.parametrize(
    ("variables", "arguments", "says"),
    [
        ({"STORE": "off"}, ["migrate"], "the store is off"),
        ({"STORE": "mysql://u:s3cret@x/y"}, ["migrate"], "expected is off, or a URL"),
        ({"STORE": "postgresql://u:s3cret@127.0.0.1:port/y"}, ["migrate"], "its URL cannot be read"),
        ({"STORE": f"postgresql://u:s3cret@127.0.0.1:{unused_port()}/y"}, ["prune"], "cannot be used"),
        ({}, ["prune", "--days", "-1"], "expected is a number from 0"),
        ({}, ["prune", "--days", "99999999999999"], "expected is a number from 0"),
        ({}, ["export", "--since", "yesterday"], "not a date"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_without_a_password(
    variables: dict[str, str],
    arguments: list[str],
    says: str,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KETAMINE_CDS_STATE_DIR", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(f"KETAMINE_CDS_{name}", value)
    status, output, errors = run(*arguments)
    assert (status, output) == (BAD_INPUT, "")
    assert says in errors
    assert len(errors.splitlines()) == 1
    assert "s3cret" not in errors


def test_a_folder_that_cannot_be_made_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KETAMINE_CDS_STATE_DIR", str(tmp_path / "file"))
    status, _, errors = run("migrate")
    assert status == BAD_INPUT
    assert "file" in errors
