"""The tables of a report, from the outcomes: SQL, and nothing that is not in them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from cds_service.cards import could_not_check
from cds_service.retrospect.engines import quoted
from cds_service.retrospect.judging import CARD, DOUBT, JUDGED, ORDER, RULE
from cds_service.retrospect.policies import OLD

BY = ("ward", "client", "indication", "requester")
"""By what orders can be grouped."""
SAMPLES = 20
"""Orders that are named, by their pseudonym, for each change of a rule."""
OFF = "switched off"
NOWHERE = "(not said)"


@dataclass(frozen=True)
class Table:
    """A table of the report: the file that it becomes, its columns, its rows."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def write(self, folder: Path) -> None:
        with (folder / f"{self.name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows([[_safe(value) for value in row] for row in self.rows])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)


def _safe(value: Any) -> Any:
    """A spreadsheet takes what begins with one of these for a formula: a ward may be called anything."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


class Tables:
    """Everything that a report shows of `outcomes`, a file or a pattern of files."""

    def __init__(self, connection: Any, outcomes: Path, policies: Sequence[str], by: Sequence[str]) -> None:
        self._connection = connection
        self.new = [name for name in policies if name != OLD]
        self.policies = list(policies)
        self.by = by
        connection.execute(f"CREATE OR REPLACE VIEW outcome AS SELECT * FROM read_parquet({quoted(outcomes)})")
        for kind in (ORDER, RULE, CARD, DOUBT):
            connection.execute(f"CREATE OR REPLACE VIEW {kind}_row AS SELECT * FROM outcome WHERE kind = '{kind}'")
        # A rule that one policy judges and another does not was switched off, or is not of it.
        connection.execute(
            f"""CREATE OR REPLACE VIEW ended AS
            SELECT p.policy, r."order", r.rule, coalesce(e.status, '{OFF}') AS status, e.severity, e.tier,
              coalesce(e.interrupts, false) AS interrupts
            FROM (SELECT DISTINCT "order", rule FROM rule_row) r
            CROSS JOIN (SELECT unnest({self.policies}) AS policy) p
            LEFT JOIN rule_row e ON e."order" = r."order" AND e.rule = r.rule AND e.policy = p.policy"""
        )

    def _table(self, name: str, query: str) -> Table:
        cursor = self._connection.execute(query)
        return Table(name, [each[0] for each in cursor.description], cursor.fetchall())

    def _one(self, query: str) -> Any:
        return self._connection.execute(query).fetchone()[0]

    def orders(self, left_out: Mapping[str, int], unreadable: Mapping[str, int]) -> Table:
        """What became of each order, and of each line that could not be read."""
        made = self._table("orders", "SELECT status AS what, count(*) AS count FROM order_row GROUP BY 1 ORDER BY 1")
        rows = [*made.rows, *((f"left out: {why}", count) for why, count in left_out.items())]
        rows += [(f"unreadable line: {kind}", count) for kind, count in unreadable.items()]
        return Table(made.name, made.columns, rows)

    @property
    def judged(self) -> int:
        """The orders that were judged."""
        count: int = self._one(f"SELECT count(*) FROM order_row WHERE status = '{JUDGED}'")
        return count

    def rules(self) -> Table:
        """How each rule ended under each policy, the one first that fired most."""
        return self._table(
            "rules",
            f"""SELECT rule, policy, count(*) FILTER (status = 'fired') AS fired,
              count(*) FILTER (status = 'fired' AND severity = 'critical') AS critical,
              count(*) FILTER (status = 'fired' AND severity = 'warning') AS warning,
              count(*) FILTER (interrupts) AS on_interruptive_card, count(*) FILTER (status = 'clear') AS clear,
              count(*) FILTER (status = 'could-not-tell') AS could_not_tell,
              count(*) FILTER (status = 'suppressed') AS suppressed,
              count(*) FILTER (status = '{OFF}') AS switched_off
            FROM ended GROUP BY 1, 2
            ORDER BY sum(count(*) FILTER (status = 'fired')) OVER (PARTITION BY rule) DESC, rule,
              policy <> '{OLD}', policy""",
        )

    def transitions(self) -> Table:
        """What changes from the old policy to a new one; what a rule's switch alone does has a column of its own."""
        return self._table(
            "transitions", f"{self._changes()} GROUP BY 1, 2, 3, 4 ORDER BY changed + by_switch DESC, 1, 2"
        )

    def _changes(self) -> str:
        said = "CASE WHEN {0}.status = 'fired' THEN 'fired ' || {0}.severity ELSE {0}.status END"
        was, now = said.format("o"), said.format("n")
        return f"""SELECT n.rule, n.policy, {was} AS was, {now} AS becomes,
              count(*) FILTER (o.status <> '{OFF}' AND n.status <> '{OFF}') AS changed,
              count(*) FILTER (o.status = '{OFF}' OR n.status = '{OFF}') AS by_switch
            FROM ended n JOIN ended o ON o."order" = n."order" AND o.rule = n.rule AND o.policy = '{OLD}'
            WHERE n.policy <> '{OLD}' AND ({was}) <> ({now})"""

    def samples(self) -> Table:
        """Some orders of each change, by pseudonym, and nothing else of the patient; none of a rule's switch."""
        query = self._changes().partition("count(*)")[0]
        joined = f"{self._changes().partition('FROM ended n')[2]} AND '{OFF}' NOT IN (n.status, o.status)"
        return self._table(
            "samples",
            f"""SELECT rule, policy, was, becomes, "order" FROM ({query} n."order" FROM ended n{joined})
            QUALIFY row_number() OVER (PARTITION BY rule, policy, was, becomes ORDER BY "order") <= {SAMPLES}
            ORDER BY ALL""",
        )

    def grouped(self, by: str) -> Table:
        """Cards for 100 orders, by ward or whatever else."""
        name = f"coalesce(nullif({by}, ''), '{NOWHERE}')"
        return self._table(
            f"by-{by}",
            f"""WITH orders AS (SELECT {name} AS "{by}", count(*) AS orders FROM order_row
                WHERE status = '{JUDGED}' GROUP BY 1),
              cards AS (SELECT {name} AS "{by}", policy, count(*) FILTER (interrupts) AS interruptive,
                count(*) FILTER (rule = '{could_not_check.TOPIC}' AND severity <> 'info') AS could_not_check
                FROM card_row GROUP BY 1, 2)
            SELECT "{by}", policy, orders, coalesce(interruptive, 0) AS interruptive_cards,
              round(100 * coalesce(interruptive, 0) / orders, 1) AS interruptive_per_100,
              round(100 * coalesce(could_not_check, 0) / orders, 1) AS could_not_check_per_100
            FROM orders CROSS JOIN (SELECT unnest({self.policies}) AS policy) LEFT JOIN cards USING ("{by}", policy)
            ORDER BY orders DESC, 1, policy <> '{OLD}', policy""",
        )

    def missing(self) -> Table:
        """What this site should send: what was missing where a rule could not be told, and why."""
        return self._table(
            "missing",
            f"""SELECT missing, reason, count(DISTINCT "order") AS orders, count(DISTINCT rule) AS rules
            FROM (SELECT "order", rule, reason, unnest(string_split(missing, ' ')) AS missing FROM rule_row
              WHERE status = 'could-not-tell' AND policy = '{self.policies[-1]}')
            GROUP BY 1, 2 ORDER BY orders DESC, rules DESC, 1, 2""",
        )

    def doubts(self) -> Table:
        """What could not be put back to how it stood when the order was signed."""
        return self._table(
            "not-known-then",
            """SELECT rule AS type, reason, count(DISTINCT "order") AS orders, sum(records)::BIGINT AS records
            FROM doubt_row GROUP BY 1, 2 ORDER BY orders DESC, 1, 2""",
        )

    def doses(self, column: str) -> list[tuple[float, str]]:
        """(figure, indication) of each judged order, to be plotted."""
        found: list[tuple[float, str]] = self._connection.execute(
            f"SELECT {column}, coalesce(nullif(indication, ''), '{NOWHERE}') FROM order_row "
            f"WHERE {column} IS NOT NULL ORDER BY 1"
        ).fetchall()
        return found

    def measured(self, unreadable: int) -> dict[str, Decimal]:
        """The values of the measures that `gate` names; of several new policies the worst."""
        judged = max(self.judged, 1)
        new = self.new or [OLD]

        def cards(policy: str) -> Decimal:
            return Decimal(self._one(f"SELECT count(*) FROM card_row WHERE interrupts AND policy = '{policy}'"))

        def untold(policy: str) -> Decimal:
            status = f"status = 'could-not-tell' AND policy = '{policy}'"
            return Decimal(self._one(f"SELECT count(*) FROM rule_row WHERE {status}"))

        def criticals(policy: str, condition: str) -> Decimal:
            return Decimal(
                self._one(
                    f"""SELECT count(*) FROM ended o JOIN ended n ON n."order" = o."order" AND n.rule = o.rule
                    WHERE o.policy = '{OLD}' AND n.policy = '{policy}' AND o.status = 'fired'
                      AND o.severity = 'critical' AND {condition}"""
                )
            )

        silent = f"n.status NOT IN ('fired', '{OFF}')"
        return {
            "interruptive-per-100": max(100 * cards(policy) / judged for policy in new),
            "new-interruptive-per-100": max(100 * (cards(policy) - cards(OLD)) / judged for policy in new),
            "silent-criticals": max(criticals(policy, silent) for policy in new),
            "switched-off-criticals": max(criticals(policy, f"n.status = '{OFF}'") for policy in new),
            "could-not-tell-per-100": max(100 * untold(policy) / judged for policy in new),
            "lines-not-read": Decimal(unreadable),
            "failed": Decimal(self._one("SELECT count(*) FROM order_row WHERE status = 'failed'")),
        }
