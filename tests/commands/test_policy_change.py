"""From a draft to a signature: the effect of a change is shown, and only what was replayed is signed for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from cds_service import signature
from cds_service.cli import main
from cds_service.commands import effect, protocol, signing
from cds_service.knowledge import Knowledge
from cds_service.knowledge import load as load_knowledge
from cds_service.retrospect import results
from cds_service.retrospect.policies import digest_of
from cds_service.scenarios import files
from tests.retrospect import written
from tests.retrospect.written import write_report

RATE = "rate-exceeds-protocol-max"
Run = Callable[..., tuple[int, str, str]]


def _overlay(folder: Path, name: str, value: str) -> Path:
    file = folder / name
    owned = "owner: P&T, date: 2026-11-01, reason: a trial"
    file.write_text(f"site: Trial\nlimits: [{{limit: rate-warn, value: {value}, {owned}}}]\n", "utf-8")
    return file


_LOADED: dict[str, Knowledge] = {}


@pytest.fixture(autouse=True)
def loaded_once(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol takes seconds to load, and the same text gives the same policy."""

    def load(base: str, overlay: str | None = None, *given: Any) -> Knowledge:
        if overlay is None:
            return knowledge
        text = Path(overlay).read_text("utf-8")
        if text not in _LOADED:
            _LOADED[text] = load_knowledge(base, overlay, *given)
        return _LOADED[text]

    for module in (protocol, effect, signing):
        monkeypatch.setattr(module, "load", load)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object) -> tuple[int, str, str]:
        status = main([str(each) for each in arguments])
        told = capsys.readouterr()
        return status, told.out, told.err

    return command


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return _overlay(tmp_path, "new.yaml", "0.6")


@pytest.fixture
def report(tmp_path: Path, new: Path, knowledge: Knowledge) -> Path:
    """Of a replay of the shipped protocol and of `new`."""
    old = written.OLD | {"digest": _digest(knowledge)}
    changed = {"digest": _digest(signing.load("http://x.example", str(new))), "sha256": digest_of(str(new))}
    return write_report(tmp_path / "report", [old, written.NEW | changed])


def _digest(knowledge: Knowledge) -> str:
    return signature.digest(knowledge)


# The effect -------------------------------------------------------------------------------------------------------


def test_the_effect_of_an_overlay_is_that_of_its_replay(run: Run, new: Path, report: Path) -> None:
    status, said, _ = run("protocol", "diff", new, "--replay", report)
    assert status == 0
    assert "+limit rate-warn: 0.5 -> 0.6 mg/kg/h" in said
    assert "effect on 40 orders of the replay in" in said
    assert "interruptive cards for 100 orders: 30.0 -> 12.5" in said
    assert f"       7 {RATE}: fired warning -> clear" in said
    assert "      40 duration-missing: clear -> switched off" in said


def test_a_replay_of_other_files_shows_no_effect_of_these(run: Run, tmp_path: Path, report: Path) -> None:
    other = _overlay(tmp_path, "other.yaml", "0.7")
    status, said, errors = run("protocol", "diff", other, "--replay", report)
    assert status == 3
    assert "the replay was of other files" in errors
    assert "effect on" not in said


