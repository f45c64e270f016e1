"""What the suite did on each server, counted and printed at the end of a run, and the option that lets it write."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

WRITES = "KETAMINE_TEST_SANDBOX_ALLOW_WRITE"
_OPTION = "--allow-write"
_COUNTED: dict[str, Counter[str]] = {}
_WHAT = ("patients", "calls", "facts compared", "suggestions accepted", "pages read plainly")


def count(server: str, what: str, number: int = 1) -> None:
    """`what` is one of the columns."""
    assert what in _WHAT
    _COUNTED.setdefault(server, Counter())[what] += number


def may_write(config: pytest.Config) -> bool:
    """Whether a server that is given may be written to; one that the suite started always may."""
    return bool(config.getoption(_OPTION)) or os.environ.get(WRITES) == "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, action="store_true", help=f"tests/sandbox may write to the given server ({WRITES}=1)")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its figures to the process that prints."""
    handed: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if handed is not None:
        handed["sandbox"] = {server: dict(counted) for server, counted in _COUNTED.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for server, counted in getattr(node, "workeroutput", {}).get("sandbox", {}).items():
        _COUNTED.setdefault(server, Counter()).update(counted)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _COUNTED:
        return
    terminalreporter.section("on FHIR servers")
    for server, counted in sorted(_COUNTED.items()):
        said = ", ".join(f"{counted[what]:,} {what}" for what in _WHAT if counted[what])
        terminalreporter.write_line(f"{server}: {said}")
