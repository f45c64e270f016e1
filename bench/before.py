"""What a call costs beside another commit of this repository: python -m bench.before COMMIT|FOLDER [--keep].

Both run in process, by the same interpreter and packages, and get the same bodies of `make bench`, mixed: in each of
several pairs of processes the two take their laps in turn. Of each body the quicker quarter of its calls counts, so
what neighbours take of the machine counts little; a ratio is the median one of the pairs.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

import msgspec

from bench import bodies, report
from bench.bodies import Measured
from bench.elsewhere import ROOT, Costs, checkout
from bench.report import percentile

KEPT = Path(__file__).with_name("last_run_before.json")
"""The run that docs/performance.md shows."""


class Cost(msgspec.Struct, frozen=True):
    """Of one kind of request, in each pair of processes: milliseconds of a processor for one call."""

    size: str
    order: str
    before_ms: list[float]
    now_ms: list[float]

    @property
    def ratio(self) -> float:
        return median(now / before for now, before in zip(self.now_ms, self.before_ms, strict=True))


class Run(msgspec.Struct, frozen=True):
    date: str
    load: float
    """Of the machine, when it ended."""
    machine: str
    commit: str
    rules: dict[str, int]
    """Of "before" and "now"."""
    laps: int
    costs: list[Cost]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.before", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("commit", help="a commit of this repository, or a folder that has one checked out")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of processes, one after the other (5)")
    parser.add_argument("--laps", type=int, default=20, help="over all bodies, in each process (20)")
    parser.add_argument("--keep", action="store_true", help="write it for docs/performance.md")
    given = parser.parse_args(arguments)
    try:
        with checkout(given.commit) as folder:
            run = _measured(given.commit, folder, given.pairs, given.laps)
    except subprocess.CalledProcessError:
        print(f"{given.commit} is neither a folder nor a commit of this repository", file=sys.stderr)
        return 2
    if given.keep:
        KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
    print("\n".join(lines(run)))
    return 0


def lines(run: Run) -> Iterator[str]:
    """As a table."""
    pairs = len(run.costs[0].now_ms)
    yield f"{run.date}, {run.machine}, load {run.load}; {pairs} pairs of processes with {run.laps} laps each"
    yield ""
    yield f"| chart | order | {run.commit} ms | now ms | now / {run.commit} |"
    yield "|---|---|---:|---:|---:|"
    for each in run.costs:
        yield (
            f"| {each.size} | {each.order} | {median(each.before_ms):.2f} | {median(each.now_ms):.2f} "
            f"| {each.ratio:.2f} |"
        )


def _measured(commit: str, folder: Path, pairs: int, laps: int) -> Run:
    now = datetime.now(UTC)
    measured = bodies.measured(now)
    found: dict[str, list[list[float]]] = {"before": [], "now": []}
    for pair in range(pairs):
        print(f"pair {pair + 1} of {pairs}", file=sys.stderr)
        with _costs(folder, measured, now) as before, _costs(ROOT, measured, now) as ours:
            rules = {"before": before.rules, "now": ours.rules}
            taken = _in_turn({"before": before, "now": ours}, len(measured), laps, pair)
        for who, of in taken.items():
            found[who].append([percentile(seconds, 25) for seconds in of])
    kinds = {kind: [measured.index(each) for each in of] for kind, of in bodies.by_kind(measured).items()}

    def of_kind(who: str, numbers: Sequence[int]) -> list[float]:
        return [round(1000 * mean(each[number] for number in numbers), 4) for each in found[who]]

    about: dict[str, Any] = report.machine()
    return Run(
        about["date"],
        about["load"][0],
        f"{about['machine']['cpus']} x {about['machine']['processor']}",
        Path(commit).name,
        rules,
        laps,
        [Cost(kind.size, kind.order, of_kind("before", of), of_kind("now", of)) for kind, of in kinds.items()],
    )


def _costs(folder: Path, measured: Sequence[Measured], now: datetime) -> Costs:
    return Costs(folder, [each.body for each in measured], now)


def _in_turn(processes: dict[str, Costs], bodies: int, laps: int, seed: int) -> dict[str, list[list[float]]]:
    """Who -> for each body the seconds of all its calls. All get the bodies in the same order, new in each lap."""
    dice = random.Random(seed)
    taken: dict[str, list[list[float]]] = {who: [[] for _ in range(bodies)] for who in processes}
    for lap in range(laps + 1):
        order = dice.sample(range(bodies), bodies)
        turns = list(processes.items())
        for who, process in turns if lap % 2 else reversed(turns):
            for number, seconds in zip(order, process.lap(order), strict=True):
                if lap:  # the first does not count
                    taken[who][number].append(seconds)
    return taken


if __name__ == "__main__":
    sys.exit(main())
