"""Replays of an export, and what they came to."""

from __future__ import annotations

from typing import Any

import duckdb

from cds_service.retrospect import runs
from cds_service.retrospect.judging import Policy
from cds_service.retrospect.plan import Plan
from cds_service.retrospect.synthetic import Signed


def outcomes(plan: Plan, policies: list[Policy]) -> list[tuple[Any, ...]]:
    """Everything that a run found, without the pseudonyms, which are others in each run."""
    runs.run(plan, policies, lambda *_: None)
    return rows_of(plan)


def rows_of(plan: Plan) -> list[tuple[Any, ...]]:
    query = f"SELECT * EXCLUDE (\"order\", patient, requester) FROM read_parquet('{plan.outcomes}') ORDER BY ALL"
    return duckdb.sql(query).fetchall()


def exported(patients: list[Signed]) -> list[dict[str, Any]]:
    return [dict(resource) for each in patients for resource in each.exported]
