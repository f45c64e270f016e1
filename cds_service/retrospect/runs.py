"""A replay from its export to its outcomes: in parts, over processes, and able to go on where it was stopped.

Everything that is not finished lies in the folder `work` of the report, with the charts of the patients, for its
owner alone; it is deleted at the end. A finished part is renamed into place, so that it is whole or not there.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context, parent_process
from pathlib import Path

import msgspec

from cds_service import collector
from cds_service.knowledge import Knowledge
from cds_service.retrospect import exports, judging, spark
from cds_service.retrospect.engines import connect, package, quoted
from cds_service.retrospect.gathering import Gathering
from cds_service.retrospect.judging import Outcome, Policy, Study
from cds_service.retrospect.part import judge_part, part_file
from cds_service.retrospect.plan import Plan, State, Stopped, digests, encoded, key_of, study_for, study_of

MEGABYTES = 512
"""What DuckDB may hold while it makes the report; what is more it spills into the folder `work`."""
_TO_READ, _FOR_EACH_THREAD, _FOR_LONG_LINES = 128, 64, 4
"""Megabytes that it may hold while it reads the export: a thread has room for four of the longest lines. Where an
export has many of them that is too little, and it is read once more with so many times of it."""
_ROWS_AT_ONCE = 20_000
"""Records that a thread holds before it writes them into their parts."""
FEWEST_PATIENTS = 5
SMALL = "(places with fewer than 5 patients)"
"""Stands for the name of a place that few patients share: by it they could be told."""
Progress = Callable[[str, int, int], None]
"""Told of a stage, how much of it is done, and of how much."""


def run(plan: Plan, policies: Sequence[Policy], progress: Progress) -> State:
    """Judge everything, or what is not judged yet; afterwards `plan.outcomes` is there. Raises Stopped.

    `policies` are those of the plan, loaded.
    """
    work = plan.work
    _begin(plan)
    export = exports.find(Path(plan.source), work / "plain")
    state = _state(plan, policies, export)
    if state.found is None:
        _gather(plan, policies, export, state, progress)
    found = state.found
    assert found is not None
    (work / "outcomes").mkdir(exist_ok=True)
    key_of(plan)  # before there are workers, each of which would make its own
    left = [part for part in range(found.parts) if not part_file(work, part).exists()]
    _judge(plan, policies, left, found.parts, progress)
    _join(plan)
    return state


def finish(plan: Plan) -> None:
    """Delete the charts; the report needs them no more."""
    shutil.rmtree(plan.work)


def _begin(plan: Plan) -> None:
    out = Path(plan.out)
    if plan.outcomes.exists() and not plan.work.exists():
        raise Stopped(f"{out} holds a report already; choose another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    plan.work.mkdir(mode=0o700, exist_ok=True)
    plan.work.chmod(0o700)


def _state(plan: Plan, policies: Sequence[Policy], export: exports.Export) -> State:
    """What was done before. Raises Stopped where it was of something else."""
    loaded, file = digests(policies), plan.work / exports.UNFINISHED
    digest = plan.digest(export.all, loaded)
    if file.exists():
        state = msgspec.json.decode(file.read_bytes(), type=State)
        if state.digest != digest:
            raise Stopped(
                f"{plan.out} holds an unfinished replay of other files or policies; "
                "choose another folder with --out, or delete it"
            )
        return state
    state = State(digest, loaded, types=sorted(export.types), notes=export.notes)
    _write(file, msgspec.json.encode(state))
    return state


def _write(file: Path, content: bytes) -> None:
    made = file.with_suffix(".part")
    made.write_bytes(content)
    made.rename(file)


def _gather(plan: Plan, policies: Sequence[Policy], export: exports.Export, state: State, progress: Progress) -> None:
    progress("selecting orders", 0, 1)
    knowledge = policies[0].knowledge
    asked = {query for policy in policies for query in policy.knowledge.queries}
    more = asked.difference(knowledge.queries)  # another policy may measure more
    if export.types:
        lacking = sorted({query.type for query in asked} - export.types)
        state.notes += [f"the export holds no {kind}" for kind in lacking]
    knowledge = replace(knowledge, queries=(*knowledge.queries, *more))
    failures = package("duckdb")
    try:
        _read(plan, knowledge, export, state, progress)
    except failures.Error as error:
        # DuckDB quotes the line that it could not read: of the message only its kind is passed on.
        raise Stopped(f"the export could not be read: {type(error).__name__}") from None
    _write(plan.work / exports.UNFINISHED, msgspec.json.encode(state))


def _read(plan: Plan, knowledge: Knowledge, export: exports.Export, state: State, progress: Progress) -> None:
    """Select and gather, with more memory where that is too little, and from repaired files where they need it."""
    failures = package("duckdb")
    megabytes, given = (most := _TO_READ + _FOR_EACH_THREAD * plan.workers), export
    while True:
        try:
            return _read_once(plan, knowledge, given, state, progress, megabytes)
        except failures.OutOfMemoryException:
            if megabytes > most:
                raise
            megabytes = most * _FOR_LONG_LINES
        except failures.InvalidInputException:  # bytes that are no UTF-8: every file is gone through once
            if given is not export:
                raise
            given = exports.repaired(export, plan.work / "plain")


def _read_once(
    plan: Plan, knowledge: Knowledge, export: exports.Export, state: State, progress: Progress, megabytes: int
) -> None:
    connection = connect(plan.work, plan.workers, megabytes)
    connection.execute(f"SET partitioned_write_flush_threshold = {_ROWS_AT_ONCE}")
    # A day wider, whatever the zone: the moment is looked at when the order is judged.
    since = (plan.since - timedelta(days=1)).date().isoformat() if plan.since else None
    until = (plan.until + timedelta(days=1)).date().isoformat() if plan.until else None
    gathered = Gathering(connection, export, knowledge, plan.work, since, until)
    try:
        found = gathered.select()
        kinds = gathered.kinds()
        for number, kind in enumerate(kinds):
            progress(f"gathering {kind}", number, len(kinds))
            gathered.gather(kind)
        progress("gathering", len(kinds), len(kinds))
        state.places = gathered.places()
        found.unreadable = gathered.unreadable()
        state.found = found
    finally:
        connection.close()


# Judging ----------------------------------------------------------------------------------------------------------


def _judge(plan: Plan, policies: Sequence[Policy], left: Sequence[int], parts: int, progress: Progress) -> None:
    done = parts - len(left)
    progress("judging", done, parts)
    if plan.engine == "spark":
        if left:
            _judge_on_spark(plan, left, parts, progress)
        return
    if plan.workers == 1 or len(left) < 2:
        study = study_of(plan, policies)
        with collector.settled():
            for part in left:
                judge_part(plan.work, study, part)
                done += 1
                progress("judging", done, parts)
        return
    try:
        with ProcessPoolExecutor(min(plan.workers, len(left)), get_context("spawn"), _load, (encoded(plan),)) as pool:
            for future in as_completed([pool.submit(_judge_in_worker, part) for part in left]):
                future.result()
                done += 1
                progress("judging", done, parts)
    except BrokenProcessPool:
        raise Stopped("a worker was ended; the same command goes on with what is not judged yet") from None


def _judge_on_spark(plan: Plan, left: Sequence[int], parts: int, progress: Progress) -> None:
    done = parts - len(left)
    for count in spark.judge(plan, left):
        done += count
        progress("judging", done, parts)


_LOADED: list[tuple[Plan, Study]] = []


def _load(plan: bytes) -> None:
    """For a worker, once."""
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    _LOADED.append(study_for(plan))


def _end_with_the_command() -> None:
    """A worker waits for work in vain, and holds its memory, where the command was killed outright."""
    if (command := parent_process()) is not None:
        command.join()
        os._exit(1)


def _judge_in_worker(part: int) -> None:
    plan, study = _LOADED[-1]
    judge_part(plan.work, study, part)


def _join(plan: Plan) -> None:
    """One file of all parts. A place that few patients share loses its name: it would tell who they are."""
    connection = connect(plan.work, plan.workers, MEGABYTES)
    parts = quoted(plan.work / "outcomes" / "*.parquet")
    made = plan.outcomes.with_suffix(".part")
    columns = ", ".join("ward_shown AS ward" if name == "ward" else f'"{name}"' for name in Outcome._fields)
    connection.execute(
        f"""COPY (
        WITH small AS (SELECT ward AS few FROM read_parquet({parts}) WHERE kind = '{judging.ORDER}' AND ward <> ''
          GROUP BY ward HAVING count(DISTINCT patient) < {FEWEST_PATIENTS})
        SELECT {columns} FROM (
          SELECT *, CASE WHEN ward IN (FROM small) THEN {quoted(SMALL)} ELSE ward END AS ward_shown
          FROM read_parquet({parts}))
        ) TO {quoted(made)} (FORMAT parquet, COMPRESSION zstd)"""
    )
    connection.close()
    made.rename(plan.outcomes)
