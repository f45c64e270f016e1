"""Starts a real HAPI FHIR server (R4, JPA, in memory) for the tests and loads charts into any FHIR server."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import charts
from tests.servers.ports import unused_port
from tests.servers.process import FhirServerError, fhir_server, locked

_RECIPE = Path(__file__).with_suffix("")
_BUILD = Path(__file__).parents[2] / "build" / "hapi"
_CLASSPATH = _BUILD / "classpath.txt"
_RESOLVED_POM = _BUILD / "pom.xml"

_LEAST_JAVA = 17
_RESOLVE_SECONDS = 900  # on a slow line: 168 MiB of jars, once
_LOAD_SECONDS = 120

# Half the memory and start time of the defaults; dates without a zone mean the same on every machine.
_JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC")

_FHIR_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?")
_MAY_LIE_AHEAD = frozenset({"end", "abatementDateTime", "dueDate"})

Bundle = dict[str, Any]


@contextmanager
def hapi_server(
    page_size: int = 10,
    max_page_size: int | None = None,
    expands_hierarchies: bool = False,
    exports: bool = False,
) -> Iterator[str]:
    """Run an empty HAPI FHIR server on a free port of 127.0.0.1; yield its base URL, no slash at the end.

    A page holds `page_size` entries, and at most `max_page_size` when a search asks for more by `_count`;
    without `max_page_size` no `_count` gets past `page_size`, so that a client meets as many pages as the
    test wants. With `expands_hierarchies` it is a terminology server that finds the codes below a code, with
    `exports` it has Bulk Data's $export.
    Raises FhirServerError when HAPI cannot run here (see `why_not`) or does not come up.
    """
    if reason := why_not():
        raise FhirServerError(reason)
    port = unused_port()
    arguments = [port, page_size, page_size if max_page_size is None else max_page_size]
    arguments += [expands_hierarchies, exports]
    launcher = [str(_java()), *_JVM_OPTIONS, "-cp", _classpath(), str(_RECIPE / "HapiServer.java")]
    with fhir_server("HAPI", [*launcher, *map(str, arguments)], _BUILD, port) as base_url:
        yield base_url


def why_not() -> str | None:
    """Say why HAPI cannot run on this machine, for a skip message; None when it can."""
    java = _java()
    if java is None:
        return f"HAPI needs a JDK {_LEAST_JAVA} or later: no java in JAVA_HOME or on the PATH"
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False).stdout
    compiler = re.search(r"^jdk\.compiler@(\d+)", modules, re.MULTILINE)
    # A runtime without the compiler cannot start from source; Java 8 does not know the question.
    if compiler is None:
        return f"HAPI needs a JDK {_LEAST_JAVA} or later: {java} is older or has no compiler"
    if int(compiler[1]) < _LEAST_JAVA:
        return f"HAPI needs a JDK {_LEAST_JAVA} or later: {java} is version {compiler[1]}"
    if shutil.which("mvn") is None and not _classpath_is_current():
        return "HAPI needs Maven once, to fetch its jars: no mvn on the PATH"
    return None


def needed() -> None:
    """Skip the tests that need HAPI where it cannot run; KETAMINE_TEST_REQUIRE_HAPI=1, as in CI, fails them."""
    if reason := why_not():
        (pytest.fail if os.environ.get("KETAMINE_TEST_REQUIRE_HAPI") == "1" else pytest.skip)(reason)


def load_transaction(base_url: str, bundle: Bundle, now: datetime | None = None) -> Bundle:
    """Post a transaction Bundle and return the server's transaction-response Bundle, entry for entry.

    With `now` (aware), the bundle's dates are moved first, see `move_dates`. Raises FhirServerError when the
    server refuses the transaction.
    """
    if now is not None:
        bundle = move_dates(bundle, now)
    response = requests.post(
        base_url, json=bundle, headers={"Content-Type": "application/fhir+json"}, timeout=_LOAD_SECONDS
    )
    if response.status_code != requests.codes.ok:
        raise FhirServerError(
            f"{base_url} answered a transaction with {response.status_code}: {response.text[:1000]}"
        )
    answer: Bundle = response.json()
    return answer


def load_sandbox_patient(base_url: str, path: Path, now: datetime | None = None) -> str:
    """Load the transaction Bundle in the file at `path`, which holds one Patient; return its new id.

    Dates move as in `load_transaction`, which also names what is raised.
    """
    bundle: Bundle = json.loads(charts.read(path))
    answer = load_transaction(base_url, bundle, now)
    for sent, received in zip(bundle["entry"], answer["entry"], strict=True):
        if sent["resource"]["resourceType"] == "Patient":
            # Patient/ID/_history/VERSION, which other servers than HAPI give as an absolute URL.
            return str(received["response"]["location"]).split("Patient/")[1].split("/")[0]
    raise FhirServerError(f"{path.name} holds no Patient; give the transaction Bundle of one patient")


def move_dates(bundle: Bundle, now: datetime) -> Bundle:
    """Copy `bundle`, every date moved by the same whole days: its newest event lies in the 24 h before `now`.

    Intervals, ages at an event, times of day and zones stay. Ends of periods, abatements and due dates may
    lie ahead of `now`, as they lay ahead of the last encounter.
    """
    newest = max((_instant(text) for key, text in _dates(bundle) if key not in _MAY_LIE_AHEAD), default=now)
    shift = timedelta(days=(now - newest).days)

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [moved(inner) for inner in value]
        if isinstance(value, str) and (found := _FHIR_DATE.fullmatch(value)):
            return f"{date.fromisoformat(found[1]) + shift}{value[10:]}"
        return value

    copy: Bundle = moved(bundle)
    return copy


def _dates(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each full date or dateTime below `value`, with the name of its element."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _dates(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _dates(inner, key)
    elif isinstance(value, str) and _FHIR_DATE.fullmatch(value):
        yield key, value


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")


def _classpath() -> str:
    """Return HAPI's classpath, resolved by Maven if it is missing, of another pom.xml, or lacks jars."""
    if not _classpath_is_current():
        # Parallel test workers arrive here together, and Maven's repository bears one writer at a time.
        with locked(_BUILD):
            if not _classpath_is_current():
                _resolve_classpath()
    return _CLASSPATH.read_text(encoding="utf-8").strip()


def _resolve_classpath() -> None:
    # Its copy of pom.xml vouches for the classpath, so it goes first and comes back last.
    _RESOLVED_POM.unlink(missing_ok=True)
    goal = ["dependency:build-classpath", "-Dmdep.includeScope=runtime", f"-Dmdep.outputFile={_CLASSPATH}"]
    command = ["mvn", "-q", "-B", "-f", str(_RECIPE / "pom.xml"), *goal]
    maven = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_RESOLVE_SECONDS)
    if maven.returncode != 0:
        raise FhirServerError(f"Maven could not fetch HAPI's jars (is it offline?):\n{maven.stdout[-3000:]}")
    shutil.copyfile(_RECIPE / "pom.xml", _RESOLVED_POM)


def _classpath_is_current() -> bool:
    if not (_CLASSPATH.is_file() and _RESOLVED_POM.is_file()):
        return False
    if _RESOLVED_POM.read_bytes() != (_RECIPE / "pom.xml").read_bytes():
        return False
    jars = _CLASSPATH.read_text(encoding="utf-8").strip().split(os.pathsep)
    return all(Path(jar).is_file() for jar in jars)
