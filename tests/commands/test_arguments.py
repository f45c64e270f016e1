"""Whatever is written on the command line, wrongly or by a slip: one line that names it, and exit code 3."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cds_service import cli
from cds_service.commands import examples, given
from cds_service.commands.refused import Refused
from tests.commands.called import BAD_INPUT

ROOT = Path(__file__).parents[2]
OVERLAY = str(ROOT / "examples" / "overlay.yaml")
LIDOCAINE = ROOT / "examples" / "protocols" / "lidocaine"
NOT_UTF_8 = "title: 8,33 µg/kg/min\n".encode("cp1252")
"""As an editor that knows nothing of UTF-8 keeps it."""

Path_ = tuple[str, ...]


def _commands(parser: argparse.ArgumentParser, path: Path_ = ()) -> Iterator[tuple[Path_, argparse.ArgumentParser]]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for name, each in action.choices.items():
            yield from _commands(each, (*path, name))
    if not below:
        yield path, parser


def _texts() -> Iterator[Any]:
    """Every argument of every command that takes a text, with the call in which it is empty."""
    for path, parser in _commands(cli.parser()):
        taking = [each for each in parser._actions if each.nargs != 0 and not each.choices]
        for empty in (each for each in taking if each.type not in (int, float)):
            call = list(path)
            for each in taking:
                if each.required or each is empty:
                    call += [*each.option_strings[:1], "" if each is empty else "x"]
            yield pytest.param(call, empty, id=" ".join((*path, empty.dest)))


@pytest.mark.parametrize(("call", "empty"), list(_texts()))
def test_an_empty_argument_is_a_variable_that_is_not_set_and_never_the_present_folder(
    call: list[str], empty: argparse.Action, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, output, errors = run(*call)
    assert (status, output, list(tmp_path.iterdir())) == (BAD_INPUT, "", [])
    assert "it is empty" in errors
    assert (empty.option_strings or [str(empty.metavar or empty.dest)])[0] in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (["check", "--jsno", "x"], "ketamine-cds check: --jsno not understood; did you mean --json?"),
        (["replay", "x", "--out", "y", "--agianst=z"], "did you mean --against?"),
        (["protocol", "show", "rate-warm"], "there is no rule and no limit rate-warm; did you mean rate-warn?"),
        (["terminology", "check", "--tx", "http://127.0.0.1:9", "--set", "dx_siezure"], "did you mean dx_seizure?"),
        (["protocol", "test", "no-such-folder"], "no-such-folder: there is no such folder"),
    ],
)
def test_a_slip_is_answered_by_the_nearest_name(call: list[str], says: str, run: Any) -> None:
    status, output, errors = run(*call)
    assert (status, output) == (BAD_INPUT, "")
    assert says in errors
    assert errors.count("\n") == 1


FILES: dict[str, list[str]] = {
    "check": ["check", "FILE"],
    "explain": ["explain", "FILE"],
    "example": ["example", "FILE"],
    "validate": ["protocol", "validate", "FILE"],
    "diff": ["protocol", "diff", OVERLAY, "FILE"],
    "show": ["protocol", "show", "--overlay", "FILE"],
    "a page to check": ["protocol", "sign-off", "--check", "FILE"],
    "a page's overlay": ["protocol", "sign-off", "--overlay", "FILE", "--owner", "P. Harmacist"],
    "replay's new policy": ["replay", str(ROOT / "examples"), "--out", "never", "--overlay", "FILE"],
    "replay's old policy": ["replay", str(ROOT / "examples"), "--out", "never", "--against", "FILE"],
    "export's token": ["export", "http://127.0.0.1:9", "--into", "never", "--token-file", "FILE"],
    "export's key": ["export", "http://127.0.0.1:9", "--into", "never", "--client", "c", "--key", "FILE"],
    "simulate's token": ["simulate", "--patient", "p", "--order", "1 mg IV", "--fhir-token-file", "FILE"],
    "simulate's key": ["simulate", "--patient", "p", "--order", "1 mg IV", "--issuer", "i", "--key", "FILE"],
}


@pytest.mark.parametrize("call", list(FILES.values()), ids=list(FILES))
def test_a_file_that_is_not_there_or_a_folder_is_said_in_one_sentence(
    call: list[str], run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, why in (("missing.json", "No such file or directory"), ("folder", "Is a directory")):
        status, output, errors = run(*(name if each == "FILE" else each for each in call))
        assert (status, output) == (BAD_INPUT, ""), errors
        assert f"{name}: " in errors
        assert why in errors
        assert "Err" not in errors
        assert errors.count("\n") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    "file",
    [
        "protocol.yaml",
        "drug.yaml",
        "indications.yaml",
        "evidence.yaml",
        "orderables.yaml",
        "limits.yaml",
        "facts.yaml",
    ]
    + [f"rules/lidocaine-seizure/{name}" for name in ("rule.yaml", "card.md")]
    + ["vocabularies/dx_heart_block.yaml"],
)
def test_a_file_of_a_protocol_that_is_not_in_utf_8_is_named(
    file: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(LIDOCAINE, tmp_path / "mine")
    (tmp_path / "mine" / file).write_bytes(NOT_UTF_8)
    monkeypatch.setenv("KETAMINE_CDS_PROTOCOLS", str(tmp_path / "mine"))
    status, output, errors = run("protocol", "validate")
    assert (status, output) == (BAD_INPUT, "")
    assert Path(file).name in errors
    assert "utf-8" in errors.lower()
    assert errors.count("\n") == 1


def test_an_empty_overlay_is_told_how_one_begins(run: Any, tmp_path: Path) -> None:
    (tmp_path / "overlay.yaml").write_text("# nothing yet\n")
    status, _, errors = run("protocol", "validate", tmp_path / "overlay.yaml")
    assert status == BAD_INPUT
    assert "overlay.yaml: it is not a mapping; an overlay begins with site:" in errors


@pytest.mark.parametrize("content", [b"", b" \n", b"two tokens", b"one\r\nother", "tökén".encode(), b"\xff"])
def test_what_is_no_access_token_is_refused_without_a_word_of_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(Refused, match="cannot be read") as refused:
        given.token(str(tmp_path / "token"))
    assert not any(word in str(refused.value) for word in ("two", "other", "kén"))


def test_synthetic_data_are_never_mixed_with_what_is_there(run: Any, tmp_path: Path) -> None:
    (tmp_path / "Patient.ndjson").write_text('{"resourceType":"Patient","id":"real"}\n')
    status, _, errors = run("synthetic", tmp_path, "--orders", "10")
    assert (status, errors.count("\n")) == (BAD_INPUT, 1)
    assert "Patient.ndjson holds what is not made up; choose another folder" in errors
    assert "real" in (tmp_path / "Patient.ndjson").read_text()
    for _ in range(2):
        assert run("synthetic", tmp_path / "made", "--orders", "10")[0] == 0


def test_ctrl_c_ends_a_command_without_a_trace(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(examples, "read", interrupted)
    assert run("example", "any") == (cli.INTERRUPTED, "", "ketamine-cds: stopped\n")
