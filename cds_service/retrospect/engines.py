"""The packages that a replay needs and the service does not, or the sentence that says how to get them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from cds_service.errors import CdsError

_OF_SPARK = ("pyspark", "py4j", "pandas")


class NoEngine(CdsError):
    """What a replay needs is not installed."""


def package(name: str) -> Any:
    """One of the packages, or a module of it. Raises NoEngine."""
    try:
        return import_module(name)
    except ImportError as error:
        wanted = name.partition(".")[0]
        of, extras = ("replay --engine spark", "replay,spark") if wanted in _OF_SPARK else ("replay", "replay")
        raise NoEngine(
            f"{of} needs {wanted}, which is not installed: pip install 'ketamine-cds[{extras}]'"
        ) from error


def connect(work: Path, threads: int, megabytes: int) -> Any:
    """A DuckDB connection that keeps to its memory, and spills into the folder `work`."""
    connection = package("duckdb").connect(":memory:")
    spill = work / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    for setting in (
        f"threads = {threads}",
        f"memory_limit = '{megabytes}MB'",
        f"temp_directory = {quoted(spill)}",
        "preserve_insertion_order = false",
        "enable_progress_bar = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
    ):
        connection.execute(f"SET {setting}")
    return connection


def quoted(text: object) -> str:
    """A text as SQL writes it."""
    return "'" + str(text).replace("'", "''") + "'"


def quoted_list(texts: Any) -> str:
    return "[" + ", ".join(map(quoted, texts)) + "]"
