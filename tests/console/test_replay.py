"""Reports of replay in the console: two policies side by side, from the configured folder and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.knowledge import Knowledge
from tests.console.pages import Pages, pages, text_of
from tests.retrospect.written import NEW, OLD, write_report


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    write_report(tmp_path / "reports" / "spring")
    return tmp_path / "reports"


@pytest.fixture
def shown(knowledge: Knowledge, reports: Path) -> Pages:
    return pages(knowledge, reports=str(reports))


def test_the_menu_leads_to_the_reports_and_a_report_to_its_page(shown: Pages) -> None:
    assert 'href="/replay"' in shown.get("/stewardship").text
    page = shown.get("/replay")
    assert 'href="/replay/spring"' in page.text
    assert 'aria-current="page"' in shown.get("/replay/spring").text


def test_two_policies_stand_side_by_side(shown: Pages) -> None:
    text = text_of(shown.get("/replay/spring"))
    assert "40 of 42 orders were judged" in text
    assert "Rate above the protocol maximum fired warning clear 7 0" in text
    assert "Rate above the protocol maximum 12 → 5 2 10 → 3 12 → 5 28 → 35 0 0" in text
    assert "2 left out: entered in error" in text
    assert "1 line of Observation could not be read" in text
    assert "Interruptive 12.5 interruptive cards for 100 orders under the new policy" in text


def test_the_plots_are_those_of_the_report(shown: Pages) -> None:
    page = shown.get("/replay/spring").text
    assert page.count('class="wide replayed"') == 2
    assert "rate-warn" in page
    assert "0.1 to 0.15 mg/kg/h: 30" in page


def test_what_came_from_outside_is_shown_as_text(shown: Pages) -> None:
    page = shown.get("/replay/spring").text
    assert "<b>1</b>" not in page
    assert "Ward &lt;b&gt;1&lt;/b&gt;" in page
    assert "<i>" not in page


def test_of_several_new_policies_one_is_chosen(knowledge: Knowledge, tmp_path: Path) -> None:
    second = NEW | {"name": "new-policy-2", "file": "other.yaml"}
    write_report(tmp_path / "two", [OLD, NEW, second])
    shown = pages(knowledge, reports=str(tmp_path))
    assert "<strong>new-policy</strong>" in shown.get("/replay/two").text
    assert "<strong>new-policy-2</strong>" in shown.get("/replay/two?policy=new-policy-2").text
    assert "<strong>new-policy</strong>" in shown.get("/replay/two?policy=nonsense").text


def test_one_policy_alone_is_compared_with_nothing(knowledge: Knowledge, tmp_path: Path) -> None:
    write_report(tmp_path / "one", [OLD])
    page = pages(knowledge, reports=str(tmp_path)).get("/replay/one")
    assert page.status_code == 200
    assert "What changes" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "%2e%2e",
        "..%2fsecret",
        "spring%2f..",
        ".",
        "none",
        "spring/rules.csv",
        "%2fetc%2fpasswd",
        "link",
        "spring%00",
    ],
)
def test_no_path_leads_out_of_the_folder(path: str, shown: Pages, reports: Path) -> None:
    write_report(reports.parent / "secret")
    (reports / "link").symlink_to(reports.parent / "secret")
    assert shown.get(f"/replay/{path}").status_code in (404, 308)
    assert "link" not in text_of(shown.get("/replay")).split()


def test_a_report_that_was_changed_is_not_shown(shown: Pages, reports: Path) -> None:
    (reports / "spring" / "rules.csv").write_text("rule,policy\n")
    page = shown.get("/replay/spring")
    assert page.status_code == 503
    assert "was changed after the report was written" in text_of(page)


def test_without_a_folder_the_page_says_which_setting_names_one(knowledge: Knowledge) -> None:
    assert "KETAMINE_CDS_REPORTS is not set" in text_of(pages(knowledge).get("/replay"))
    assert pages(knowledge).get("/replay/spring").status_code == 404
