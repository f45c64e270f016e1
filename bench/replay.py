"""What a replay costs, and by which law that grows: `make replay`, or python -m bench.replay [--short].

Exports of synthetic data at several sizes, each replayed by the command as anybody would run it. Time is that of a
processor, of the command and all its workers: another program beside it makes a replay wait, and hardly dearer. Two
tables: exports of which one order in a hundred is judged, and exports of judged orders alone by two policies and by
three. Between two sizes stands the exponent of the growth: 1 is in proportion.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from cds_service.retrospect import results, synthetic

ORDERS = (10_000, 50_000, 250_000)
"""Of exports of which one in a hundred is judged."""
JUDGED = (300, 1_200, 4_800)
"""Of exports of judged orders alone."""
SHORT = ((500, 1_000, 2_000), (20,))
BYTES_OF_AN_ORDER = 14_000
"""On disk, with the observations beside it: a little more than synthetic data has."""
_OVERLAY = """\
site: Benchmark
limits:
  - {{limit: rate-warn, value: {}, owner: Benchmark, date: 2026-01-01, reason: a policy to be measured}}
"""
_VALUES = ("0.4", "0.6")
"""Of the limit that a second and a third policy change."""
_STAGES = {"selecting": "read", "gathering": "read", "judging": "judge", "writing": "report"}
_LOADING = "load"
_LOOK = 0.2
"""Seconds between two looks at the memory."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """One replay. Seconds of processors by stage, and by the clock; memory in MB, of all its processes together."""

    orders: int
    judged: int
    policies: int
    gigabytes: float
    took: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    memory: float = 0.0

    @property
    def processor(self) -> float:
        return sum(self.seconds.values())

    @property
    def beside_loading(self) -> float:
        return self.processor - self.seconds.get(_LOADING, 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _given(arguments)
    with TemporaryDirectory(prefix="bench-replay-") as scratch:
        folder = Path(given.exports or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if (lacking := _lacking(folder, given)) > 0:
            print(f"{folder}: the disk is {lacking:.0f} GB too small for these sizes", file=sys.stderr)
            return 1
        for title, share, sizes, policies in (
            ("One order in a hundred is judged", None, given.orders, [2]),
            ("Judged orders alone", 1.0, given.judged, [2, 3]),
        ):
            if sizes:
                print(f"\n{title}, --workers {given.workers}\n\n{_HEAD}", flush=True)
                _table(sizes, share, policies, folder, Path(scratch), given.workers)
    return 0


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--orders", type=int, nargs="*", metavar="N", help=f"sizes of the first table ({_listed(ORDERS)})")
    add("--judged", type=int, nargs="*", metavar="N", help=f"sizes of the second table ({_listed(JUDGED)})")
    add("--workers", type=int, default=1, help="of each replay (1: each more loads the policies once more)")
    add("--exports", metavar="DIR", help="keep the exports there, and take those that are there already")
    add("--short", action="store_true", help="sizes so small that little more than loading is measured")
    given = parser.parse_args(arguments)
    orders, judged = SHORT if given.short else (ORDERS, JUDGED)
    given.orders = sorted(orders if given.orders is None else given.orders)
    given.judged = sorted(judged if given.judged is None else given.judged)
    return given


def _lacking(folder: Path, given: argparse.Namespace) -> float:
    """GB that the disk should have beside what is free: exports are kept, or deleted when they were replayed."""
    sizes = [
        size for name in ("orders", "judged") for size in getattr(given, name) if not _of(folder, size, name).exists()
    ]
    needed = sum(sizes) if given.exports else max(sizes, default=0)
    return (needed * BYTES_OF_AN_ORDER * 1.2 - shutil.disk_usage(folder).free) / 1e9


def _listed(sizes: Sequence[int]) -> str:
    return " ".join(map(str, sizes))


# One replay -------------------------------------------------------------------------------------------------------


def _of(folder: Path, orders: int, kind: str) -> Path:
    return folder / f"{orders}-{kind}"


def exported(folder: Path, orders: int, share: float | None) -> Path:
    """The export of so many orders, written unless it is there. It is whole or not there."""
    export = _of(folder, orders, "orders" if share is None else "judged")
    if not export.exists():
        made = export.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        synthetic.write(made, orders, share=share)
        made.rename(export)
    return export


def replayed(export: Path, orders: int, policies: int, workers: int, scratch: Path) -> Cost:
    """Run the command on an export and measure it. Raises RuntimeError with what it said where it fails."""
    out = scratch / "report"
    command = [sys.executable, "-m", "cds_service.cli", "replay", str(export), "--out", str(out)]
    for number, value in enumerate(_VALUES[: policies - 1]):
        overlay = scratch / f"{number}.yaml"
        overlay.write_text(_OVERLAY.format(value), "utf-8")
        command += ["--overlay", str(overlay)]
    size = sum(each.stat().st_size for each in export.iterdir()) / 1e9
    cost = Cost(orders, 0, policies, size)
    _measure([*command, "--workers", str(workers)], cost)
    cost.judged = results.opened(out).summary.judged
    shutil.rmtree(out)
    return cost


def _measure(command: Sequence[str], cost: Cost) -> None:
    began, before = time.monotonic(), _children()
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
        watching = threading.Thread(target=_watch, args=(run, cost), daemon=True)
        watching.start()
        assert run.stderr is not None
        stage, so_far, said = _LOADING, 0.0, []
        for line in run.stderr:
            said.append(line)
            begins = _STAGES.get(line.split()[0], stage) if line.strip() else stage
            if begins != stage:
                now = _used(run.pid)
                cost.seconds[stage] = cost.seconds.get(stage, 0.0) + now - so_far
                stage, so_far = begins, now
        run.wait()
        watching.join()
    if run.returncode:
        raise RuntimeError("".join(said[-5:]))
    cost.took = time.monotonic() - began
    cost.seconds[stage] = cost.seconds.get(stage, 0.0) + _children() - before - so_far


def _children() -> float:
    """Seconds of processors that ended children of this process took, with theirs."""
    used = os.times()
    return used.children_user + used.children_system


def _tree(pid: int) -> Iterator[int]:
    """A process and all that it started, as far as they run."""
    yield pid
    try:
        text = "".join(each.read_text("ascii") for each in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return
    for child in text.split():
        yield from _tree(int(child))


def _used(pid: int) -> float:
    """Seconds of processors that a process and all that it started took, those that ended included."""
    ticks = 0
    for each in _tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text("ascii").rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def _watch(run: subprocess.Popen[str], cost: Cost) -> None:
    """The most that all processes held at once; what they share is counted once."""
    while run.poll() is None:
        cost.memory = max(cost.memory, sum(map(_held, _tree(run.pid))))
        time.sleep(_LOOK)


def _held(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in text.splitlines() if line.startswith("Pss:")), 0.0)


# As tables --------------------------------------------------------------------------------------------------------

_HEAD = """\
| orders | judged | policies | NDJSON GB | loading s | reading s | judging s | report s | processor s | memory MB | by the clock s |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""  # noqa: E501


