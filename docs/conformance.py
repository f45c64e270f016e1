"""docs/conformance.md: each requirement of CDS Hooks 2.0 for a service, its tests, and how they end."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "tests" / "conformance"
PARTS = tuple(f"test_{name}.py" for name in ("discovery", "calls", "cards", "trust"))
"""The files whose tests are of requirements, and run against any URL; the others are about the suite itself."""
_TITLES = {"passed": "passed", "skipped": "not used", "failed": "**failed**"}
_WORST_FIRST = ("failed", "passed", "skipped")


@dataclass(frozen=True)
class Requirement:
    """A row of requirements.csv. `why_not` says why there is no test: it binds another, or is not done here."""

    id: str
    level: str
    binds: str
    says: str
    why_not: str


@dataclass(frozen=True)
class Change:
    """A row of version_3.csv: what 3.0.0 changes, and whether the service does it (done, not used, not ours)."""

    change: str
    kind: str
    binds: str
    here: str
    how: str
    test: str


@dataclass(frozen=True)
class Ended:
    """How one test ended. `why`: what the service does not use, where it was skipped."""

    test: str
    outcome: str
    why: str


class Untested(Exception):
    """A requirement that has neither a test nor a reason, or both."""


def page() -> str:
    """The page. It runs the suite against a service of its own."""
    return "\n".join(_lines(requirements(), _run())) + "\n"


def requirements() -> list[Requirement]:
    with (SUITE / "requirements.csv").open(encoding="utf-8", newline="") as file:
        return [Requirement(**row) for row in csv.DictReader(file)]


def _run() -> Mapping[str, Sequence[Ended]]:
    """How the tests of each requirement ended."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment |= {"KETAMINE_TEST_CONFORMANCE_REPORT": str(report)}
        environment.pop("KETAMINE_TEST_CONFORMANCE_URL", None)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command += [str(SUITE / part) for part in PARTS]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if not report.exists():
            raise RuntimeError(f"the suite did not run:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        lines = [json.loads(line) for line in report.read_text("utf-8").splitlines()]
    found: dict[str, list[Ended]] = defaultdict(list)
    for line in lines:
        for each in line["requirements"]:
            found[each].append(Ended(_name(line["test"]), line["outcome"], line["why"]))
    return found


def _name(node: str) -> str:
    return re.sub(r"\[.*", "", node.rpartition("::")[2]).removeprefix("test_").replace("_", " ")


def _lines(rows: Sequence[Requirement], ended: Mapping[str, Sequence[Ended]]) -> Iterator[str]:
    strange = set(ended) - {row.id for row in rows}
    faults = [row.id for row in rows if bool(row.why_not) == (row.id in ended)]
    if strange or faults:
        raise Untested(f"without a row: {sorted(strange)}; with neither a test nor a reason, or both: {faults}")
    tested = [row for row in rows if row.id in ended]
    yield "# Conformance with CDS Hooks 2.0\n"
    yield (
        "Every requirement that HL7's requirement sheet for CDS Hooks 2.0 and its hook library has for a service, in "
        "words of our own, with the tests that are of it (`tests/conformance/`) and how they end against this "
        "service. Written by `make docs`, which runs them.\n"
    )
    yield (
        "`make conformance URL=https://cds.example.org` runs the same tests against any service: "
        "`REQUESTS=folder` sends requests of your own (a JSON file each) in the place of our examples, `KEY=file` "
        "(a private JSON web key with `kid` and `alg`) and `ISSUER=…` sign the calls.\n"
    )
    yield (
        "The twelve FHIRPath invariants of the specification (`tests/conformance/invariants.py`): those of responses "
        "run over every response that any test of this project gets, those of requests and of feedback over what the "
        "suite sends.\n"
    )
    yield "| | requirements | tested | not used | with a reason |\n|---|---:|---:|---:|---:|"
    for level in ("SHALL", "SHALL NOT", "SHOULD", "SHOULD NOT", "MAY", "DEPRECATED"):
        of = [row for row in rows if row.level == level]
        unused = [row for row in of if row.id in ended and _outcome(ended[row.id]) == "skipped"]
        done = sum(row.id in ended for row in of) - len(unused)
        yield f"| {level} | {len(of)} | {done} | {len(unused)} | {len(of) - done - len(unused)} |"
    yield "\n## Tested\n"
    yield (
        "*Not used*: the requirement is about something that this service does not send; the test looks for it in "
        "every answer.\n"
    )
    yield "| id | level | requirement | test | result |\n|---|---|---|---|---|"
    for row in tested:
        tests = "<br>".join(dict.fromkeys(each.test for each in ended[row.id]))
        yield f"| {row.id} | {row.level} | {row.says} | {tests} | {_result(ended[row.id])} |"
    yield "\n## Not tested, and why\n"
    yield "| id | level | binds | requirement | reason |\n|---|---|---|---|---|"
    for row in rows:
        if row.id not in ended:
            yield f"| {row.id} | {row.level} | {row.binds} | {row.says} | {row.why_not} |"
    yield from _version_3()


def version_3() -> list[Change]:
    with (SUITE / "version_3.csv").open(encoding="utf-8", newline="") as file:
        return [Change(**row) for row in csv.DictReader(file)]


def _version_3() -> Iterator[str]:
    yield "\n## CDS Hooks 3.0.0\n"
    yield (
        "What the continuous build of 3.0.0 changes (build of 2026-10-22; the "
        "list of changes in the [repository](https://github.com/HL7/cds-hooks), `input/pagecontent/changes.md`, the "
        "[specification](https://build.fhir.org/ig/HL7/cds-hooks/) and the "
        "[comparison with the ballot](https://build.fhir.org/ig/HL7/cds-hooks/comparison-v3.0.0-ballot/"
        "cs-1-non-adherence-reason-codes-non-adherence-reason-codes.html) were read). It is not published yet, and "
        "the service speaks 2.0. A client of 3.0.0 gets the same answers.\n"
    )
    yield "| change | kind | binds | here | how, or why not | test |\n|---|---|---|---|---|---|"
    for row in version_3():
        test = f"`{row.test}`" if row.test else ""
        yield f"| {row.change} | {row.kind} | {row.binds} | {row.here} | {row.how} | {test} |"


def _outcome(tests: Sequence[Ended]) -> str:
    """Failed where one failed; not used where none had anything to look at."""
    outcomes = {each.outcome for each in tests}
    return next(each for each in _WORST_FIRST if each in outcomes)


def _result(tests: Sequence[Ended]) -> str:
    outcome = _outcome(tests)
    if outcome != "skipped":
        return _TITLES[outcome]
    return f"{_TITLES[outcome]}: {'; '.join(dict.fromkeys(each.why for each in tests))}"
