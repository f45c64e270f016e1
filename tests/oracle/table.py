"""The oracle's table: rules by engines by cases, with the differences of each kind. `make oracle` writes it as JSON,
docs/cql.md shows it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.oracle import apply
from tests.oracle.compare import Comparison

FILE = Path(__file__).with_name("last_run.json")


class OfEngine(msgspec.Struct, frozen=True):
    """What came out for one engine; `explained` by rule or feed, then by kind."""

    verdicts: dict[str, int]
    """Rule -> how many."""
    explained: dict[str, dict[str, int]]
    fed: dict[str, int]
    """Feed -> how many verdicts."""
    explained_of_feed: dict[str, dict[str, int]]
    unexplained: int


class Applied(msgspec.Struct, frozen=True):
    """What came out where the plan was applied."""

    cases: int
    verdicts: int
    fired: int
    """On both sides, by the same tier."""
    refused: int
    explained: int
    unexplained: int
    untold: int | None = None
    """On both sides; None of a run that could not tell it from what is clear."""


class Run(msgspec.Struct, frozen=True):
    date: str
    commit: str
    seconds: int
    asked: int
    """Cases that an engine was asked; of all others the answers were kept from a run before."""
    cases: dict[str, int]
    """Feed -> how many."""
    engines: dict[str, OfEngine]
    applied: Applied | None = None


def run_of(
    found: Mapping[str, Comparison], applied: apply.Applied | None, cases: Mapping[str, int], seconds: float
) -> Run:
    return Run(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=_commit(),
        seconds=round(seconds),
        asked=max(each.asked for each in found.values()),
        cases=dict(cases),
        engines={engine: _of_engine(each) for engine, each in found.items()},
        applied=_applied(applied) if applied is not None else None,
    )


def _applied(made: apply.Applied) -> Applied:
    return Applied(
        made.cases,
        made.verdicts,
        made.fired,
        made.refused,
        made.explained,
        unexplained=len(made.unexplained),
        untold=made.untold,
    )


def write(run: Run) -> None:
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")


def read() -> Run:
    return msgspec.json.decode(FILE.read_bytes(), type=Run)


def lines(run: Run, kinds: Sequence[str]) -> list[str]:
    """For people, as Markdown: what each feed and each rule came to. A cell has one figure if the engines agree."""
    engines = run.engines.values()
    told = [each for each in kinds if any(each in by for one in engines for by in one.explained.values())]
    columns, rule = " | ".join(told), "---:|" * len(told)
    feeds = [
        f"| {feed} | {count:,} | {_cell(run, 'fed', feed)} | {_kinds(run, 'explained_of_feed', feed, told)} |"
        for feed, count in run.cases.items()
        if count
    ]
    names = dict.fromkeys(name for one in engines for name in one.verdicts)
    rules = [
        f"| `{name}` | {_cell(run, 'verdicts', name)} | {_kinds(run, 'explained', name, told)} |" for name in names
    ]
    left = ", ".join(f"{one.unexplained} ({engine})" for engine, one in run.engines.items())
    return [
        f"Of two figures in a cell the first is of {', the second of '.join(run.engines)}.",
        "",
        f"| cases of | cases | verdicts | {columns} |",
        f"|---|---:|---:|{rule}",
        *feeds,
        "",
        f"| rule | verdicts | {columns} |",
        f"|---|---:|{rule}",
        *rules,
        "",
        f"Differences that nothing explains: {left}.",
    ]


def _of_engine(found: Comparison) -> OfEngine:
    return OfEngine(
        verdicts=dict(found.verdicts),
        explained=_nested(found.explained),
        fed=dict(found.fed),
        explained_of_feed=_nested(found.explained_of_feed),
        unexplained=len(found.unexplained),
    )


def _nested(counted: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    made: dict[str, dict[str, int]] = {}
    for (name, kind), count in counted.items():
        made.setdefault(name, {})[kind] = count
    return made


def _kinds(run: Run, table: str, name: str, kinds: Sequence[str]) -> str:
    each = [[getattr(one, table).get(name, {}).get(kind, 0) for one in run.engines.values()] for kind in kinds]
    return " | ".join(_figures(counts) for counts in each)


def _cell(run: Run, table: str, name: str) -> str:
    return _figures([getattr(one, table).get(name, 0) for one in run.engines.values()])


def _figures(counts: Sequence[int]) -> str:
    shown = [f"{each:,}" if each else "" for each in counts]
    return shown[0] if len(set(counts)) == 1 else " / ".join(each or "0" for each in shown)


def _commit() -> str:
    """The one that is checked out; `+` where files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=FILE.parent, capture_output=True, text=True, check=True).stdout

    return git("rev-parse", "--short", "HEAD").strip() + ("+" if git("status", "--porcelain", ":/").strip() else "")