@pytest.fixture
def few_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one rule, that the test need not judge all of them."""
    read = files.read
    monkeypatch.setattr(files, "read", lambda file: read(file) if file.parent.name == RATE else [])


@pytest.mark.usefixtures("few_scenarios")
def test_without_a_replay_the_scenarios_show_the_effect_from_one_overlay_to_another(
    run: Run, tmp_path: Path, new: Path
) -> None:
    stricter = _overlay(tmp_path, "stricter.yaml", "0.3")
    status, said, _ = run("protocol", "diff", new, stricter)
    assert status == 0
    assert "-limit rate-warn: 0.5 -> 0.6 mg/kg/h\n+limit rate-warn: 0.5 -> 0.3 mg/kg/h" in said
    assert "@@" not in said
    assert "which are no sample of any hospital's" in said
    assert f"{RATE}: clear -> fired warning" in said
    status, said, _ = run("protocol", "diff", stricter, stricter)
    assert "the text is the same" in said
    assert "every rule ends alike at each of them" in said


# The signature ----------------------------------------------------------------------------------------------------


def _signed(run: Run, folder: Path, *given: object) -> Path:
    status, page, errors = run("protocol", "sign-off", *given)
    assert (status, errors) == (0, "")
    file = folder / "signed.md"
    file.write_text(page, "utf-8")
    return file


def test_the_page_names_owner_date_and_the_digest_of_the_replay(
    run: Run, tmp_path: Path, new: Path, report: Path
) -> None:
    given = ("--overlay", new, "--replay", report, "--owner", "Dr A. Example | P&T", "--date", "2026-11-20")
    page = _signed(run, tmp_path, *given).read_text("utf-8")
    assert "| owner | `Dr A. Example \\| P&T` | |" in page
    assert "| owned since | `2026-11-20` | |" in page
    assert f"| replay | `{results.opened(report).digest}` | |" in page


def test_a_signed_page_stands_for_the_files_that_were_replayed(
    run: Run, tmp_path: Path, new: Path, report: Path
) -> None:
    signed = _signed(run, tmp_path, "--overlay", new, "--replay", report, "--owner", "Dr A. Example")
    status, said, _ = run("protocol", "sign-off", "--overlay", new, "--replay", report, "--check", signed)
    assert (status, said.startswith("the page stands for ketamine")) == (0, True)


def test_a_page_is_written_to_a_file_and_none_is_overwritten(run: Run, tmp_path: Path, new: Path) -> None:
    file = tmp_path / "page.md"
    assert run("protocol", "sign-off", "--overlay", new, "--owner", "A", "--out", file) == (0, "", "")
    assert "| owner | `A` | |" in file.read_text("utf-8")
    assert run("protocol", "sign-off", "--overlay", new, "--out", file)[0] == 3


def test_a_page_is_not_made_for_another_replay(run: Run, tmp_path: Path, report: Path) -> None:
    other = _overlay(tmp_path, "other.yaml", "0.7")
    status, page, errors = run("protocol", "sign-off", "--overlay", other, "--replay", report, "--owner", "A")
    assert (status, page) == (3, "")
    assert "the replay was of other files" in errors


def test_a_signature_does_not_stand_for_an_overlay_that_was_changed_since(
    run: Run, tmp_path: Path, new: Path, report: Path
) -> None:
    signed = _signed(run, tmp_path, "--overlay", new, "--replay", report, "--owner", "Dr A. Example")
    new.write_text(new.read_text("utf-8").replace("0.6", "0.7"), "utf-8")
    status, _, errors = run("protocol", "sign-off", "--overlay", new, "--replay", report, "--check", signed)
    assert (status, "the replay was of other files" in errors) == (3, True)
    status, said, _ = run("protocol", "sign-off", "--overlay", new, "--check", signed)
    assert status == 1
    assert "the page was signed for digest" in said


def test_a_signature_does_not_stand_for_another_report_of_the_same_files(
    run: Run, tmp_path: Path, new: Path, report: Path
) -> None:
    signed = _signed(run, tmp_path, "--overlay", new, "--replay", report, "--owner", "Dr A. Example")
    again = write_report(tmp_path / "again", [written.OLD, written.NEW | _new_of(report)], orders=41)
    status, said, _ = run("protocol", "sign-off", "--overlay", new, "--replay", again, "--check", signed)
    assert status == 1
    assert "the page was signed for replay" in said


def _new_of(report: Path) -> dict[str, str]:
    (new,) = results.opened(report).new
    return {"digest": new.digest, "sha256": new.sha256}


def test_a_table_of_the_report_that_was_changed_is_no_evidence(
    run: Run, tmp_path: Path, new: Path, report: Path
) -> None:
    (report / "transitions.csv").write_text("rule,policy,was,becomes,changed,by_switch\n")
    status, page, errors = run("protocol", "sign-off", "--overlay", new, "--replay", report, "--owner", "A")
    assert (status, page) == (3, "")
    assert "was changed after the report was written" in errors


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--replay", "report"), "--owner"),
        (("--date", "2026-11-20"), "--owner"),
        (("--owner", "A", "--date", "yesterday"), "not a date"),
        (("--owner", "A", "--date", str(date.today() + timedelta(days=2))), "nobody can have signed then yet"),
        (("--owner", "A", "--replay", "nowhere"), "holds no report"),
    ],
)
def test_a_signature_that_lacks_something_is_refused(
    run: Run, given: tuple[str, ...], says: str, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(report.parent)
    status, page, errors = run("protocol", "sign-off", "--overlay", "new.yaml", *given)
    assert (status, page) == (3, "")
    assert says in errors


def test_a_page_that_was_signed_by_hand_is_compared_by_its_digest_as_before(
    run: Run, tmp_path: Path, new: Path
) -> None:
    signed = _signed(run, tmp_path, "--overlay", new)
    assert "| owner |" not in signed.read_text("utf-8")
    assert run("protocol", "sign-off", "--overlay", new, "--check", signed)[0] == 0
    assert run("protocol", "sign-off", "--check", signed)[0] == 1
