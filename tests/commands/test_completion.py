"""The command completion, as a shell uses it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from cds_service.cli import main, parser
from cds_service.commands.completion import SHELLS, completion, levels


def _offered(*words: str) -> list[str]:
    """What bash offers for the last of the words."""
    line = " ".join(f"'{word}'" for word in ("ketamine-cds", *words))
    script = (
        f"{completion('bash', parser())}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}\n"
        '_ketamine_cds; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("si",), ["simulate"]),
        (("protocol", "va"), ["validate"]),
        (("check", "--js"), ["--json"]),
        (("simulate", "--hook", "order-si"), ["order-sign"]),
        (("keys", "new", "--algorithm", ""), ["ES384", "RS384"]),
        (("completion", "z"), ["zsh"]),
        (("terminology", "check", "--t"), ["--tx"]),
        (("protocol", "show", "a-rule", "--over"), ["--overlay"]),
        (("nothing-such",), []),
    ],
    ids=" ".join,
)
def test_bash_offers_what_the_parser_takes_there(words: tuple[str, ...], offered: list[str]) -> None:
    assert _offered(*words) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_every_command_and_every_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    for level in levels(parser()):
        names = [name for name, _ in level.commands] + [name.lstrip("-") for name, _, _ in level.options]
        assert [name for name in names if name not in printed] == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_is_here_can_read_its_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n"], input=completion(shell, parser()), text=True, check=True)
