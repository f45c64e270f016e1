"""The command line: what is printed, the exit status, and how quickly it starts."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from cds_service.cards.model import EXTENSION
from cds_service.protocol.loader import load
from cds_service.terminology import valuesets
from tests.commands.called import BAD_INPUT, loaded_once, request_file
from tests.hooks.client import encoded
from tests.hooks.conformance import decoded, faults
from tests.scenarios.build import NOW, hook_request
from tests.timing import beside

AS_OF = ["--now", NOW.isoformat()]
NONE, WARNING, CRITICAL = ({"order": {"rate": rate}} for rate in ("0.2 mg/kg/h", "0.6 mg/kg/h", "1.2 mg/kg/h"))

pytestmark = pytest.mark.usefixtures("apart")


def test_the_version_is_that_of_the_package_and_of_the_protocol(run: Any) -> None:
    status, output, errors = run("--version")
    assert (status, errors) == (0, "")
    protocol = loaded_once().protocol
    assert output == f"ketamine-cds {version('ketamine-cds')}, protocol {protocol.id} {protocol.version}\n"


# check -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "status", "first"),
    [
        (NONE, 0, "No cards: there is no ketamine order, or nothing to say about it."),
        ({"order": {"drug": "7052 morphine", "dose": "5 mg"}}, 0, "No cards"),
        (WARNING, 1, "WARNING   Rate 0.6 mg/kg/h is above the protocol maximum 0.5"),
        (CRITICAL, 2, "CRITICAL  Rate 1.2 mg/kg/h is above the ceiling 1"),
    ],
)
def test_the_exit_status_of_check_is_the_worst_card(
    scenario: dict[str, Any], status: int, first: str, run: Any, tmp_path: Path
) -> None:
    found, output, errors = run("check", request_file(tmp_path, scenario), *AS_OF)
    assert (found, errors) == (status, "")
    assert output.startswith(first)


def test_check_shows_the_rule_and_what_is_offered(run: Any, tmp_path: Path) -> None:
    _, output, _ = run("check", request_file(tmp_path, WARNING), *AS_OF)
    assert "[rate-exceeds-protocol-max]" in output
    assert "-> Change to 0.5 mg/kg/h (35 mg/h)" in output
    assert "0.6 mg/kg/h x 70 kg = 42 mg/h" in output
    assert "**" not in output


def test_without_cards_check_says_what_it_judged(run: Any, tmp_path: Path) -> None:
    other = {"drug": "7052 morphine", "dose": "5 mg"}
    orders = {"orders": [{"rate": "0.2 mg/kg/h", "for": "24 h"}, other]}
    status, output, _ = run("check", request_file(tmp_path, orders), *AS_OF)
    _, *lines = output.rstrip().split("\n")
    assert status == 0
    assert lines[:2] == ["order: ketamine (MedicationRequest/o1): 0.2 mg/kg/h for 24 h", "  weight 70 kg, measured"]
    counted = {line.partition(":")[0].strip(): int(line.split()[-2]) for line in lines if line.endswith(" rules")}
    assert counted["clear"] > 50
    assert lines[-1] == "other drugs in the drafts: morphine"


def test_without_cards_check_names_the_rules_that_could_not_be_told(run: Any, tmp_path: Path) -> None:
    """Nobody recorded this man's encounter as an infusion clinic, and no site has given its code."""
    scenario = {"order": {"dose": "0.2 mg/kg"}, "patient": {"setting": "outpatient"}}
    _, output, _ = run("check", request_file(tmp_path, scenario), *AS_OF)
    assert "  could not tell: outpatient-home-use (not-judged: whether this is the setting" in output


def test_without_a_ketamine_order_check_says_what_else_it_read(run: Any, tmp_path: Path) -> None:
    _, output, _ = run("check", request_file(tmp_path, {"order": {"drug": "7052 morphine", "dose": "5 mg"}}), *AS_OF)
    assert output.split("\n")[1:] == ["other drugs in the drafts: morphine", ""]


