"""Every command that a page shows in a code block runs as it is written, page by page, in an empty folder."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from cds_service import cli
from cds_service.commands import serve
from tests.docs.pages import ROOT, shown
from tests.web.test_server import Running, started

NOT_RUN = {
    "simulate --service https://cds.example.org": "calls the reader's own service",
    "simulate --fhir http://127.0.0.1:8080/fhir": "asks the reader's own FHIR server",
    "doctor --client example-hospital": "asks the reader's own EHR, with the reader's token",
    "export https://ehr.example/fhir": "asks the reader's own FHIR server, with the reader's key",
}
"""The beginnings of commands that are only parsed, and why."""
WELL = {0, 1, 2}
"""Exit codes of a command that could be done: findings have codes of their own, 3 is one that was called wrongly."""
BY_PAGE = {page: list(commands) for page, commands in groupby(shown(), key=lambda each: each.page)}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("service"), None, KETAMINE_CDS_SANDBOX="loopback") as running:
        running.wait_for("Listening on ")
        yield running


@pytest.fixture
def folder(tmp_path: Path, service: Running, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the examples, in which commands find the running service."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    entry = {"id": "a", "issuers": ["https://a.example"], "jku": ["https://a.example/jwks"]}
    (tmp_path / "clients.yaml").write_text(json.dumps({"clients": [entry]}), "utf-8")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KETAMINE_CDS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KETAMINE_CDS_PORT", service.base.rpartition(":")[2])
    # All that comes before listening is done; another test starts the real thing.
    monkeypatch.setattr(serve, "run", lambda *_: None)
    monkeypatch.setattr(serve, "_claim", lambda _: None)
    monkeypatch.setattr(serve, "_await", lambda *_: None)
    monkeypatch.setattr(serve.logs, "to_stderr", lambda *_: None)
    monkeypatch.setattr(os, "_exit", sys.exit)
    return tmp_path


def test_the_pages_show_commands() -> None:
    assert {"README.md", "docs/start.md", "docs/trying.md", "docs/connect/index.md"} <= set(BY_PAGE)
    beginnings = [each.line.removeprefix("ketamine-cds ") for each in shown()]
    assert [beginning for beginning in NOT_RUN if not any(line.startswith(beginning) for line in beginnings)] == []


@pytest.mark.parametrize("page", BY_PAGE)
def test_the_commands_of_a_page_run_one_after_the_other(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in BY_PAGE[page]:
        program, *arguments = shlex.split(command.line)
        if program == "make":
            subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)
            continue
        cli.parser().parse_args(arguments)
        if any(shlex.join(arguments).startswith(beginning) for beginning in NOT_RUN):
            continue
        with monkeypatch.context() as setting:
            for name, value in command.settings.items():
                setting.setenv(name, value.replace("/etc/ketamine-cds/", ""))
            ended = _ended(arguments)
        printed = capsys.readouterr()
        assert ended in WELL, f"{command}: {printed.err}"
        if arguments[:2] == ["keys", "new"]:  # the entry that it prints is what the pages tell to keep
            _keep_entry(folder / "clients.yaml", printed.out)


def _ended(arguments: list[str]) -> object:
    try:
        return cli.main(arguments)
    except SystemExit as end:  # serve ends so
        return end.code


def _keep_entry(file: Path, printed: str) -> None:
    file.write_text(f"clients:\n{printed[printed.index('  - id:') :]}", "utf-8")