def _table(
    sizes: Sequence[int], share: float | None, policies: Sequence[int], folder: Path, scratch: Path, workers: int
) -> None:
    costs: list[Cost] = []
    for orders in sizes:
        export = exported(folder, orders, share)
        for count in policies:
            costs.append(replayed(export, orders, count, workers, scratch))
            print(_row(costs[-1]), flush=True)
        if export.parent == scratch:
            shutil.rmtree(export)
    print()
    for count in policies:
        for line in grown([each for each in costs if each.policies == count]):
            print(line)
    for line in added(costs):
        print(line)


def _row(cost: Cost) -> str:
    stages = [f"{cost.seconds.get(stage, 0.0):.1f}" for stage in (_LOADING, "read", "judge", "report")]
    cells = [f"{cost.orders:,}", f"{cost.judged:,}", str(cost.policies), f"{cost.gigabytes:.2f}", *stages]
    cells += [f"{cost.processor:.1f}", f"{cost.memory:.0f}", f"{cost.took:.0f}"]
    return f"| {' | '.join(cells)} |"


def exponent(smaller: Cost, larger: Cost) -> float:
    """By which power of the orders the processor time grows, beside what loading takes."""
    return math.log(larger.beside_loading / smaller.beside_loading) / math.log(larger.orders / smaller.orders)


def grown(costs: Sequence[Cost]) -> Iterator[str]:
    """A sentence for each step from one size to the next, and what an order costs at the last."""
    for smaller, larger in itertools.pairwise(costs):
        yield (
            f"{smaller.policies} policies, {smaller.orders:,} to {larger.orders:,} orders: "
            f"processor time beside loading grows with the power {exponent(smaller, larger):.2f}"
        )
    if costs:
        last = costs[-1]
        each = f"{1000 * last.beside_loading / last.orders:.2f} ms an order"
        judged = f"{1000 * last.beside_loading / max(last.judged, 1):.1f} ms a judged one"
        yield f"{last.policies} policies, {last.orders:,} orders: {each}, {judged}, beside loading"


def added(costs: Sequence[Cost]) -> Iterator[str]:
    """What a third policy costs beside two, at each size."""
    of = {(each.orders, each.policies): each for each in costs}
    for (orders, policies), three in of.items():
        if policies == 3 and (two := of.get((orders, 2))) is not None:
            all_of_it = 100 * (three.processor / two.processor - 1)
            more = 100 * (three.beside_loading / two.beside_loading - 1)
            yield f"{orders:,} orders: a third policy adds {all_of_it:.0f} %, beside loading {more:.0f} %"


if __name__ == "__main__":
    sys.exit(main())
