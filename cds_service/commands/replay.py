"""The commands replay and synthetic: past orders under one policy or several, and data to try it with."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from cds_service.commands.given import moment
from cds_service.commands.refused import Refused
from cds_service.retrospect import gate, spark
from cds_service.retrospect.engines import package
from cds_service.retrospect.judging import Policy
from cds_service.retrospect.plan import Plan, Stopped
from cds_service.retrospect.policies import Codes, load_all, named
from cds_service.retrospect.runs import finish, run
from cds_service.retrospect.tables import BY
from cds_service.settings import load as load_settings

_TAGGED_WITHIN = 1000
"""Bytes of a resource."""


def replay(given: argparse.Namespace) -> int:
    """Judge past orders and write the report. Returns 1 where a `--fail-if` holds, else 0."""
    for name in ("duckdb", "pyarrow"):
        package(name)
    if given.engine == "spark":
        spark.check()
    elif given.master is not None:
        raise Refused("--master goes with --engine spark")
    gates = [gate.read(text) for text in given.fail_if or ()]
    by, plan = _by(given.by), _plan(given)
    policies = load_all(plan.policies, plan.codes)  # what is wrong with an overlay is said before anything is read
    shown = _Progress()
    try:
        measured = _report(plan, policies, by, shown)
    except OSError as error:
        raise Refused(f"{error.filename or plan.out}: {error.strerror}") from None
    except KeyboardInterrupt:
        raise Stopped("stopped; the same command goes on with what is not finished") from None
    finally:
        shown.end()
    print(f"{Path(plan.out) / 'index.html'}")
    failed = [each for each in gates if each.holds(measured)]
    for each in failed:
        print(f"fails: {each} (it is {measured[each.measure]:.1f})")
    return 1 if failed else 0


def _report(plan: Plan, policies: list[Policy], by: list[str], shown: _Progress) -> dict[str, Decimal]:
    from cds_service.retrospect import report

    state = run(plan, policies, shown)
    assert state.found is not None
    shown("writing the report", 0, 1)
    measured = report.write(plan, state.found, state.notes, policies, by)
    finish(plan)
    return measured


def synthetic(given: argparse.Namespace) -> int:
    """Write synthetic data."""
    from cds_service.retrospect.synthetic import write

    if given.orders < 1:
        raise Refused(f"--orders {given.orders}: at least one order is needed")
    try:
        for file in sorted(Path(given.folder).glob("*.ndjson*")):
            if not _is_made_up(file):
                raise Refused(f"{file} holds what is not made up; choose another folder")
        counts = write(Path(given.folder), given.orders, given.seed)
    except OSError as error:
        raise Refused(f"{given.folder}: {error.strerror}") from error
    print(", ".join(f"{count} {kind}" for kind, count in counts.items() if count))
    return 0


def _is_made_up(file: Path) -> bool:
    """Whether its first resource is tagged as test data, as ours are, or there is none."""
    with file.open("rb") as opened:
        first = opened.readline(_TAGGED_WITHIN)
    return not first or b'"HTEST"' in first


def _plan(given: argparse.Namespace) -> Plan:
    settings = load_settings()
    if given.workers < 1:
        raise Refused(f"--workers {given.workers}: at least one is needed")
    protocols = tuple(str(Path(each).resolve()) for each in settings.protocols)
    return Plan(
        source=given.source,
        out=given.out,
        policies=named(given.against or settings.overlay, given.overlay or []),
        codes=Codes(settings.base_url, settings.valuesets, protocols),
        as_of=given.as_of,
        now=datetime.now(UTC) if given.now is None else moment(given.now),
        workers=given.workers,
        engine=given.engine,
        master=given.master,
        since=_day(given.since, "--since"),
        until=_day(given.until, "--until"),
        key_file=settings.store_key_file,
    )


def _day(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(f"{option} {text}: not a date or a date and time in ISO 8601") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _by(text: str) -> list[str]:
    wanted = [each.strip() for each in text.split(",") if each.strip()]
    for each in wanted:
        if each not in BY:
            raise Refused(f"--by {each}: it can be {', '.join(BY)}")
    return list(dict.fromkeys(wanted))


class _Progress:
    """How far it is, on standard error: one line that is written over, or one for each tenth where nobody watches."""

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._said = ""
        self._began = time.monotonic()

    def __call__(self, stage: str, done: int, of: int) -> None:
        tenths = 10 * done // max(of, 1)
        said = f"{stage} {10 * tenths} %" if of > 1 else stage
        if self._watched:
            bar = "#" * (2 * tenths) + "." * (20 - 2 * tenths)
            print(
                f"\r{stage:32.32} [{bar}] {time.monotonic() - self._began:.0f} s ",
                end="",
                file=sys.stderr,
                flush=True,
            )
        elif said != self._said:
            print(said, file=sys.stderr, flush=True)
        self._said = said

    def end(self) -> None:
        if self._watched:
            print(file=sys.stderr)
