"""CONTRIBUTING to the letter: a rule, a language and a site's filter, each added to a copy by its steps alone.

The folders beside this file hold what somebody who follows the text writes, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cds_service.knowledge import Knowledge

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NOW = ("--now", "2026-11-22T10:00:00Z")
RULE = "cards/ketamine/rules/phaeochromocytoma"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service and its data, with all three additions."""
    folder = tmp_path_factory.mktemp("copy")
    for part in ("cds_service", "cards"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for addition in ("rule", "language", "filter"):
        shutil.copytree(HERE / addition, folder, dirs_exist_ok=True)
    return folder


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of the copy, whatever service is installed beside it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KETAMINE_CDS_")}
    command = [sys.executable, "-m", "cds_service.cli", *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


def test_a_contraindication_is_its_folder_and_its_value_set(copy: Path, knowledge: Knowledge) -> None:
    judged = run(copy, "protocol", "test", RULE, *NOW)
    assert (judged.returncode, judged.stdout) == (0, "4 scenarios: none not as expected\n"), judged
    assert "phaeochromocytoma" not in knowledge.by_rule


def test_a_card_in_another_language_is_a_file_beside_it(copy: Path) -> None:
    shown = run(copy, "check", str(ROOT / "examples" / "uncontrolled-hypertension.json"), "--language", "fr", *NOW)
    assert shown.returncode == 2, shown
    assert "mmHg au-dessus de 180/100 : traiter avant la kétamine" in shown.stdout
    assert "Retirer cette prescription" in shown.stdout
    assert "Pression artérielle : 192/104 mmHg (2026-11-22 08:00)" in shown.stdout
    told = run(copy, "protocol", "validate")
    assert "fr: 2 of " in told.stdout, told
    assert ", 1 of 8" in told.stdout


def test_a_filter_of_a_site_is_a_line_of_its_overlay(copy: Path) -> None:
    judged = run(copy, "protocol", "test", "our-hospital", *NOW)
    assert (judged.returncode, judged.stdout) == (0, "2 scenarios: none not as expected\n"), judged


ROWS = {
    "rule": (
        "| a contraindication with its value set | {files} | {lines} | "
        "a line of `tests/sources/rules.csv` and of `tests/protocol/test_severities.py` |"
    ),
    "language": "| a card in another language | {files} | {lines} | none |",
    "filter": "| a filter of a site, with its scenarios | {files} | {lines} | none |",
}


@pytest.mark.parametrize("addition", ROWS)
def test_the_text_says_what_each_takes(addition: str) -> None:
    files = [file for file in (HERE / addition).rglob("*") if file.is_file()]
    lines = sum(len(file.read_text("utf-8").splitlines()) for file in files)
    assert ROWS[addition].format(files=len(files), lines=lines) in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
