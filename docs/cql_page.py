"""The page on the protocol as CQL: how it is used, which rules it says, and where foreign engines say otherwise."""

from __future__ import annotations

from cds_service.commands.publish import not_said
from cds_service.knowledge import Knowledge
from cds_service.published import as_cql
from tests.oracle import table
from tests.oracle.engines import ENGINES
from tests.oracle.explained import differences, faults

PAGE = "docs/cql.md"

_HEAD = """# The protocol as CQL

The rules that facts of the chart decide are published as CQL 1.5 over FHIR R4, so that others can check them with
engines of their own:

```
ketamine-cds protocol publish --cql build/cql
```

The folder then holds `KetamineChart.cql`, which says how a chart is read, one library for each rule, the value sets
that they name (`valuesets/`), and `not-said.md`. A site's overlay is published with `--overlay FILE`. The
libraries judge an order that is selected or signed, not a chart that is opened. Nothing is read back: the service
judges by its own code.

## How a library reads

Each fact keeps the name that it has in the rule's folder, each limit its name, number, unit and sources, and each
tier its line of logic. `Fires` is true, false, or null where it cannot be told; `Tier` is the first tier that
holds; `Severity` is what its changes leave of it, `none` where the rule is silent.

What a rule yields to stands in its head: an engine that runs several libraries must hold them against each other.
`KetamineChart` takes two parameters:

| parameter | what it says |
|---|---|
| `Order id` | the id of the MedicationRequest that is judged, which stands among the patient's resources |
| `Not delivered` | the keys of the prefetch templates whose answer did not come: what rests on them is null |

An entry in words alone, a date that is missing or lies ahead, and a unit that is not read make an answer null as
well. The engine must be given the chart of one patient, and expansions of the value sets: these name ICD and ATC by
their branches, which only a terminology server can list.

## The oracle

`make oracle` translates the libraries with the reference translator and has foreign engines judge every scenario of
this repository, the charts that are opened, the sandbox patients with ordinary orders, and generated orders in charts
that two scenarios make together; each verdict is held against the service's own. What an engine said is kept in
`build/oracle`, so that a run can be broken off and the next one asks only for what changed. `make test` does the same
for the scenarios of each rule's own folder. The engines:
"""

_ENGINES = {
    "cql-execution": "`cql-execution` with `cql-exec-fhir` (JavaScript), which runs the translated ELM; it gives a "
    "contained resource no type, so that contained medications and locations are put beside what holds them",
    "engine-fhir": "`info.cqframework:engine-fhir` (Java), which compiles the CQL itself",
}


def page(knowledge: Knowledge) -> str:
    """The whole page, of the shipped protocol as of its own date."""
    written = as_cql(knowledge, knowledge.protocol, knowledge.protocol.date)
    said = [each.rule for each in written.libraries if each.rule is not None]
    title, *tables = not_said(written)
    assert set(ENGINES) == set(_ENGINES)
    known, run = differences(), table.read()
    left_out = [f"`{rule}`" for rule in said if not any(rule in one.verdicts for one in run.engines.values())]
    return "\n".join(
        [
            _HEAD,
            *(f"- {_ENGINES[name]}" for name in ENGINES),
            "\nWhere they say otherwise, the difference is of one of these kinds (`tests/oracle/differences.yaml`),\n"
            "and every other one fails the test:\n",
            "| kind | why |\n|---|---|",
            *(f"| {kind} | {' '.join(why.split())} |" for kind, why in known.kinds.items()),
            "\n### The last run\n",
            f"{run.date}, commit {run.commit}, both engines at once, {_took(run)}.\n",
            *([f"Rules that were not in it yet: {', '.join(left_out)}."] if left_out else []),
            *table.lines(run, list(known.kinds)),
            "\n### Faults that it found\n",
            *(
                ["No verdict of the service was found wrong.\n"]
                if not any(f.side == "service" for f in faults())
                else []
            ),
            "| where | fault | what was done |\n|---|---|---|",
            *(f"| {each.side} | {each.fault} | {each.done} |" for each in faults()),
            f"\n## The {len(said)} rules that CQL says\n",
            ", ".join(f"`{rule}`" for rule in said) + ".\n",
            title.replace("# What", "## What"),
            *tables,
            "",
        ]
    )


def _took(run: table.Run) -> str:
    kept = sum(run.cases.values()) - run.asked
    if kept <= 0:
        return f"{run.seconds / 60:.0f} minutes for all"
    return f"{run.seconds / 60:.0f} minutes; the answers to {kept:,} of its cases were kept from runs before"
