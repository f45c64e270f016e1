"""The page on speed, from the last runs of the benchmarks that were kept: nothing on it is written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench import before, bodies, cql, fallback, growth
from bench.noop import PATHS
from bench.report import KEPT, OURS

PAGE = "docs/performance.md"
_FLOOR = next(iter(PATHS))
_WITH, _WITHOUT = bodies.RATES

_HEAD = """# Performance

`make bench` starts the service and a no-op behind the same production server (granian), with {workers} workers
each, and sends both the same {bodies} bodies over connections that stay open: the charts of three patients of each
size, each with three orders, mixed in the same order for all, round by round in turn. Two no-ops are the floor: one
parses the body with Flask's `get_json`, one with msgspec, as the service does; both answer with as many bytes as the
service. `make peers` puts another project's CDS Hooks service beside them,
[HealthChain](https://github.com/dotimplement/HealthChain), which reads a request by its models and answers with one
card that is always the same. Every answer is compared byte for byte. Only the ratios of one run mean anything on
another machine.

The orders: an infusion above the limit (one card with a suggestion), one within it (no card), and one of another
drug. The charts are those of sandbox patients: small ones, cut to 30 kB; those in the middle of the thirteen by size;
the largest one and two of the others with the records of another one added. Every query is answered in the prefetch.
To each chart are added a stay, today's weight and pressure, paracetamol, monitoring and a supply for a day; a seizure
disorder and its carbamazepine are left out of the largest one, so that the order alone decides about cards.

This page is written from the last runs that were kept (`make peers`: `bench/last_run.json`, `last_run_cql.json`,
`last_run_before.json`). Where the time goes, and what made it less: [processor-time.md](processor-time.md). What
a call costs with tokens, TLS and PostgreSQL: [scaling.md](scaling.md).
"""

_HOW = """p50 and requests/s are medians over the rounds, a ratio of p50 (ours / theirs) the median of those of each
round; p99 is that of all rounds together, and so is its ratio. Requests/s are those of clients that lose no time
between two calls. Processor time is what the workers took from the beginning of a call to that of the next one, out
of the same mixed run, by their own clocks (which are finer than the 10 ms of `/proc`): what the service does after
an answer, as its record, counts for the call that comes next, whose kind is drawn at random; in "all" it is exact.
Beside a second connection nothing tells whose time it was.
"""

_FALLBACK = """An EHR that sends no prefetch, whose FHIR server (a process of its own on the same machine) answers
each search {wait} ms after it was asked, {calls} calls one after the other, the median patients in turn: one bare
search, which is what server and way take alone; the step of the service that asks all {searches} at once and reads
what comes; and whole calls, whose answers are compared with those to the same charts in the prefetch.
"""

_GROWTH = """Processor time of one call in process, the quicker quarter of its calls: the first small chart with an
order that gets no card, and more of one thing at a time: its own observations again, each an hour earlier; what
other sandbox patients take; the same draft again, each of which is judged.
"""

_BEFORE = """`python -m bench.before {commit}`: processor time of one call in process, the same bodies mixed, by the
same interpreter and packages; both versions in turn, lap by lap. Of each body the quicker quarter of its calls
counts; a ratio is the median of the pairs of processes. That version has {before} rules, this one {now}, and their
answers differ.
"""

_ENGINES = """`python -m bench.cql`: the ketamine orders of one patient of each size and each sandbox patient with
two ordinary ones, one after the other, in processes that are warm, in turn. An engine gives the verdicts of the
rules that CQL says ([cql.md](cql.md)); the service judges all of its rules, makes cards and offers, and writes the
answer. The Java engine runs as the oracle runs it, with the first of the JVM's two compilers alone.
"""


@dataclass(frozen=True)
class Aim:
    """What was aimed at, and what came of it; `where` names the worst of several."""

    says: str
    reached: float
    met: bool
    where: str = ""

    @property
    def row(self) -> str:
        at = f" ({self.where})" if self.where else ""
        return f"| {self.says} | {self.reached:.2f}{at} | {'met' if self.met else '**not met**'} |"


def kept() -> tuple[dict[str, Any], cql.Run, before.Run]:
    """The runs that the page shows."""
    return (
        json.loads(KEPT.read_text("utf-8")),
        msgspec.json.decode(cql.KEPT.read_bytes(), type=cql.Run),
        msgspec.json.decode(before.KEPT.read_bytes(), type=before.Run),
    )


def page() -> str:
    run, engines, earlier = kept()
    asked = run["fallback"]
    parts = [
        _HEAD.format(workers=run["workers"], bodies=run["bodies"]),
        "## Against the aims\n",
        "The floor is the no-op with Flask's `get_json`, at one connection; where an aim is for several kinds of "
        "requests, the worst of them counts.\n",
        "| aim | reached | |",
        "|---|---:|---|",
        *(aim.row for aim in aims(run, engines, earlier)),
        "",
        *_measured(run),
        "## Where nothing is prefetched\n",
        _FALLBACK.format(wait=asked["wait_ms"], calls=asked["calls"], searches=asked["searches"]),
        *fallback.lines(run["fallback"]),
        "",
        "## As charts grow\n",
        _GROWTH,
        *growth.lines(run["growth"]),
        "",
        f"## Beside commit {earlier.commit}\n",
        _BEFORE.format(commit=earlier.commit, **earlier.rules),
        *before.lines(earlier),
        "",
        "## Beside engines that run the same protocol\n",
        _ENGINES,
        *cql.lines(engines),
        "",
    ]
    return "\n".join(parts)


def aims(run: Mapping[str, Any], engines: cql.Run, earlier: before.Run) -> Iterator[Aim]:
    """All of them, as the kept runs show them."""
    alone = [case for case in run["cases"] if case["connections"] == 1]

    def ratio(says: str, figure: str, most: float, sizes: Sequence[str], orders: Sequence[str]) -> Aim:
        chosen = [case for case in alone if case["size"] in sizes and case["order"] in orders]
        worst = max(chosen, key=lambda case: float(case["ratios"][_FLOOR][figure]))
        reached = float(worst["ratios"][_FLOOR][figure])
        where = f"{worst['size']} chart, {worst['order']}" if len(chosen) > 1 else ""
        return Aim(f"{says}: {figure} at most {most:g} times the no-op's", reached, reached <= most, where)

    yield ratio("median chart, an order with cards", "p50", 3, ["median"], [_WITH])
    yield ratio("median chart, an order without", "p50", 2.5, ["median"], [_WITHOUT])
    yield ratio("large chart, a ketamine order", "p50", 2, ["large"], [_WITH, _WITHOUT])
    yield ratio("median and large chart, a ketamine order", "p99", 2.5, ["median", "large"], [_WITH, _WITHOUT])
    yield ratio("an order that is not ketamine", "p50", 1, list(bodies.SIZES), [bodies.NOT_KETAMINE])
    memory = max(float(each["Rss"]) for each in run["memory_mb_per_worker"][OURS])
    yield Aim("memory of a worker: at most 110 MB", memory, memory <= 110)
    costs = [each for each in earlier.costs if each.size == "median" and each.order in bodies.RATES]
    dearest = max(costs, key=lambda each: each.ratio)
    says = f"median chart, a ketamine order: processor time at most 0.65 times that of commit {earlier.commit}"
    yield Aim(says, dearest.ratio, dearest.ratio <= 0.65, dearest.order)
    factor, who = min(
        (engines.cost(who) / engines.cost(cql.SERVICE), who) for who in engines.cpu_ms if who != cql.SERVICE
    )
    yield Aim("at least 20 times the throughput of the faster CQL engine", factor, factor >= 20, who)
    asked = run["fallback"]
    p50 = float(asked["fetched and read"]["p50_ms"])
    says = f"fallback: {asked['searches']} searches at {asked['wait_ms']} ms are read within 27 ms (p50)"
    yield Aim(says, p50, p50 <= 27)


def _measured(run: Mapping[str, Any]) -> Iterator[str]:
    machine, versions = run["machine"], run["versions"]
    said = ", ".join(f"{name} {number}" for name, number in versions.items())
    yield "## Measured\n"
    yield f"{run['date']}, {machine['cpus']} x {machine['processor']}, load average {run['load'][0]} when it ended;"
    yield f"{said}. {run['rounds']} rounds of {run['requests']} requests of each kind on each connection."
    yield _HOW
    for connections in dict.fromkeys(case["connections"] for case in run["cases"]):
        yield f"{'One connection' if connections == 1 else f'{connections} connections'}:\n"
        others = [name for name in run["cases"][0]["targets"] if name != OURS]
        cpu = ", CPU ms" if connections == 1 else ""
        heads = [f"{name}: p50 ms (ratio), p99 ratio{cpu}" for name in others]
        ours = ["p50 ms", "p99 ms", "req/s", *(["CPU ms"] if cpu else [])]
        yield f"| chart | order | bytes in | {' | '.join([*ours, *heads])} |"
        yield f"|---|---|---:|{'---:|' * len([*ours, *heads])}"
        for each in (*run["cases"], *run["mix"]):
            if each["connections"] == connections:
                yield _row(each, others)
        yield ""
    memory = {name: "/".join(f"{each['Rss']:.0f}" for each in of) for name, of in run["memory_mb_per_worker"].items()}
    yield f"Memory (RSS) of each worker after that, MB: {', '.join(f'{who} {mb}' for who, mb in memory.items())}.\n"


def _row(each: Mapping[str, Any], others: Sequence[str]) -> str:
    cells = [each["size"], each["order"], f"{each['request_bytes']:,}"] if "size" in each else ["all", "", ""]
    ours = each["targets"][OURS]
    cells += [f"{ours['p50_ms']:.2f}", f"{ours['p99_ms']:.2f}", f"{ours['per_second']:.0f}"]
    cells += [f"{ours['cpu_ms']:.2f}"] if "cpu_ms" in ours else []
    for name in others:
        theirs, ratio = each["targets"][name], each["ratios"][name]
        cpu = f", {theirs['cpu_ms']:.2f}" if "cpu_ms" in theirs else ""
        cells.append(f"{theirs['p50_ms']:.2f} ({ratio['p50']:.2f}), {ratio['p99']:.2f}{cpu}")
    return f"| {' | '.join(cells)} |"
