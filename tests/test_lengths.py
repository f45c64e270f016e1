"""A file that one cannot read at once is two: none grows past the length that its readers were promised."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = {"cds_service": 400, "tests": 450}


@pytest.mark.parametrize("folder", LINES)
def test_no_python_file_is_too_long_to_be_read_at_once(folder: str) -> None:
    found = {
        str(file.relative_to(ROOT)): len(file.read_text("utf-8").splitlines())
        for file in (ROOT / folder).rglob("*.py")
    }
    assert found
    assert {name: lines for name, lines in found.items() if lines > LINES[folder]} == {}
