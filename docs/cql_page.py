"""The page on the protocol as CQL: how it is used, which rules it says, and where foreign engines say otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from cds_service.commands.publish import not_said
from cds_service.knowledge import Knowledge
from cds_service.published import as_cql
from tests.oracle import table
from tests.oracle.engines import ENGINES
from tests.oracle.explained import differences, faults

PAGE = "docs/cql.md"

_HEAD = """# The protocol as CQL

The rules that facts of the chart and amounts of the order decide are published as CQL 1.5 over FHIR R4, so that
others can check them with engines of their own:

```
ketamine-cds protocol publish --cql build/cql
```

The folder then holds

- `KetamineChart.cql`, which says how a chart is read, and `KetamineDosage.cql`, which says how an order is
- one library for each rule, `KetamineOffers.cql` with the numbers that offers set, and `KetamineUntold.cql`, which
  says of each rule whether it cannot be told
- `fhir/`: the PlanDefinition, a Library for each of these, and an ActivityDefinition for each offer that FHIR can say
- `valuesets/`: the value sets that they name
- `not-said.md`: the rules that CQL does not say, each with the reason

A site's overlay is published with `--overlay FILE`. The libraries judge an order that is selected or signed, not a
chart that is opened. Nothing is read back: the service judges by its own code. `/fhir` serves the same resources.

`make elm` writes the same folder (`build/cql`) with the ELM of the reference translator beside the CQL (`elm/`),
and as content of the Libraries; `make elm OVERLAY=FILE` that of a site. It needs a JDK, and Maven once; on a
machine without one it says so and writes nothing. `KETAMINE_CDS_ELM` names such a folder to the service: its
`/fhir` then has the ELM beside the CQL, of each library that is the very text which was translated, with all that
it includes. A library that has changed since, by a limit that took effect or by another overlay, is served as CQL
alone; the log names it, and `ketamine-cds doctor` counts. The folder, 4 MB of ELM, is read when `/fhir` is first
asked on a day.

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

An entry in words alone, a date that is missing or lies ahead, a panel without its parts and a unit that is not read
make an answer null as well. So does a medicine of which only a code is given that no value set names: it may be
any. Beside ingredients the value sets name the products that the service knows by its table, where the form of the
product counts; NDC stands in eleven digits. A problem or a reading by a code of SNOMED CT, ICD or LOINC that no
value set names is another one, as in the service. The engine must be given the chart of one patient, and expansions
of the value sets: these name ICD and ATC by their branches, which only a terminology server can list.

## How an order is read

`KetamineDosage` reads one dosage instruction with one dose (a Quantity), one rate (a Quantity or a Ratio), or both,
in the units of the service's own closed table. It turns them into mg, mg/kg, mg/h and mg/kg/h by the newest weight
that is believed, into the kind of dose (bolus, short, continuous) by its duration, and into the number of doses that
start within a span by its timing. A limit is the one of the drug that is ordered, for the route and for what the
order is judged as.

All else makes what rests on the dose null, and nothing is guessed: an amount in words, a range, a volume, several
instructions, more than one order of a group, two statements that do not agree, a weight that is not believed, a
reason that no code tells. What must be divided is multiplied first and rounded once, to the eighth place of a
decimal of CQL, so that a dose equal to its limit is not above it; a weight is rounded to that place as well.

An ActivityDefinition creates the order that a card offers, or sets the dose, the rate, the duration or the end that
brings the order to a limit; its number is the definition of that name in `KetamineOffers`. The service floors it to a
step of the pump, and offers it only where no other rule objects to the changed order: an engine must judge that order
anew. Without one are the offers that remove or hold the order, or compute its new dose from what is ordered.

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
            "\n### The plan applied\n",
            *_applied(run.applied),
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


_APPLIED = """\
`make oracle` also has `org.opencds.cqf.fhir:cqf-fhir-cr` (Java) apply the published plan
(PlanDefinition/$apply), with its Libraries and ActivityDefinitions in a repository in memory, to the sandbox
patients and to some scenarios of each rule. An action must apply where the rule fires, its first sub-action be
the tier, and no other may apply. A condition that is null is as false there, so that an action of its own follows
each rule: it applies where the rule cannot be told (`KetamineUntold` defines it), and is held against the service
as well. Rules that CQL does not say have conditions in words, which it passes over."""


def _applied(made: table.Applied | None) -> Iterator[str]:
    yield _APPLIED
    if made is not None:
        both = f"{made.cases} cases, {made.verdicts:,} verdicts, of which {made.fired} fired on both sides"
        untold = "" if made.untold is None else f" and {made.untold} could not be told on either"
        others = f"{made.explained} differences of the kinds above, {made.unexplained} others"
        yield f"\nThe last time: {both}{untold};\n{others}; {made.refused} charts refused by its parser."
        if made.untold is None:
            yield "What could not be told was not yet held against the service then."


def _took(run: table.Run) -> str:
    kept = sum(run.cases.values()) - run.asked
    if kept <= 0:
        return f"{run.seconds / 60:.0f} minutes for all"
    return f"{run.seconds / 60:.0f} minutes; the answers to {kept:,} of its cases were kept from runs before"
