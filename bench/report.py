"""The figures of a run: medians over its rounds, ratios round by round, as JSON or as a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.bodies import Measured
from bench.client import Loop

OURS = "ketamine-order-sign"
KEPT = Path(__file__).with_name("last_run.json")
"""The run that docs/performance.md shows."""
FIGURES = ("p50_ms", "p99_ms", "per_second")


@dataclass(frozen=True)
class Lap:
    """One request, many times, on one target. `cpu_ms`: what each took of the server's processors."""

    p50_ms: float
    p99_ms: float
    per_second: float
    cpu_ms: float

    @classmethod
    def of(cls, loops: Sequence[Loop], cpu_seconds: float) -> Lap:
        seconds = sorted(second for loop in loops for second in loop.seconds)
        took = max(loop.ended for loop in loops) - min(loop.began for loop in loops)
        return cls(
            p50_ms=_percentile(seconds, 50) * 1000,
            p99_ms=_percentile(seconds, 99) * 1000,
            per_second=len(seconds) / took,
            cpu_ms=cpu_seconds / len(seconds) * 1000,
        )


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Nearest rank: a time that was really taken."""
    return ordered[-(-len(ordered) * percent // 100) - 1]


@dataclass
class Case:
    """One request at one concurrency; `laps` holds, by target, one lap for each round."""

    request: Measured
    answer: bytes
    concurrency: int
    laps: dict[str, list[Lap]] = field(default_factory=dict)

    def figure(self, target: str, name: str) -> float:
        return statistics.median(float(getattr(lap, name)) for lap in self.laps[target])

    def cpu_ms(self, target: str) -> float:
        """Over all rounds: a clock that ticks every 10 ms says little of one."""
        return statistics.mean(lap.cpu_ms for lap in self.laps[target])

    def ratio(self, target: str, name: str) -> dict[str, float]:
        """Ours / theirs."""
        pairs = zip(self.laps[OURS], self.laps[target], strict=True)
        ratios = [float(getattr(ours, name) / getattr(floor, name)) for ours, floor in pairs]
        return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def made(
    cases: Sequence[Case], origins: dict[str, str], memory: dict[str, Any], workers: int, rounds: int, requests: int
) -> dict[str, Any]:
    """The whole report."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "load": [round(each, 1) for each in os.getloadavg()],
        "machine": {"processor": processor(), "cpus": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("ketamine-cds", "granian", "flask", "msgspec")},
        "workers": workers,
        "rounds": rounds,
        "requests": requests,
        "charts": origins,
        "cases": [_of_case(case) for case in cases],
        "memory_mb_per_worker": memory,
    }


def _of_case(case: Case) -> dict[str, Any]:
    cards = json.loads(case.answer)["cards"]
    return {
        "patient": case.request.patient,
        "order": case.request.order,
        "concurrency": case.concurrency,
        "request_bytes": len(case.request.body),
        "answer_bytes": len(case.answer),
        "cards": len(cards),
        "suggestions": sum(len(card.get("suggestions") or ()) for card in cards),
        "targets": {
            target: {name: case.figure(target, name) for name in FIGURES} | {"cpu_ms": case.cpu_ms(target)}
            for target in case.laps
        },
        "ratios": {
            target: {name: case.ratio(target, name) for name in FIGURES} for target in case.laps if target != OURS
        },
    }


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
        f"{report['workers']} workers each; {report['rounds']} rounds of {report['requests']} requests a connection; "
        + "; ".join(f"{name} patient: {origin}" for name, origin in report["charts"].items()),
        "Medians over the rounds; ratios are ours / theirs of the same round, with their least and most.",
    ]
    for case in report["cases"]:
        lines += ["", *_case_lines(case)]
    lines += ["", "Memory of each worker after that, MB:"]
    for name, workers in report["memory_mb_per_worker"].items():
        shown = "; ".join(f"RSS {each['Rss']:.0f}, PSS {each['Pss']:.0f}" for each in workers)
        lines.append(f"  {name:<25}{shown or 'not known on this system'}")
    return "\n".join(lines)


def _case_lines(case: dict[str, Any]) -> list[str]:
    head = "".join(f"{name:>8}" for name in ("p50 ms", "p99 ms", "req/s", "CPU ms"))
    lines = [
        f"{case['patient']} patient, {case['order']}, concurrency {case['concurrency']} "
        f"({case['request_bytes']:,} bytes in, {case['answer_bytes']:,} out; "
        f"{case['cards']} cards, {case['suggestions']} suggestions)",
        f"  {'':<25}{head}   {'p50 ratio':<19}{'p99 ratio':<19}req/s ratio",
    ]
    for target, figures in case["targets"].items():
        timed = f"{figures['p50_ms']:>8.2f}{figures['p99_ms']:>8.2f}{figures['per_second']:>8.0f}"
        ratios = "".join(f"{_shown(ratio):<19}" for ratio in case["ratios"].get(target, {}).values())
        lines.append(f"  {target:<25}{timed}{figures['cpu_ms']:>8.2f}   {ratios}".rstrip())
    return lines


def _shown(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['least']:.2f}-{ratio['most']:.2f})"
