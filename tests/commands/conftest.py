"""The command line as a user calls it, on a machine without settings of its own."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from cds_service import cli
from cds_service.commands import check
from tests.commands.called import loaded_once

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of this machine."""
    for name in [name for name in os.environ if name.startswith("KETAMINE_CDS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def apart(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same protocol is loaded once for all tests."""
    monkeypatch.setattr(check, "load", loaded_once)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """(status, output, errors) of a command."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run_command
