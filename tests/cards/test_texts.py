"""A site's words: they win over the shipped ones, follow its limits, and stop the start where they cannot be used."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from jinja2 import Environment

from cds_service.advise import advise
from cds_service.cards.literals import Literals, Quote
from cds_service.cards.loading import load as load_texts
from cds_service.cards.model import Card
from cds_service.cards.shown import TextError
from cds_service.cli import main
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge, load
from tests.scenarios.build import NOW, sent

OWNED = "owner: P&T committee, date: 2026-11-20, reason: local practice"
FAST = {"rate": "0.8 mg/kg/h"}


def site(folder: Path, limits: dict[str, str] | None = None, **texts: str) -> str:
    """The overlay file of a site with these limits and texts (`words` or a rule, `__` for a dot or a hyphen)."""
    changes = [f"  - {{limit: {limit}, value: {value}, {OWNED}}}" for limit, value in (limits or {}).items()]
    overlay = folder / "overlay.yaml"
    overlay.write_text("\n".join(["site: General Hospital", *(["limits:", *changes] if changes else [])]), "utf-8")
    for name, text in texts.items():
        write(folder, name.replace("__", "-"), text)
    return str(overlay)


def write(folder: Path, name: str, text: str) -> None:
    (folder / "texts").mkdir(exist_ok=True)
    file = name if "." in name else f"{name}.yaml" if name == "words" else f"{name}.md"
    (folder / "texts" / file).write_text(dedent(text).lstrip(), "utf-8")


def cards(knowledge: Knowledge, order: dict[str, Any], patient: dict[str, Any] | None = None) -> list[Card]:
    request = sent({"patient": patient or {}, "order": order})
    return advise(request, True, knowledge, NoSource(), NOW).cards


def said(knowledge: Knowledge, order: dict[str, Any], patient: dict[str, Any] | None = None) -> str:
    """Summaries, details and labels of all cards."""
    return "\n".join(
        "\n".join([card.summary, card.detail or "", *(each.label for each in card.suggestions or ())])
        for card in cards(knowledge, order, patient)
    )


def refused(knowledge: Knowledge, folder: Path) -> str:
    """Why the texts of the folder are refused."""
    with pytest.raises(TextError) as error:
        load_texts(knowledge.protocol, folder / "texts")
    return str(error.value)


# A site's words ---------------------------------------------------------------------------------------------------


def test_a_site_says_a_note_and_a_label_in_its_own_words(tmp_path: Path) -> None:
    words = """
        note-no-indication: Taken for pain.
        label-delete: Strike this order
    """
    knowledge = load(overlay=site(tmp_path, words=words))
    text = said(knowledge, {"dose": "6 mg/kg", "indication": "none"})
    assert "Taken for pain." in text
    assert "Strike this order" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("title-furter: Further", "there are no words title-furter; did you mean title-further?"),
        ("label-change: 'To {{ too }}'", "label-change: there is no value too; did you mean to?"),
        ("label-change: 'Change to 5 mg'", "label-change writes the number 5 itself"),
        ("label-taper: 'Half the rate for {{ hours }} h'", "label-taper writes the number Half itself"),
        ("title-further: '{{ rate_warn }}'", "title-further: there is no value rate_warn"),
        ("label-stop: '{{ hours'", "label-stop cannot be read"),
        ("label-stop: '{{ hours | hours }}'", "label-stop cannot be filled: '9' is no limit"),
        ("nonsense: [", "words.yaml: not readable as YAML"),
        ("label-stop: [a, b]", "expected are lines of `key: words`"),
        ("- label-stop", "expected are lines of `key: words`"),
        ("label-stop: 4", "expected are lines of `key: words`"),
        ("label-stop: a\nlabel-stop: b", "a key stands twice"),
    ],
)
def test_words_that_cannot_be_used_are_refused(
    tmp_path: Path, knowledge: Knowledge, words: str, message: str
) -> None:
    write(tmp_path, "words", words)
    assert message in refused(knowledge, tmp_path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("psychossis.md", "there is no such text; did you mean psychosis.md?"),
        ("psychosis.txt", "there is no such text; did you mean psychosis.md?"),
        ("psychosis.yaml", "there is no such text; did you mean psychosis.md?"),
        ("psychosis.german.md", "there is no such text; did you mean psychosis.md?"),
        ("word.yaml", "there is no such text; did you mean words.yaml?"),
        ("words.yml", "there is no such text; did you mean words.yaml?"),
        ("words.md", "there is no such text"),
        ("Psychosis.md", "there is no such text; did you mean psychosis.md?"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, knowledge: Knowledge, file: str, message: str) -> None:
    write(tmp_path, file, "nothing")
    assert message in refused(knowledge, tmp_path)


def test_what_an_editor_or_a_file_manager_hides_is_no_text(tmp_path: Path, knowledge: Knowledge) -> None:
    write(tmp_path, ".DS_Store", "")
    load_texts(knowledge.protocol, tmp_path / "texts")


PSYCHOSIS = """
    ---
    title: Psychosis
    summary: "{summary}"
    ---

    {body}