def test_check_for_machines_prints_the_response_alone(run: Any, tmp_path: Path) -> None:
    status, output, _ = run("check", request_file(tmp_path, CRITICAL), "--json", *AS_OF)
    assert status == 2
    answer = decoded(output.encode())
    assert faults(answer) == []
    assert answer["cards"][0]["extension"][EXTENSION]["rules"][0]["id"] == "rate-exceeds-ceiling"


def test_a_dash_reads_standard_input(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    body = io.BytesIO(encoded(hook_request(CRITICAL)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(body, "utf-8"))
    assert run("check", "-", *AS_OF)[0] == 2


@pytest.mark.parametrize(
    ("now", "weight_is_old"),
    [("2026-11-22T10:00:00Z", False), ("2026-11-22T11:00:00+01:00", False), ("2026-11-22T10:00", False),
     ("2028-11-22", True)],
)  # fmt: skip
def test_now_is_the_moment_of_the_judgement(now: str, weight_is_old: bool, run: Any, tmp_path: Path) -> None:
    _, output, _ = run("check", request_file(tmp_path, WARNING), "--now", now)
    assert ("Weight is 730 days old" in output) == weight_is_old


@pytest.mark.parametrize(
    "now", ["yesterday", "2026-13-01", "10:00", "0001-01-01", "0001-01-01T00:00Z", "9999-12-31T23:59-14:00"]
)
def test_a_moment_that_is_none_is_refused(now: str, run: Any, tmp_path: Path) -> None:
    status, output, errors = run("check", request_file(tmp_path, WARNING), "--now", now)
    assert (status, output) == (BAD_INPUT, "")
    assert errors.startswith(f"ketamine-cds: --now {now}: ")


def test_without_now_the_clock_is_asked(run: Any, tmp_path: Path) -> None:
    """The request is of 2026: whatever the day is, the check runs."""
    assert run("check", request_file(tmp_path, CRITICAL))[0] in (1, 2)


def test_another_hook_than_the_requests_own_is_no_fault_of_the_request(run: Any, tmp_path: Path) -> None:
    status, output, _ = run("check", request_file(tmp_path, NONE), "--hook", "order-select", *AS_OF)
    assert (status, output.split("\n")[0]) == (0, "No cards: there is no ketamine order, or nothing to say about it.")
    without = request_file(tmp_path, {"order": {"drug": "7052 morphine", "dose": "5 mg"}}, hook="encounter-start")
    assert run("check", without, "--hook", "order-sign", *AS_OF)[0] == 0


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "explain"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the body is not a JSON object"),
        (b"{", "the body is not a JSON object"),
        (b"[]", "the body is not a JSON object"),
        (b"\xff\xfe", "the body is not a JSON object"),
        (b"[" * 100_000, "the body is not a JSON object"),
        (b"{}", "the request's hook is None; known are order-select, order-sign"),
        (b'{"hook": "order-view"}', "the request's hook is 'order-view'; known are order-select, order-sign"),
        (b'{"hook": ["order-sign"]}', "the request's hook is None; known are order-select, order-sign"),
        (b'{"hook": "order-sign"}', "hookInstance is missing or not a string; context is missing or not an object"),
    ],
)
def test_what_is_no_request_is_refused(command: str, content: bytes, says: str, run: Any, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(content)
    status, output, errors = run(command, path)
    assert (status, output) == (BAD_INPUT, "")
    assert errors.startswith(f"ketamine-cds: {path}: {says}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "explain", "example"])
def test_a_file_that_cannot_be_read_is_named(command: str, run: Any, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        status, output, errors = run(command, path)
        assert (status, output) == (BAD_INPUT, "")
        assert str(path) in errors


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["check"],
        ["check", "a", "b"],
        ["check", "a", "--hook", "encounter-start"],
        ["protocol"],
        ["serve", "x"],
    ],
)
def test_a_command_that_is_written_wrongly_is_not_taken_for_a_critical_card(arguments: list[str], run: Any) -> None:
    """argparse ends with 2, which of check says that a critical card was found."""
    status, output, errors = run(*arguments)
    assert (status, output) == (BAD_INPUT, "")
    assert errors.startswith("ketamine-cds")
    assert errors.count("\n") == 1
    assert "--help" in errors


def test_a_bad_setting_is_said(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KETAMINE_CDS_NO_SUCH", "1")
    status, _, errors = run("check", request_file(tmp_path, NONE), *AS_OF)
    assert status == BAD_INPUT
    assert errors.startswith("ketamine-cds: KETAMINE_CDS_NO_SUCH is not a setting")


def test_a_reader_that_stops_reading_is_no_crash(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cds_service.cli", "explain", str(request_file(tmp_path, CRITICAL))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == BAD_INPUT


# explain -----------------------------------------------------------------------------------------------------------


def _of_an_order() -> list[str]:
    """The rules that judge an order which is signed."""
    rules = load(valuesets.load()).rules.values()
    return [rule.id for rule in rules if rule.judges == "order" and "order-sign" in rule.hooks]


def test_explain_shows_how_every_rule_ended(run: Any, tmp_path: Path) -> None:
    status, output, _ = run("explain", request_file(tmp_path, CRITICAL), *AS_OF)
    assert status == 0
    assert all(rule in output for rule in _of_an_order())
    assert "weight 70 kg, measured, Observation/obs1" in output
    assert "FIRED critical" in output


def test_explain_for_machines_has_a_row_for_every_rule(run: Any, tmp_path: Path) -> None:
    status, output, _ = run("explain", request_file(tmp_path, CRITICAL), "--json", *AS_OF)
    assert status == 0
    explained = json.loads(output)
    (order,) = explained["orders"]
    assert order["order"] == "MedicationRequest/o1"
    assert [row["rule"] for row in order["rules"]] == _of_an_order()
    assert {row["status"] for row in order["rules"]} <= {"fired", "clear", "could-not-tell", "suppressed"}


def test_explain_says_what_was_left_out(run: Any, tmp_path: Path) -> None:
    request = hook_request(CRITICAL)
    del request["hookInstance"]
    path = tmp_path / "request.json"
    path.write_bytes(encoded(request))
    assert "note: hookInstance is missing or not a string" in run("explain", path, *AS_OF)[1]


def test_explain_without_ketamine_says_so(run: Any, tmp_path: Path) -> None:
    scenario = {"order": {"drug": "7052 morphine", "dose": "5 mg"}}
    expected = (0, "no ketamine or esketamine order is to be judged\n", "")
    assert run("explain", request_file(tmp_path, scenario), *AS_OF) == expected


# example -----------------------------------------------------------------------------------------------------------


def test_an_example_is_printed_as_of_now_and_can_be_checked(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, output, _ = run("example", request_file(tmp_path, CRITICAL))
    assert status == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(output.encode()), "utf-8"))
    status, output, _ = run("check", "-")
    assert status == 2
    assert "Could not check" not in output


# How quickly it starts ---------------------------------------------------------------------------------------------


HEAVY = ("flask", "fhir", "pydantic", "granian", "requests", "msgspec", "yaml", "jinja2", "cards")


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True, env={"PATH": ""}
    )


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["serve", "--help"], ["protocol", "--help"]])
def test_help_loads_nothing_that_it_does_not_need(arguments: list[str]) -> None:
    code = (
        "import sys; from cds_service import cli\n"
        f"try: cli.main({arguments!r})\n"
        "except SystemExit as end: assert not end.code\n"
        f"found = set({HEAVY!r}) & {{name.partition('.')[0] for name in sys.modules}}\n"
        "print('\\nloaded:', sorted(found))"
    )
    output = _python("-c", code).stdout
    assert output.startswith("usage: ketamine-cds")
    assert output.endswith("loaded: []\n")


@pytest.mark.timing
def test_help_takes_hardly_longer_than_python_itself() -> None:
    ours, bare = beside(lambda: _python("-m", "cds_service.cli", "--help"), lambda: _python("-c", "pass"))
    assert ours - bare < 0.1


def test_help_names_every_command() -> None:
    output = _python("-m", "cds_service.cli", "--help").stdout
    for command in ("serve", "check", "explain", "example", "protocol"):
        assert f"\n    {command} " in output
