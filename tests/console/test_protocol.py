"""The protocol's pages: each rule is found, shown whole, and tried; what a site changed is named with its owner."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from cds_service.console import markdown
from cds_service.console.rule_view import RuleView
from cds_service.knowledge import Knowledge, load
from tests.console.pages import Pages, pages, text_of

ROOT = Path(__file__).parents[2]
RULE = "rate-exceeds-protocol-max"


@pytest.fixture(scope="module")
def shown(knowledge: Knowledge) -> Pages:
    return pages(knowledge)


@pytest.fixture(scope="module")
def of_a_site() -> Pages:
    overlay = str(ROOT / "examples" / "overlay.yaml")
    return pages(load(overlay=overlay), overlay=overlay)


def _listed(page: Pages, query: str) -> set[str]:
    return set(re.findall(r'href="/protocol/rules/([\w-]+)"', page.get(f"/protocol?{query}").text))


def test_every_rule_is_listed(shown: Pages, knowledge: Knowledge) -> None:
    assert _listed(shown, "") == set(knowledge.by_rule)


@pytest.mark.parametrize(
    ("query", "found", "not_found"),
    [
        ("q=theophylline", "ddi-theophylline", RULE),
        ("q=RATE+maximum", RULE, "pregnancy"),
        ("q=K-04", RULE, "pregnancy"),
        ("q=H%C3%B6chstwert", RULE, "pregnancy"),  # a word of its German card
        ("severity=critical", "pregnancy", RULE),
        ("topic=dose", RULE, "pregnancy"),
    ],
)
def test_a_rule_is_found_by_its_words_statements_and_choices(
    shown: Pages, query: str, found: str, not_found: str
) -> None:
    listed = _listed(shown, query)
    assert found in listed
    assert not_found not in listed


def test_where_nothing_is_found_it_says_so(shown: Pages) -> None:
    assert "No rule has all of these words" in text_of(shown.get("/protocol?q=nonsense-of-nobody"))


def test_a_search_while_typing_gets_the_list_alone(shown: Pages) -> None:
    part = shown.get("/protocol?q=rate", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert "of 84 rules" in part or "rules</p>" in part


def test_every_rule_has_its_page_with_limits_sources_and_every_language(shown: Pages, knowledge: Knowledge) -> None:
    for name, part in knowledge.by_rule.items():
        rule, page = part.protocol.rules[name], shown.get(f"/protocol/rules/{name}")
        assert page.status_code == 200, name
        text = unescape(page.text)
        missing = [id for tier in rule.tiers for id in tier.shown if f">{id}" not in text]
        missing += [each for each in (*rule.statements, *rule.conflicts, *rule.citations) if each not in text]
        assert missing == [], name
        for language, texts in knowledge.texts.others.items():
            if texts.by_rule[name] is not knowledge.texts.by_rule[name]:
                assert f'lang="{language}"' in text, name


def test_a_limit_stands_with_value_status_and_a_link_to_its_source(shown: Pages) -> None:
    page = shown.get(f"/protocol/rules/{RULE}").text
    row = next(row for row in page.split("<tr>") if "rate-warn" in row)
    assert "0.5 mg/kg/h" in row
    assert "verified" in row
    assert 'href="https://doi.org/10.1097/AAP.0000000000000806"' in row


def test_sources_that_disagree_stand_side_by_side(shown: Pages, knowledge: Knowledge) -> None:
    text = text_of(shown.get("/protocol/disagreements"))
    assert all(f" {name} " in text for name in knowledge.protocol.conflicts)
    first = text.partition("C-02")[0]
    assert "Source A K-04 No infusion is safe above 0.5 mg/kg/h." in first
    assert "Source B K-36" in first


def test_a_scenario_runs_with_a_click_and_shows_its_cards(shown: Pages) -> None:
    path = f"/protocol/rules/{RULE}"
    text = text_of(shown.post(path, f"{path}/scenarios", number="1"))
    assert "None of 1 is not as expected" in text
    assert "Rate 0.501 mg/kg/h is above the protocol maximum 0.5" in text
    assert "→ Change to 0.5 mg/kg/h (35 mg/h)" in text


def test_all_scenarios_of_a_rule_run_at_once(shown: Pages) -> None:
    path = "/protocol/rules/pregnancy"
    text = text_of(shown.post(path, f"{path}/scenarios", number="all"))
    assert re.search(r"None of \d\d? are not as expected", text)


def test_a_scenario_that_the_site_changed_is_said_to_be_otherwise(of_a_site: Pages) -> None:
    path = "/protocol/rules/duration-missing"  # which the example's overlay switches off
    text = text_of(of_a_site.post(path, f"{path}/scenarios", number="all"))
    assert "not as expected" in text
    assert "duration-missing is expected to be info; it is not judged here" in text


@pytest.mark.parametrize("number", ["999", "-1", "x", ""])
def test_a_scenario_that_there_is_not_harms_nothing(shown: Pages, number: str) -> None:
    path = f"/protocol/rules/{RULE}"
    assert shown.post(path, f"{path}/scenarios", number=number).status_code in (200, 404)


def test_a_file_of_scenarios_that_was_broken_meanwhile_is_said(
    shown: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scenarios.yaml").write_text("- {name: x, ordr: {}}\n", "utf-8")
    monkeypatch.setattr(RuleView, "scenario_file", tmp_path / "scenarios.yaml")
    assert "ordr" in text_of(shown.get(f"/protocol/rules/{RULE}"))


def test_scenarios_need_the_token_of_the_page(shown: Pages) -> None:
    refused = shown.client.post(f"/protocol/rules/{RULE}/scenarios", base_url="http://127.0.0.1:8001", data={})
    assert refused.status_code == 403


@pytest.mark.parametrize("path", ["/protocol/rules/none", "/protocol/sign-off/none"])
def test_what_there_is_not_is_not_found(shown: Pages, path: str) -> None:
    assert shown.get(path).status_code == 404


# A site -----------------------------------------------------------------------------------------------------------


def test_what_a_site_changed_is_named_with_owner_date_and_reason(of_a_site: Pages) -> None:
    text = text_of(of_a_site.get("/protocol/changes"))
    for change in (
        "Switched off P&T committee, 2026-11-20: intensive care renews orders daily",
        "Severity critical, shipped as",
        "110 mm[Hg], shipped as 100 mm[Hg] P&T committee",
        "Becomes info (above warn) where",
        "also where",
        "Added by the site",
        "order set http://example.org/order-sets/palliative-ketamine stands for palliative",
    ):
        assert change in text, change


def test_rules_that_a_site_changed_can_be_listed_alone(of_a_site: Pages) -> None:
    listed = _listed(of_a_site, "changed=yes")
    assert {RULE, "duration-missing", "age-paediatric", "seizure-disorder", "example-myasthenia"} <= listed
    assert "pregnancy" not in listed


def test_a_sites_limit_stands_beside_the_shipped_one(of_a_site: Pages) -> None:
    row = next(
        row
        for row in of_a_site.get("/protocol/rules/bp-uncontrolled").text.split("<tr>")
        if "bp-critical-diastolic" in row
    )
    assert "110 mm[Hg]" in row
    assert "shipped: 100 mm[Hg]" in row
    assert "P&amp;T committee" in row


# The sheet to sign --------------------------------------------------------------------------------------------------


def test_the_sheet_is_the_one_of_the_command(of_a_site: Pages) -> None:
    page = of_a_site.get("/protocol/sign-off/ketamine")
    sheet = of_a_site.get("/protocol/sign-off/ketamine?as=markdown")
    assert sheet.mimetype == "text/markdown"
    digest = re.search(r"digest \| `(\w+)`", sheet.text)
    assert digest
    assert digest[1] in page.text
    assert "with the overlay of Example Hospital" in text_of(page)
    assert text_of(page).count("P&T committee") == sheet.text.count("P&T committee")


def test_markdown_becomes_what_it_says_and_never_markup() -> None:
    written = (
        "# A *title*\n\nSee [R1](https://a.example/x?a=1&b=2) and [k](#k-1), `code`, **bold**.\n\n"
        '| a | b |\n|---|---:|\n| <a id="k-1"></a>x | 1 \\| 2 |\n\n- one\n  more\n- two <script>alert(1)</script>\n\n'
        "```\n<b>raw</b>\n```\n[no](javascript:alert(1))"
    )
    made = str(markdown.as_html(written))
    assert "<h1>A <em>title</em></h1>" in made
    assert '<a href="https://a.example/x?a=1&amp;b=2">R1</a> and <a href="#k-1">k</a>' in made
    assert '<td><span id="k-1"></span>x</td><td>1 | 2</td>' in made
    assert "<li>one more</li><li>two &lt;script&gt;" in made
    assert '<pre tabindex="0">&lt;b&gt;raw&lt;/b&gt;</pre>' in made
    assert 'href="javascript' not in made