"""


def psychosis(summary: str = "Psychosis: ask", body: str = "Ask.") -> str:
    return dedent(PSYCHOSIS).replace("{summary}", summary).replace("{body}", body)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("---\ntitle: Psychosis\n---\nAsk.", "psychosis.md: has no summary"),
        ("---\nsummary: Psychosis\n---\nAsk.", "psychosis.md: has no title"),
        ("---\ntitle: Psychosis\nsummary: {active: Psychosis}\n---\nAsk.", "no summary for the tier mania"),
        (psychosis(body="{{ fond }}"), "there is no value fond; did you mean found?"),
        (psychosis(body="{{ rate_warm }}"), "there is no value rate_warm; did you mean rate_warn?"),
        (psychosis(body="{{ figure }}"), "there is no value figure"),
        (psychosis(body="{{ ordered"), "cannot be read"),
        (psychosis(body="{% if tier %}x"), "cannot be read"),
        (psychosis(body="{{ ordered | nothing }}"), "cannot be read: No filter named 'nothing'"),
        (psychosis(body="{{ rate_warn | hours }}"), "a limit in mg/kg/h cannot be said in h"),
        (psychosis(body="{{ ae_pause_minutes | fraction }}"), "has several numbers, and this filter needs one"),
        (psychosis(body="{{ ordered | fraction }}"), "is no limit, which this filter needs"),
        (psychosis(summary="x" * 140), "the summary is not shorter than 140 characters"),
        ("---\ntitle: [\n---\n", "cannot be read"),
        ("", "has no summary"),
    ],
)
def test_a_text_that_cannot_be_filled_is_refused(
    tmp_path: Path, knowledge: Knowledge, text: str, message: str
) -> None:
    write(tmp_path, "psychosis", text)
    assert message in refused(knowledge, tmp_path)


def test_a_value_that_is_not_always_there_must_be_tested_first(tmp_path: Path, knowledge: Knowledge) -> None:
    text = """
        ---
        title: Push too fast
        summary: "Dose over {{ figure }} min"
        ---
    """
    write(tmp_path, "bolus-push-too-fast", text)
    assert "'figure' is undefined for the tier fast: test it first" in refused(knowledge, tmp_path)


@pytest.mark.parametrize("command", [["protocol", "validate"], ["check"], ["explain"], ["serve"]])
def test_every_door_says_in_a_sentence_that_a_text_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    overlay = site(tmp_path, psychosis="---\ntitle: Psychosis\n---\nAsk.")
    monkeypatch.setenv("KETAMINE_CDS_OVERLAY", overlay)
    example = str(Path(__file__).parents[2] / "examples" / "no-weight.json")
    last = {"protocol": [overlay], "check": [example], "explain": [example], "serve": []}[command[0]]
    assert main([*command, *last]) == 3
    assert capsys.readouterr().err == "ketamine-cds: texts/psychosis.md: has no summary\n"


# No number twice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "numbers"),
    [
        ("over 40 minutes", ["40"]),
        ("0.5 to 1 mg/kg", ["0.5", "1"]),
        ("1,5 mg", ["1,5"]),
        ("a 15-minute infusion", ["15"]),
        ("{{ low }} to 45", ["45"]),
        ("{{ 40 }}", ["40"]),
        ("{{ '40' }}", ["40"]),
        ("{{ found | default('40') }}", ["40"]),
        ("{% set most = '40' %}{{ most }}", ["40"]),
        ("{% if figure > 40 %}much{% endif %}", ["40"]),
        ("½ of it", ["½"]),
        ("half the rate", ["half"]),
        ("Twice the dose", ["Twice"]),
        ("a quarter of the rate", ["a quarter"]),
        ("beyond three days", ["three days"]),
        ("four times as much", ["four times"]),
        ("{% quote %}40 min{% endquote %} and 50 min", ["50"]),
        ("{# 40 #}{% raw %}40{% endraw %}", ["40"]),
        ("{% quote %}The label allows 2.5 mg{% endquote %}", []),
        ("{%- quote -%}\n 40\n min {%- endquote -%}", []),
        ("free T4, CYP3A4, SpO2 and kg/m2", []),
        ("{% if tier == 'grade-2' %}severe{% endif %}", []),
        ("{{ ae_pause_minutes | hours }} h", []),
        ("one source document, a third of them said, and two readings", ["a third"]),
        ("dose1.5", ["1.5"]),
    ],
)
def test_numbers_outside_quotations_are_found(knowledge: Knowledge, source: str, numbers: list[str]) -> None:
    literals = Literals(Environment(extensions=[Quote]), knowledge.texts.words.fixed)
    assert literals.found(source) == numbers


def test_a_text_with_a_number_of_its_own_is_refused(tmp_path: Path, knowledge: Knowledge) -> None:
    write(tmp_path, "psychosis", psychosis(body="At most 0.3 mg/kg, {% quote %}as 2 trials gave{% endquote %}."))
    assert "psychosis.md: writes the number 0.3 itself; name a limit" in refused(knowledge, tmp_path)


HEADACHE = {"running": {"rate": "0.4 mg/kg/h", "since": "20 hours ago"}, "symptoms": ["headache, 1 hours ago"]}


def test_what_a_site_changes_the_card_says_in_every_sentence(tmp_path: Path) -> None:
    limits = {"ae-pause-minutes": "[180, 240]", "restart-fraction": "0.25"}
    text = said(load(overlay=site(tmp_path, limits)), {"rate": "0.4 mg/kg/h"}, HEADACHE)
    assert "pause 3 to 4 h, go on lower" in text
    assert "half" not in text


def test_the_antidepressant_infusion_has_one_duration(tmp_path: Path) -> None:
    order = {"dose": "0.5 mg/kg", "over": "40 min", "indication": "depression"}
    text = said(load(overlay=site(tmp_path, {"depression-minutes": "60"})), order)
    assert "faster than the studied 60 min" in text
    assert "infused over 60 minutes" in text
    assert "over 40 minutes;" not in text


@pytest.mark.parametrize(
    ("limit", "value", "rule", "tier", "words"),
    [
        ("acute-hours", "48", "duration-exceeds-acute", "acute", "Infusion beyond two days"),
        ("acute-hours", "36", "duration-exceeds-acute", "acute", "Infusion beyond 1.5 days"),
        ("duplicate-window", "36", "duplicate-ketamine-esketamine", "given", "given in the last 36 hours"),
        ("depression-sum-hours", "12", "depression-dose-exceeds", "above-critical/sum", "Doses of 12 hours together"),
        ("depression-dose-critical", "1.5", "depression-dose-exceeds", "above-critical", "1.5, 3 times the studied"),
        ("infant-age", "6", "age-paediatric", "infant", "contraindicated under 6 months"),
        ("push-minutes", "12", "bolus-push-too-fast", "under-a-minute", "give over 12 to 15 min"),
        ("restart-fraction", "0.4", "restart-rate-too-high", "not-lower", "40 % of the earlier rate is this"),
        ("ae-pause-minutes", "[30, 45]", "restart-rate-too-high", "too-early", "this site asks for 30 to 45 min"),
        ("bp-critical-diastolic", "110", "bp-uncontrolled", "critical", "above 180/110"),
        ("bp-critical-diastolic", "110", "bp-uncontrolled", "critical", "180/100 mmHg at rest is the figure of"),
        ("rate-critical", "0.9", "rate-exceeds-protocol-max", "above-warn", "its 1 is a ceiling"),
        ("bolus-critical", "0.7", "bolus-exceeds-protocol-max", "above-both", "largest analgesic dose of this site"),
    ],
)
def test_the_words_of_a_rule_follow_the_limit_of_the_site_and_a_source_keeps_its_own(
    tmp_path: Path, limit: str, value: str, rule: str, tier: str, words: str
) -> None:
    knowledge = load(overlay=site(tmp_path, {limit: value}))
    text, book = knowledge.texts.by_rule[rule], knowledge.limits.book("ketamine", NOW.date())
    name, _, how = tier.partition("/")
    samples = dict.fromkeys(
        ("found", "figure", "unit", "limit", "ordered", "age", "minutes", "strengths", "route"), "9"
    )
    values = samples | {"how": how or "step"}
    spoken = "\n".join([text.title(book), text.uncut(name, values, book), text.detail(name, values, book)])
    assert words in spoken


def test_words_name_the_limits_of_the_drug_that_is_ordered(knowledge: Knowledge) -> None:
    text = said(knowledge, {"drug": "esketamine", "rate": "0.3 mg/kg/h"})
    assert "The protocol warns above 0.25 mg/kg/h" in text
    assert "limits of its own apply, never those of racemic ketamine" in text


def test_the_label_of_a_step_down_follows_its_limit(tmp_path: Path) -> None:
    knowledge = load(overlay=site(tmp_path, {"taper-fraction": "0.25"}))
    book = knowledge.limits.book("ketamine", NOW.date())
    assert knowledge.texts.words.say("label-taper", book, hours="4", order="k").startswith(
        "Step down: a quarter of the rate for 4 h"
    )
