"""Whatever judges says the same: processes of one machine, Apache Spark, and both after one another."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

from cds_service import cli
from cds_service.fhir import lenient
from cds_service.retrospect import gathering, runs, spark, synthetic
from cds_service.retrospect.engines import NoEngine
from cds_service.retrospect.judging import Policy
from cds_service.retrospect.plan import Plan
from cds_service.retrospect.policies import Codes, named
from cds_service.scenarios.request import hook_request
from tests.retrospect.conftest import write_export
from tests.waiting import until

PATIENTS_A_PART = 4
COMMAND = (
    "import sys; from cds_service import cli; from cds_service.retrospect import gathering; "
    f"gathering.PATIENTS_A_PART = {PATIENTS_A_PART}; sys.exit(cli.main(sys.argv[1:]))"
)
"""The command with parts that are small enough for a test."""


QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For a virtual machine that lives for seconds."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, overlay: Path) -> Plan:
    """An export with orders that have no date, are twice there, cannot be read, or stand in a hook request."""
    folder = tmp_path_factory.mktemp("engines")
    resources = [dict(resource) for each in synthetic.signed(60, 7) for resource in each.exported]
    orders = [each for each in resources if each["resourceType"] == "MedicationRequest"]
    resources += [{**orders[0], "id": "undated", "authoredOn": None}, orders[1], {**orders[2], "id": None}]
    export = write_export(folder / "export", resources)
    with (export / "Condition.ndjson").open("ab") as file:
        file.write(b'{"resourceType":"Condition","subject":{"reference":"Patient/syn-j0"},"code":\n')
    sent = hook_request({"name": "x", "patient": {}, "order": {"rate": "0.55 mg/kg/h"}}, synthetic.END)
    with (export / "requests.ndjson").open("ab") as file:
        file.write(lenient.encode(sent) + b"\n{}\n")
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_bytes(base64.b64encode(os.urandom(48)))
    return Plan(
        source=str(export),
        out=str(folder / "local"),
        policies=named(None, [str(overlay)]),
        codes=Codes("http://127.0.0.1:8000", None, ()),
        as_of="order",
        now=synthetic.END,
        key_file=str(folder / "key"),
    )


@pytest.fixture(scope="module")
def judged(plan: Plan, policies: list[Policy]) -> Path:
    """The outcomes of the processes of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "PATIENTS_A_PART", PATIENTS_A_PART)
        runs.run(plan, policies, lambda *_: None)
    return plan.outcomes


def command(plan: Plan, out: Path, *options: str) -> list[str]:
    overlay = str(plan.policies[1].overlay)
    given = ["replay", plan.source, "--overlay", overlay, "--out", str(out), "--workers", "2", *options]
    return [sys.executable, "-c", COMMAND, *given]


def environment(plan: Plan, **more: str) -> Mapping[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KETAMINE_CDS_")}
    return {**ours, "KETAMINE_CDS_STORE_KEY_FILE": str(plan.key_file), **more}


def differing(one: Path, other: Path) -> list[tuple[Any, ...]]:
    """The rows that are in one file and not, or not as often, in the other."""
    both = f"SELECT * FROM read_parquet('{one}')", f"SELECT * FROM read_parquet('{other}')"
    return [
        row for a, b in (both, both[::-1]) for row in duckdb.sql(f"({a}) EXCEPT ALL ({b}) ORDER BY ALL").fetchall()
    ]


def needs_spark() -> None:
    """Skip the tests that need Spark where it cannot run; KETAMINE_TEST_REQUIRE_SPARK=1, as in CI, fails them."""
    try:
        spark.check()
    except NoEngine as error:
        must = os.environ.get("KETAMINE_TEST_REQUIRE_SPARK") == "1"
        (pytest.fail if must else pytest.skip)(f"{error}; in a checkout: make spark")


def test_spark_says_of_every_order_what_one_machine_says(plan: Plan, judged: Path, tmp_path: Path) -> None:
    needs_spark()
    ended = subprocess.run(
        command(plan, tmp_path / "spark", "--engine", "spark"),
        env=environment(plan, JDK_JAVA_OPTIONS=QUICK_START),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert differing(judged, tmp_path / "spark" / "outcomes.parquet") == []
    assert not (tmp_path / "spark" / "work").exists()
    assert duckdb.sql(f"SELECT count(*) FROM read_parquet('{judged}')").fetchall()[0][0] > 1000


def test_a_command_that_was_killed_goes_on_without_a_lost_or_a_double_row(
    plan: Plan, judged: Path, policies: list[Policy], tmp_path: Path
) -> None:
    """SIGKILL while two processes judge: they end as well, and the same command does what is left."""
    out = tmp_path / "report"
    with subprocess.Popen(command(plan, out), env=environment(plan), stderr=subprocess.DEVNULL) as running:
        until(lambda: len(list((out / "work" / "outcomes").glob("*.parquet"))) > 0)
        workers = children(running.pid)
        running.send_signal(signal.SIGKILL)
    assert len(workers) >= 2
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    finished = {each.name for each in (out / "work" / "outcomes").glob("*.parquet")}
    assert finished
    assert not (out / "outcomes.parquet").exists(), "it was over before it was killed"
    untouched = {name: (out / "work" / "outcomes" / name).stat().st_mtime_ns for name in finished}
    went_on = replace(plan, out=str(out))
    runs.run(went_on, policies, lambda *_: None)
    assert differing(judged, went_on.outcomes) == []
    assert {name: (out / "work" / "outcomes" / name).stat().st_mtime_ns for name in finished} == untouched


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pyspark", "replay --engine spark needs pyspark, which is not installed: "),
        ("pandas", "replay --engine spark needs pandas, which is not installed: "),
    ],
)
def test_without_its_packages_spark_says_what_to_install(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", ModuleType("pyspark"))
    monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["replay", str(tmp_path), "--out", str(tmp_path / "out"), "--engine", "spark"]) == 3
    assert f"{says}pip install 'ketamine-cds[replay,spark]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("home", "says"), [(True, "there is no java in JAVA_HOME"), (False, "there is no java on the PATH")]
)
def test_without_java_spark_says_so_before_anything_is_read(
    home: bool, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pyspark", "pandas"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if home:
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert cli.main(["replay", str(tmp_path), "--out", str(tmp_path / "out"), "--engine", "spark"]) == 3
    error = capsys.readouterr().err
    assert "needs a Java runtime of version 17 or later" in error
    assert says in error
    assert not (tmp_path / "out").exists()


def test_a_cluster_is_named_only_for_spark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", str(tmp_path), "--out", str(tmp_path / "out"), "--master", "yarn"]) == 3
    assert "--master goes with --engine spark" in capsys.readouterr().err


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(each.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid:
            found.append(int(each.parent.name))
    return found
