"""The report of a replay: one HTML page without a network, the same tables as CSV, and the outcomes as Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from cds_service import signature
from cds_service.protocol.model import Protocol
from cds_service.retrospect import plots, results
from cds_service.retrospect.engines import connect
from cds_service.retrospect.gathering import Found
from cds_service.retrospect.judging import Policy
from cds_service.retrospect.plan import Plan
from cds_service.retrospect.policies import Named
from cds_service.retrospect.runs import MEGABYTES
from cds_service.retrospect.tables import Table, Tables

_PLOTS = (("mg/kg/h", "mg_per_kg_h", "continuous infusions"), ("mg/kg", "mg_per_kg", "boluses and short infusions"))
_SHOWN = 40
"""Rows of a table that the page shows; the CSV file has all."""


def write(
    plan: Plan, found: Found, notes: Sequence[str], policies: Sequence[Policy], by: Sequence[str]
) -> dict[str, Decimal]:
    """Write the report into the folder of the plan; what `--fail-if` may ask for."""
    out = Path(plan.out)
    connection = connect(plan.work, plan.workers, MEGABYTES)
    try:
        tables = Tables(connection, plan.outcomes, [policy.name for policy in policies], by)
        shown = {
            "orders": tables.orders(found.left_out, found.unreadable),
            "rules": tables.rules(),
            "transitions": tables.transitions(),
            "samples": tables.samples(),
            **{f"by-{each}": tables.grouped(each) for each in by},
            "missing": tables.missing(),
            "not-known-then": tables.doubts(),
        }
        plotted = [
            _plots(tables, unit, column, title, [policy.knowledge.protocol for policy in policies])
            for unit, column, title in _PLOTS
        ]
        measured = tables.measured(sum(found.unreadable.values()))
        shown |= {table.name: table for plot in plotted for table in plot.pop("tables")}
        for table in shown.values():
            table.write(out)
        page = _page(plan, found, notes, policies, shown, plotted, tables.judged, measured)
        (out / "index.html").write_text(page, "utf-8")
        said = _summary(plan, found, policies, plotted, shown, tables.judged, measured)
        (out / results.SUMMARY).write_text(said, "utf-8")
    finally:
        connection.close()
    return measured


def _plots(tables: Tables, unit: str, column: str, title: str, protocols: Sequence[Protocol]) -> dict[str, Any]:
    """Histogram and curve of a unit, and their figures as tables."""
    doses = tables.doses(column)
    figures = [figure for figure, _ in doses]
    limits = limits_in(unit, protocols)
    axis = plots.Axis.of(figures, list(limits.values()))
    counted: dict[str, list[float]] = {}
    for figure, indication in doses:
        counted.setdefault(indication, []).append(figure)
    name = unit.replace("/", "-per-")
    bars = [
        (indication, round(number * axis.step, 6), round((number + 1) * axis.step, 6), count)
        for indication, each in sorted(counted.items())
        for number, count in enumerate(plots.bins(each, axis))
        if count
    ]
    total = max(len(figures), 1)
    points = plots.above(figures, axis)
    curve = [(limit, count, round(100 * count / total, 1)) for limit, count in points]
    return {
        "title": title,
        "unit": unit,
        "orders": len(figures),
        "step": axis.step,
        "limits": limits,
        "histogram": plots.histogram(plots.bins(figures, axis), axis, limits, unit) if figures else "",
        "curve": plots.curve(points, axis, limits, unit) if figures else "",
        "tables": [
            Table(f"doses-{name}", ("indication", "from", "to", "orders"), bars),
            Table(f"limits-{name}", (f"limit ({unit})", "orders_above", "per_100_such_orders"), curve),
        ],
    }


def limits_in(unit: str, protocols: Sequence[Protocol]) -> dict[str, float]:
    """The limits of that unit that the rules of the dose name, under every policy; where they differ, under each.

    Those of the protocol's first drug: another drug has its own under its own names.
    """
    found: dict[str, set[float]] = {}
    for protocol in protocols:
        dosed = [rule for rule in protocol.rules.values() if rule.judge == "amounts" and not rule.off]
        for name in {name for rule in dosed for tier in rule.tiers for name in tier.shown}:
            limit = protocol.limits.get(name)
            value = limit.values[max(limit.values)] if limit is not None and limit.unit == unit else None
            if limit is not None and limit.drug is None and isinstance(value, Decimal):
                found.setdefault(name, set()).add(float(value))
    return {
        name if len(values) == 1 else f"{name} ({value:g})": value
        for name, values in sorted(found.items())
        for value in sorted(values)
    }


def _page(
    plan: Plan,
    found: Found,
    notes: Sequence[str],
    policies: Sequence[Policy],
    shown: Mapping[str, Table],
    plotted: Sequence[Mapping[str, Any]],
    judged: int,
    measured: Mapping[str, Decimal],
) -> str:
    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True, trim_blocks=True)
    titles = {rule.id: rule.title for policy in policies for rule in policy.knowledge.protocol.rules.values()}
    return environment.get_template("report.html").render(
        plan=plan,
        policies=[_named(named, policy) for named, policy in zip(plan.policies, policies, strict=True)],
        found=found,
        notes=notes,
        tables=shown,
        plots=plotted,
        judged=judged,
        measured={name: f"{value:.1f}" for name, value in measured.items()},
        titles=titles,
        most=_SHOWN,
        compared=len(policies) > 1,
    )


def _named(named: Named, policy: Policy) -> dict[str, str]:
    protocol = policy.knowledge.protocol
    site = protocol.site or ""
    return {"name": named.name, "says": named.says, "digest": named.digest, "version": protocol.version, "site": site}


def _summary(
    plan: Plan,
    found: Found,
    policies: Sequence[Policy],
    plotted: Sequence[Mapping[str, Any]],
    shown: Mapping[str, Table],
    judged: int,
    measured: Mapping[str, Decimal],
) -> str:
    """For machines, and for whoever signs: what was replayed and what came of it, with the digest of each."""
    out = Path(plan.out)
    said = {
        "policies": [
            {
                "name": named.name,
                "file": named.says,
                "sha256": named.digest,
                "digest": signature.digest(policy.knowledge),
            }
            for named, policy in zip(plan.policies, policies, strict=True)
        ],
        "as_of": plan.as_of,
        "orders": found.orders,
        "judged": judged,
        "left_out": found.left_out,
        "lines_not_read": found.unreadable,
        "measures": {name: float(round(value, 4)) for name, value in measured.items()},
        "plots": [{name: plot[name] for name in ("title", "unit", "orders", "step", "limits")} for plot in plotted],
        "tables": {name: results.sha256((out / f"{name}.csv").read_bytes()) for name in shown},
    }
    return json.dumps(said, indent=1, ensure_ascii=False) + "\n"
