"""The figures of a run: of each kind of request out of the mixed laps, as JSON or as a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.bodies import Kind

OURS = "ketamine-order-sign"
KEPT = Path(__file__).with_name("last_run.json")
"""The run that docs/performance.md shows."""


@dataclass(frozen=True)
class Lap:
    """What one target did in one round: with one kind of request out of the mixed ones, or with all of them.

    `waited` and `cpu` are seconds of each call; beside another connection nothing tells what one call took of the
    processors, and `cpu` is empty.
    """

    waited: Sequence[float]
    cpu: Sequence[float]
    connections: int

    @property
    def p50(self) -> float:
        return percentile(self.waited, 50)

    @property
    def per_second(self) -> float:
        """Calls, of clients that lose no time between two of them."""
        return self.connections * len(self.waited) / sum(self.waited)


def percentile(seconds: Sequence[float], percent: int) -> float:
    """Nearest rank: a time that was really taken."""
    return sorted(seconds)[-(-len(seconds) * percent // 100) - 1]


Laps = Mapping[str, Sequence[Lap]]
"""By target, one for each round."""


def figures(laps: Sequence[Lap]) -> dict[str, float]:
    """Medians over the rounds; the slowest hundredth and the processor time are of all rounds together."""
    cpu = [second for lap in laps for second in lap.cpu]
    return {
        "p50_ms": 1000 * statistics.median(lap.p50 for lap in laps),
        "p99_ms": 1000 * _p99(laps),
        "per_second": statistics.median(lap.per_second for lap in laps),
    } | ({"cpu_ms": 1000 * statistics.mean(cpu)} if cpu else {})


def ratios(ours: Sequence[Lap], theirs: Sequence[Lap]) -> dict[str, float]:
    """Ours / theirs: p50 round by round with the least and the most of them, p99 of all rounds together."""
    p50 = [mine.p50 / other.p50 for mine, other in zip(ours, theirs, strict=True)]
    return {
        "p50": statistics.median(p50),
        "p50_least": min(p50),
        "p50_most": max(p50),
        "p99": _p99(ours) / _p99(theirs),
    }


def _p99(laps: Sequence[Lap]) -> float:
    return percentile([second for lap in laps for second in lap.waited], 99)


def machine() -> dict[str, Any]:
    """When and on what something was measured."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "load": [round(each, 1) for each in os.getloadavg()],
        "machine": {"processor": processor(), "cpus": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("ketamine-cds", "granian", "flask", "msgspec")},
    }


def compared(laps: Laps) -> dict[str, Any]:
    """Figures of all targets, and how ours stand to those of each other."""
    return {
        "targets": {target: figures(of) for target, of in laps.items()},
        "ratios": {target: ratios(laps[OURS], of) for target, of in laps.items() if target != OURS},
    }


def case(kind: Kind, connections: int, sizes: Sequence[int], answers: Sequence[bytes], laps: Laps) -> dict[str, Any]:
    """One kind of request. `sizes` are the bytes of its bodies, one for each patient, `answers` what they got."""
    cards = [card for answer in answers for card in json.loads(answer)["cards"]]
    return {
        "size": kind.size,
        "order": kind.order,
        "connections": connections,
        "patients": len(sizes),
        "request_bytes": round(statistics.mean(sizes)),
        "answer_bytes": round(statistics.mean(map(len, answers))),
        "cards": len(cards) / len(answers),
        "suggestions": sum(len(card.get("suggestions") or ()) for card in cards) / len(answers),
    } | compared(laps)


def processor() -> str:
    """Its name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    machine, versions = report["machine"], report["versions"]
    lines = [
        f"{machine['cpus']} x {machine['processor']}, {machine['system']}",
        ", ".join(f"{name} {number}" for name, number in versions.items()),
        f"{report['workers']} workers each; {report['rounds']} rounds of {report['requests']} requests of each kind "
        f"on each connection, the {report['bodies']} bodies mixed",
        "Ratios are ours / theirs: p50 of the same round, with the least and the most; p99 of all rounds.",
    ]
    for each in report["cases"]:
        head = (
            f"{each['size']} charts of {each['patients']} patients, {each['order']}, {_connections(each)} "
            f"({each['request_bytes']:,} bytes in, {each['answer_bytes']:,} out; "
            f"{each['cards']:g} cards, {each['suggestions']:g} suggestions)"
        )
        lines += ["", *_compared_lines(head, each)]
    for each in report["mix"]:
        lines += ["", *_compared_lines(f"all of them, {_connections(each)}", each)]
    lines += ["", "Memory of each worker after that, MB:"]
    for name, workers in report["memory_mb_per_worker"].items():
        shown = "; ".join(f"RSS {each['Rss']:.0f}, PSS {each['Pss']:.0f}" for each in workers)
        lines.append(f"  {name:<25}{shown or 'not known on this system'}")
    return "\n".join(lines)


def _connections(each: Mapping[str, Any]) -> str:
    return "one connection" if each["connections"] == 1 else f"{each['connections']} connections"


def _compared_lines(head: str, each: Mapping[str, Any]) -> list[str]:
    names = "".join(f"{name:>8}" for name in ("p50 ms", "p99 ms", "req/s", "CPU ms"))
    lines = [head, f"  {'':<25}{names}   {'p50 ratio':<19}p99 ratio"]
    for target, of in each["targets"].items():
        timed = f"{of['p50_ms']:>8.2f}{of['p99_ms']:>8.2f}{of['per_second']:>8.0f}"
        cpu = f"{of['cpu_ms']:>8.2f}" if "cpu_ms" in of else f"{'':>8}"
        lines.append(f"  {target:<25}{timed}{cpu}   {_shown(each['ratios'].get(target))}".rstrip())
    return lines


def _shown(ratio: Mapping[str, float] | None) -> str:
    if ratio is None:
        return ""
    p50 = f"{ratio['p50']:.2f} ({ratio['p50_least']:.2f}-{ratio['p50_most']:.2f})"
    return f"{p50:<19}{ratio['p99']:.2f}"
