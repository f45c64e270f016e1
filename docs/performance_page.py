"""The page on speed, from the last runs of the benchmarks that were kept: nothing on it is written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from bench import cql
from bench.noop import PATHS
from bench.report import KEPT, OURS

PAGE = "docs/performance.md"
_FLOOR = next(iter(PATHS))
_AIMS = {
    ("an order with cards", "p50_ms"): 3.0,
    ("an order without", "p50_ms"): 2.5,
    ("not ketamine", "p50_ms"): 1.0,
    ("an order with cards", "p99_ms"): 2.5,
    ("an order without", "p99_ms"): 2.5,
}
"""At most so many times the no-op that parses with Flask's `get_json`, of the small patient."""
_AIM_OF_THE_LARGE = 2.0
_AIM_OF_MEMORY = 110
_AIM_OF_ENGINES = 20

_HEAD = """# Performance

`make bench` starts the service and a no-op behind the same production server (granian), with {workers} workers
each, and sends both the same bodies over connections that stay open. Two no-ops are the floor: one parses the body
with Flask's `get_json`, one with msgspec, as the service does; both answer with as many bytes as the service. `make
peers` puts another project's CDS Hooks service beside them,
[HealthChain](https://github.com/dotimplement/HealthChain), which reads a request by its models and answers with one
card that is always the same. Every answer is compared byte for byte. Only the ratios of one run mean anything on
another machine.

The orders: an infusion above the limit (one card with a suggestion), one within it (no card), and one of another
drug. The large patient is the largest of the sandbox charts, the small one another of them; where they are not on
the machine, made-up ones of their size. Every query is answered in the prefetch. To each chart are added a stay,
today's weight and pressure, paracetamol, monitoring and a supply for a day; a seizure disorder and its
carbamazepine are left out of the large one, so that the order alone decides about cards.

This page is written from the last runs that were kept (`make peers`, `bench/last_run.json` and
`bench/last_run_cql.json`). Where the time goes, and what made it less: [processor-time.md](processor-time.md). What
a call costs with tokens, TLS and PostgreSQL: [scaling.md](scaling.md).
"""

_ENGINES = """`python -m bench.cql`: the ketamine orders above and each sandbox patient with two ordinary ones, one
after the other, in processes that are warm, in turn. An engine gives the verdicts of the rules that CQL says
([cql.md](cql.md)); the service judges all of its rules, makes cards and offers, and writes the answer. The Java
engine runs as the oracle runs it, with the first of the JVM's two compilers alone.
"""


def page() -> str:
    run = json.loads(KEPT.read_text("utf-8"))
    engines = msgspec.json.decode(cql.KEPT.read_bytes(), type=cql.Run)
    parts = [
        _HEAD.format(workers=run["workers"]),
        *_measured(run),
        "## Against the aims\n",
        *_aims(run, engines),
        "",
        "## Beside engines that run the same protocol\n",
        _ENGINES,
        *cql.lines(engines),
        "",
    ]
    return "\n".join(parts)


def _measured(run: Mapping[str, Any]) -> Iterator[str]:
    machine, versions = run["machine"], run["versions"]
    said = ", ".join(f"{name} {number}" for name, number in versions.items())
    yield "## Measured\n"
    yield f"{run['date']}, {machine['cpus']} x {machine['processor']}, load average {run['load'][0]} when it ended;"
    yield f"{said}. {run['rounds']} rounds of {run['requests']} requests on each connection, medians over the"
    yield "rounds; ratios are ours / theirs of the same round, their median.\n"
    for concurrency in sorted({case["concurrency"] for case in run["cases"]}):
        yield f"{'One connection' if concurrency == 1 else f'{concurrency} connections'}:\n"
        yield (
            "| patient | order | bytes in | p50 ms | p99 ms | req/s | CPU ms | "
            + " | ".join(_ratio_heads(run))
            + " |"
        )
        yield "|---|---|---:|---:|---:|---:|---:|" + "---:|" * len(_ratio_heads(run))
        yield from (_row(run, case) for case in run["cases"] if case["concurrency"] == concurrency)
        yield ""
    memory = {name: "/".join(f"{each['Rss']:.0f}" for each in of) for name, of in run["memory_mb_per_worker"].items()}
    yield (
        "Memory (RSS) of each worker after that, MB: "
        + ", ".join(f"{who} {mb}" for who, mb in memory.items())
        + ".\n"
    )


def _targets(run: Mapping[str, Any]) -> list[str]:
    """All that the service is held against."""
    return [name for name in run["cases"][0]["targets"] if name != OURS]


def _ratio_heads(run: Mapping[str, Any]) -> list[str]:
    return [f"{name}: p50 ms (ratio), p99 ratio, CPU ms" for name in _targets(run)]


def _row(run: Mapping[str, Any], case: Mapping[str, Any]) -> str:
    ours = case["targets"][OURS]
    cells = [case["patient"], case["order"], f"{case['request_bytes']:,}"]
    cells += [f"{ours['p50_ms']:.2f}", f"{ours['p99_ms']:.2f}", f"{ours['per_second']:.0f}", f"{ours['cpu_ms']:.2f}"]
    for name in _targets(run):
        theirs, ratios = case["targets"][name], case["ratios"][name]
        p50, p99 = ratios["p50_ms"]["median"], ratios["p99_ms"]["median"]
        cells.append(f"{theirs['p50_ms']:.2f} ({p50:.2f}), {p99:.2f}, {theirs['cpu_ms']:.2f}")
    return f"| {' | '.join(cells)} |"


def _aims(run: Mapping[str, Any], engines: cql.Run) -> Iterator[str]:
    """Each aim, what was reached, and whether that is enough. The floor is the no-op with Flask's `get_json`."""
    yield "| aim | reached | |"
    yield "|---|---:|---|"
    alone = {(c["patient"], c["order"]): c["ratios"][_FLOOR] for c in run["cases"] if c["concurrency"] == 1}
    for (order, figure), most in _AIMS.items():
        reached = alone["small", order][figure]["median"]
        yield _aim(
            f"small patient, {order}: {figure[:3]} at most {most:g} times the no-op's", reached, reached <= most
        )
    for (patient, order), ratios in alone.items():
        if patient == "large" and order != "not ketamine":
            reached, aim = ratios["p50_ms"]["median"], f"at most {_AIM_OF_THE_LARGE:g} times the no-op's"
            yield _aim(f"large patient, {order}: p50 {aim}", reached, reached <= _AIM_OF_THE_LARGE)
    memory = max(each["Rss"] for each in run["memory_mb_per_worker"][OURS])
    yield _aim(f"memory of a worker: at most {_AIM_OF_MEMORY} MB", memory, memory <= _AIM_OF_MEMORY)
    others = [engines.cost(who) / engines.cost(cql.SERVICE) for who in engines.cpu_ms if who != cql.SERVICE]
    factor = min(others)
    says = f"at least {_AIM_OF_ENGINES} times the throughput of the faster CQL engine"
    yield _aim(says, factor, factor >= _AIM_OF_ENGINES)


def _aim(says: str, reached: float, met: bool) -> str:
    return f"| {says} | {reached:.2f} | {'met' if met else '**not met**'} |"
