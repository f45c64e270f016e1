"""Reports of replay for the committee: two policies side by side, from one folder that the site names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask, abort, render_template, request
from markupsafe import Markup

from cds_service.console.shell import Console
from cds_service.console.stewardship import Names
from cds_service.console.words import say
from cds_service.retrospect import plots, results
from cds_service.retrospect.policies import OLD
from cds_service.retrospect.results import NotAReport, Plotted, Replayed, Result
from cds_service.retrospect.tables import Table

PATH = "/replay"
MOST_REPORTS = 200
"""Of the folder; the newest."""
MOST_ROWS = 60
"""Of a table; the CSV file of the report has all."""
_ENDED = ("fired", "critical", "warning", "on_interruptive_card", "clear", "could_not_tell", "suppressed")
"""The columns of a rule's row, under each policy."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A report in the folder, by the name of its own folder."""

    name: str
    written: datetime


@dataclass(frozen=True, slots=True)
class Drawn:
    """The doses of a unit, as the report itself shows them."""

    plot: Plotted
    histogram: Markup
    curve: Markup


@dataclass(frozen=True, slots=True)
class Shown:
    """A report with one new policy beside the old one."""

    result: Result
    policy: Replayed
    rules: Sequence[tuple[str, Mapping[str, str], Mapping[str, str]]]
    """(rule, how it ended under the old policy, under the new one)."""
    transitions: Sequence[Mapping[str, str]]
    groups: Sequence[tuple[str, Sequence[tuple[Mapping[str, str], Mapping[str, str]]]]]
    """(by what, (old, new) for each ward or whatever else)."""
    drawn: Sequence[Drawn]


class _NotShown(NotAReport):
    """A report that the page cannot show, in the words of the page."""


def register(app: Flask, console: Console) -> None:
    console.add("Replay", PATH)
    folder = Path(console.settings.reports) if console.settings.reports else None
    names = Names(console.knowledge)

    @app.get(PATH)
    def replays() -> str:
        """The reports that there are."""
        return render_template("replays.html", folder=folder, reports=listed(folder) if folder else [])

    @app.get(f"{PATH}/<name>")
    def replay_report(name: str) -> str | tuple[str, int]:
        """One of them. Only a name that is listed is looked for."""
        if folder is None or name not in {each.name for each in listed(folder)}:
            abort(404)
        try:
            shown = _shown(results.opened(folder / name), request.args.get("policy", ""))
        except NotAReport as error:
            is_ours = isinstance(error, _NotShown)
            return render_template("replay.html", name=name, trouble=str(error), is_ours=is_ours), 503
        return render_template("replay.html", name=name, shown=shown, names=names, most=MOST_ROWS, ended=_ENDED)


def listed(folder: Path) -> list[Listed]:
    """The reports of a folder, the newest first: folders in it, no links, each with its summary."""
    found = []
    try:
        for each in folder.iterdir():
            summary = each / results.SUMMARY
            if not each.is_symlink() and each.is_dir() and summary.is_file():
                found.append(Listed(each.name, datetime.fromtimestamp(summary.stat().st_mtime, UTC)))
    except OSError:  # it went away
        return []
    return sorted(found, key=lambda each: (each.written, each.name), reverse=True)[:MOST_REPORTS]


def _shown(result: Result, policy: str) -> Shown:
    """Raises NotAReport."""
    if not result.summary.tables:
        raise _NotShown(say("report-too-old", folder=result.folder))
    try:
        new = next((each for each in result.new if each.name == policy), (*result.new, *result.summary.policies)[0])
        return Shown(
            result,
            new,
            rules=[(rule, was, now) for rule, was, now in _pairs(result.table("rules"), "rule", new.name)],
            transitions=[row for row in result.table("transitions") if row["policy"] == new.name],
            groups=[
                (by, [(was, now) for _, was, now in _pairs(result.table(f"by-{by}"), by, new.name)])
                for by in (name.removeprefix("by-") for name in result.summary.tables if name.startswith("by-"))
            ],
            drawn=[_drawn(plot, result) for plot in result.summary.plots if plot.orders],
        )
    except (LookupError, ValueError, ArithmeticError) as error:
        raise _NotShown(say("report-not-as-written", folder=result.folder)) from error


def _pairs(table: Table, by: str, new: str) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """(key, its row under the old policy, under the new one), in the order of the table."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in table:
        rows.setdefault(row[by], {})[row["policy"]] = row
    return [(key, of[OLD], of[new]) for key, of in rows.items()]


def _words() -> plots.Words:
    """The plots' own, in the language of the page."""
    return plots.Words(
        bar=say("plot-bar", start="{start}", end="{end}", unit="{unit}", count="{count}"),
        doses=say("plot-doses-limits", unit="{unit}"),
        above=say("plot-above-wherever", unit="{unit}"),
    )


def _drawn(plot: Plotted, result: Result) -> Drawn:
    axis = plots.Axis(plot.step * plots.BINS, plot.step)
    bars, curve = plot.tables
    counts = [0] * plots.BINS
    for row in result.table(bars):
        counts[min(round(float(row["from"]) / plot.step), plots.BINS - 1)] += int(row["orders"])
    points = [(float(row[f"limit ({plot.unit})"]), int(row["orders_above"])) for row in result.table(curve)]
    given = axis, plot.limits, plot.unit, _words()
    # Made of numbers and escaped names alone.
    return Drawn(plot, Markup(plots.histogram(counts, *given)), Markup(plots.curve(points, *given)))
