"""A report is read as it was written, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.retrospect import results
from cds_service.retrospect.results import NotAReport
from tests.retrospect.written import RULE, write_report


def test_a_report_has_its_policies_its_digest_and_its_tables(tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report")
    result = results.opened(folder)
    assert result.old is not None
    assert (result.old.file, [each.file for each in result.new]) == ("the shipped protocol", ["new.yaml"])
    assert result.digest == results.sha256((folder / "summary.json").read_bytes())
    assert next(iter(result.table("transitions")))["rule"] == RULE


def test_a_table_that_was_changed_is_not_read(tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report")
    with (folder / "transitions.csv").open("a") as file:
        file.write("duration-missing,new-policy,fired,clear,1,0\n")
    with pytest.raises(NotAReport, match="was changed after the report was written"):
        results.opened(folder).table("transitions")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "rules.csv", "", "a/b", "..", "rules\x00"])
def test_a_name_that_no_table_has_leads_nowhere(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    result = results.opened(write_report(tmp_path / "report", tables={name: "0"}))
    with pytest.raises(NotAReport):
        result.table(name)


def test_what_only_points_elsewhere_is_no_part_of_a_report(tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report")
    for name in ("rules.csv", "summary.json"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(NotAReport, match="no report"):
        results.opened(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"policies": 1}', "nonsense", "[" * 100_000])
def test_what_is_no_summary_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(NotAReport):
        results.opened(tmp_path)


def test_a_file_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_report(tmp_path / "report")
    monkeypatch.setattr(results, "MOST_BYTES", 100)
    with pytest.raises(NotAReport, match="larger than 100 bytes"):
        results.opened(folder)
