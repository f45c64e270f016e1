"""One part of a replay: its records as rows, and the outcomes of them as Parquet."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

from cds_service.retrospect import exports
from cds_service.retrospect.asking import Stored
from cds_service.retrospect.engines import connect, package, quoted_list
from cds_service.retrospect.gathering import ORDER
from cds_service.retrospect.judging import Outcome, Row, Study, replay

_MEGABYTES_OF_A_WORKER = 256
_ROWS = 20_000
"""Outcomes that are written in one go."""
Record = tuple[str | None, str, str | None]
"""The patient (None where nobody is named), the kind, and the text of a gathered record."""


def part_file(work: Path, part: int) -> Path:
    """Where the outcomes of a part lie when it is finished."""
    return work / "outcomes" / f"{part:04}.parquet"


def judge_part(work: Path, study: Study, part: int) -> None:
    """Judge the patients of a part and write their outcomes."""
    parquet = package("pyarrow.parquet")
    schema, target = schema_of(package("pyarrow")), part_file(work, part)
    made = target.with_suffix(f".{os.getpid()}.part")
    outcomes = (each for row in rows_of(work, part) for each in replay(row, study))
    with parquet.ParquetWriter(made, schema, compression="zstd") as writer:
        for table in tables(schema, outcomes):
            writer.write_table(table)
    made.rename(target)


def tables(schema: Any, outcomes: Iterator[Outcome]) -> Iterator[Any]:
    """The outcomes as tables of Arrow, so many in each that they fit into memory."""
    arrow = package("pyarrow")
    while batch := list(itertools.islice(outcomes, _ROWS)):
        by_column = zip(schema, zip(*batch, strict=True), strict=True)
        columns = [arrow.array(values, field.type) for field, values in by_column]
        yield arrow.Table.from_arrays(columns, schema=schema)


def schema_of(arrow: Any) -> Any:
    """The columns of the outcomes."""
    kinds = {"str": arrow.string(), "float": arrow.float64(), "bool": arrow.bool_(), "int": arrow.int32()}
    written = {name: getattr(hint, "__args__", (hint,))[0].__name__ for name, hint in get_type_hints(Outcome).items()}
    return arrow.schema([(name, kinds[written[name]]) for name in Outcome._fields])


def rows_of(work: Path, part: int) -> Iterator[Row]:
    """The rows of a part, one patient or request after the other, always in the same order."""
    files = sorted((work / "charts").glob(f"*/part={part}/*.parquet"))
    if not files:
        return
    connection = connect(work, 1, _MEGABYTES_OF_A_WORKER)
    try:
        cursor = connection.execute(
            f"SELECT patient, kind, json FROM read_parquet({quoted_list(files)}, union_by_name = true) "
            "ORDER BY patient NULLS FIRST, kind, json"
        )
        yield from rows_from(_fetched(cursor))
    finally:
        connection.close()


def rows_from(records: Iterable[Record]) -> Iterator[Row]:
    """The rows of the records of a part, sorted by patient, kind and text."""
    for patient, group in itertools.groupby(records, key=lambda record: record[0]):
        if patient is None:
            yield from _requests(group)
        else:
            yield _row(patient, group)


def _fetched(cursor: Any) -> Iterator[Record]:
    while fetched := cursor.fetchmany(500):
        yield from fetched


def _requests(records: Iterator[Record]) -> Iterator[Row]:
    """Hook requests; lines of others that could not be read, and name nobody, were counted when they were found."""
    for _, kind, text in records:
        if kind == exports.REQUESTS and text is not None:
            yield Row("", (), (), text.encode())


def _row(patient: str, records: Iterator[Record]) -> Row:
    orders: list[bytes] = []
    chart: list[Stored] = []
    for _, kind, text in records:
        raw = (text or "").encode()
        if kind == ORDER:
            orders.append(raw)
            kind = "MedicationRequest"
        chart.append(Stored(kind, raw))
    return Row(patient, tuple(orders), tuple(chart))
