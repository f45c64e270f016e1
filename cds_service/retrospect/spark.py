"""The engine for a cluster: Apache Spark takes the gathered records to `replay`, and its outcomes back, as Arrow.

Selecting, gathering and the report are those of one machine, and so are the parts and their files: a replay that one
engine began goes on with the other. Every machine of a cluster needs this package, and the folder of the report and
the overlays under the same path.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cds_service.retrospect.engines import NoEngine, package
from cds_service.retrospect.judging import Study, replay
from cds_service.retrospect.part import part_file, rows_from, schema_of, tables
from cds_service.retrospect.plan import Plan, Stopped, encoded, study_for

PARTS_OF_A_CORE = 8
"""Parts that are judged in one go, for each core: so much is done again after a run that was killed."""
_RECORDS = "part int, patient string, kind string, json string"
_NEEDS_JAVA = "replay --engine spark needs a Java runtime of version 17 or later"
_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.io.encryption.enabled": "true",  # what it sorts on disk are the charts of patients
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.files.maxRecordsPerFile": "0",  # a part is one file
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
}


def check() -> None:
    """Raises NoEngine where Spark is not installed, or no Java to run it."""
    for name in ("pyspark", "pandas"):
        package(name)
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=f"{home}/bin" if home else None) is None:
        raise NoEngine(f"{_NEEDS_JAVA}: there is no java {f'in JAVA_HOME ({home})' if home else 'on the PATH'}")


def judge(plan: Plan, left: Sequence[int]) -> Iterator[int]:
    """Judge the parts that are left; yields how many more are finished. Raises NoEngine, Stopped."""
    failures = (package("pyspark.errors").PySparkException, package("py4j.protocol").Py4JError)
    session = _session(plan)
    try:
        size = PARTS_OF_A_CORE * session.sparkContext.defaultParallelism
        for first in range(0, len(left), size):
            chunk = left[first : first + size]
            _judge_parts(session, plan, chunk)
            yield len(chunk)
    except failures as error:
        # A message of Spark may quote what it read.
        raise Stopped(
            f"Spark ended with {type(error).__name__}; the same command goes on with what is not judged yet"
        ) from None
    finally:
        session.stop()


def _session(plan: Plan) -> Any:
    settings = dict(_SETTINGS)
    if plan.master is None:
        here = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        settings |= here | {"spark.local.dir": str((plan.work / "spill").resolve())}
        os.environ["PYSPARK_PYTHON"] = sys.executable  # not whichever python3 comes first
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = package("pyspark.sql").SparkSession.builder.master(plan.master or f"local[{plan.workers}]")
    try:
        return builder.appName("ketamine-cds replay").config(map=settings).getOrCreate()
    except package("pyspark.errors").PySparkRuntimeError as error:
        raise NoEngine(f"{_NEEDS_JAVA}, and it did not start: {error.getCondition()}") from None


def _judge_parts(session: Any, plan: Plan, parts: Sequence[int]) -> None:
    """One job of Spark. Its files are put in place part by part, when all of them are whole."""
    as_json = encoded(plan)
    arrow = package("pyarrow")
    outcomes = schema_of(arrow)
    schema = ", ".join(f"`{field.name}` {_SQL[str(field.type)]}" for field in outcomes) + ", part int"

    def judged(batches: Iterator[Any]) -> Iterator[Any]:
        return _judged(as_json, batches)

    made = plan.work / "spark"
    shutil.rmtree(made, ignore_errors=True)
    (
        session.read.schema(_RECORDS)
        .parquet(_url(plan.work / "charts"))
        .select(*_COLUMNS)
        .where(f"part IN ({', '.join(map(str, parts))})")
        .repartition(len(parts), "part")
        .sortWithinPartitions("part", "patient", "kind", "json")
        .mapInArrow(judged, schema)
        .write.partitionBy("part")
        .parquet(_url(made))
    )
    for part in parts:
        files = list((made / f"part={part}").glob("*.parquet"))
        if not files:  # no order of it was to be judged
            files = [made / f"{part}.parquet"]
            package("pyarrow.parquet").write_table(outcomes.empty_table(), files[0])
        (file,) = files
        file.rename(part_file(plan.work, part))


_SQL = {"string": "string", "double": "double", "bool": "boolean", "int32": "int"}
"""The types of the outcomes, as Spark writes those of Arrow."""


_COLUMNS = ("part", "patient", "kind", "json")


def _url(folder: Path) -> str:
    """Of a folder of this machine, whatever file system the cluster has by default."""
    return f"file://{folder.resolve()}"


# In a worker ------------------------------------------------------------------------------------------------------


def _judged(plan: bytes, batches: Iterator[Any]) -> Iterator[Any]:
    """The outcomes of sorted records, with the part to which they belong."""
    study = _study(plan)
    arrow = package("pyarrow")
    schema = schema_of(arrow)
    with_part = schema.append(arrow.field("part", arrow.int32()))
    columns = (tuple(batch.column(name).to_pylist() for name in _COLUMNS) for batch in batches)
    records = (record for each in columns for record in zip(*each, strict=True))
    for part, of_part in itertools.groupby(records, key=lambda record: record[0]):
        rows = rows_from(each[1:] for each in of_part)
        for table in tables(schema, (outcome for row in rows for outcome in replay(row, study))):
            numbered = arrow.array([part] * table.num_rows, arrow.int32())
            yield from arrow.Table.from_arrays([*table.columns, numbered], schema=with_part).to_batches()


@lru_cache(maxsize=1)
def _study(plan: bytes) -> Study:
    """What a worker judges with: loaded once, since Spark keeps its workers."""
    return study_for(plan)[1]
