"""Words: what a text without a known code may mean, in four languages; what it denies or says of the family."""

import json
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.folders import COMMON
from cds_service.protocol.loader import load as load_protocol
from cds_service.protocol.parsing import parse_yaml
from cds_service.terminology import valuesets
from cds_service.terminology.phrases import folded
from cds_service.terminology.valueset import ValueSetError
from cds_service.terminology.valuesets import ValueSets
from cds_service.terminology.vocabulary import LANGUAGES, Vocabulary, VocabularyError, read

FILE = Path(__file__).with_name("texts.yaml")
TEXTS: list[dict[str, Any]] = parse_yaml(FILE.read_text("utf-8"), FILE.name)
WORDS = read(COMMON / "vocabularies")
PHRASES = [(name, language, phrase) for name, said in WORDS.items() for language in said for phrase in said[language]]


def texts(*kinds: str) -> list[Any]:
    return [
        pytest.param(each["set"], text, id=f"{each['set']} {language} {kind}: {text}")
        for each in TEXTS
        for language in LANGUAGES
        for kind in kinds
        for text in each[language][kind]
    ]


@pytest.mark.parametrize(("name", "text"), texts("asks"))
def test_a_text_that_may_mean_it_asks(sets: ValueSets, name: str, text: str) -> None:
    assert name in sets.asking(text)


@pytest.mark.parametrize(("name", "text"), texts("denies", "family"))
def test_a_text_that_denies_it_or_says_it_of_the_family_does_not(sets: ValueSets, name: str, text: str) -> None:
    assert name not in sets.asking(text)


@pytest.mark.parametrize(("name", "language", "phrase"), PHRASES)
def test_every_phrase_of_a_vocabulary_does_what_it_stands_there_for(
    sets: ValueSets, name: str, language: str, phrase: str
) -> None:
    assert (name in sets.asking(phrase.strip("=*"))) == (language != "not")


@pytest.mark.parametrize("spelled", [str.upper, str.title, lambda t: t.replace(" ", "-"), lambda t: f"({t}), 2019"])
def test_case_hyphens_and_brackets_make_no_difference(sets: ValueSets, spelled: Any) -> None:
    for text in ("raised intracranial pressure", "heart failure", "insuffisance cardiaque", "dissection aortique"):
        assert sets.asking(spelled(text)) == sets.asking(text) != frozenset()


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("text", ["Präeklampsie", "schizophrénie", "esquizofrénico", "œdème cérébral", "Hirnödem"])
def test_accents_make_no_difference_however_they_are_encoded(sets: ValueSets, form: Any, text: str) -> None:
    assert sets.asking(unicodedata.normalize(form, text)) == sets.asking(folded(text)) != frozenset()


def test_an_umlaut_may_be_written_as_two_letters(sets: ValueSets) -> None:
    for two, one in (
        ("Praeeklampsie", "Präeklampsie"),
        ("Hirnoedem", "Hirnödem"),
        ("Krampfanfaelle", "Krampfanfälle"),
    ):
        assert sets.asking(two) == sets.asking(one) != frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "Essential hypertension", "Type 2 diabetes mellitus", "Viral sinusitis (disorder)", "Ingrown toenail",
        "Asthma", "Chronic low back pain", "Osteoarthritis of the left knee", "Appendectomy 2009",
        "Normal pressure hydrocephalus", "Herpangina", "Angina tonsillaris", "Ectopic pregnancy", "Migräne",
        "Arterielle Hypertonie ohne Organschaden", "Hypothyroidism", "Hépatite B guérie",
        "Apendicitis", "Dermatitis", "Miopía",
        "Atrial fibrillation",
        "Amino acid disorder", "Smith fracture", "Stroker rehabilitation device", "Mild cognition test normal",
    ],
)  # fmt: skip
def test_a_text_of_another_matter_asks_no_critical_question(sets: ValueSets, text: str) -> None:
    mild = {"dx_shock", "ae_headache_dizziness", "ae_hypertension", "dx_pregnancy_possible"}
    assert sets.asking(text) <= mild


# The vocabularies --------------------------------------------------------------------------------------------------


def test_every_set_of_problems_allergies_or_procedures_behind_a_warning_has_its_words(sets: ValueSets) -> None:
    """A rule with a critical or warning tier: at least eight phrases in English and four in each other language."""
    rules = load_protocol(sets).rules.values()
    serious = [tier for rule in rules for tier in rule.tiers if tier.severity in ("critical", "warning")]
    named = {name for tier in serious if tier.when is not None for name in sets_of(tier.when)}
    assert len(named) > 30
    for name in named - {
        "allergy_ketamine",
        "ketamine_drug",
        "esketamine_drug",
    }:  # the recogniser of drugs knows their words
        said = WORDS[name]
        assert len(said["en"]) >= 8, name
        for language in ("de", "fr", "es"):
            assert len(said[language]) >= 4, (name, language)


def sets_of(clause: Any) -> set[str]:
    """The sets of problems, complaints, allergies and procedures that a clause names."""
    found = set()
    if type(clause).__name__ in ("ConditionIs", "SymptomIs", "AllergyIs", "ProcedureIs"):
        found |= {reference.partition("/")[0] for reference in (*clause.sets, *getattr(clause, "asks", ()))}
        later = getattr(clause, "unless_later", ())
        found |= {name for name in later if isinstance(name, str)}
    for part in getattr(clause, "of", ()):
        found |= sets_of(part)
    return found


def test_every_vocabulary_is_of_a_set(sets: ValueSets) -> None:
    assert set(WORDS) <= set(sets.names())


# Robustness and cost ------------------------------------------------------------------------------------------------


@given(st.text())
def test_no_text_makes_reading_fail(sets: ValueSets, text: str) -> None:
    assert sets.asking(text) <= set(WORDS)


@given(
    st.lists(
        st.sampled_from(["no", "family history of", "MI", "or", ",", "stroke", "denies", "(", ".", "not"]),
        max_size=12,
    )
)
def test_a_denied_list_never_asks_for_what_its_text_does_not_name(sets: ValueSets, parts: list[str]) -> None:
    text = " ".join(parts)
    if "MI" not in parts:
        assert "dx_acs_mi" not in sets.asking(text)


@pytest.mark.parametrize(
    "piece",
    [
        "no ",
        "MI or ",
        "no MI, ",
        "family history of ",
        "schizo",
        "no no MI, or ",
        "(",
        "a" * 50 + " ",
        "\u0301\u0316",
    ],
)
def test_a_long_text_costs_in_proportion_to_its_length(piece: str) -> None:
    vocabulary = Vocabulary(WORDS)

    def cost(length: int) -> float:
        text = (piece * length)[: length * 10]
        started = time.thread_time()
        vocabulary._read(text)
        return time.thread_time() - started

    cost(100)
    few = max(min(cost(500) for _ in range(3)), 1e-4)
    assert min(cost(4000) for _ in range(3)) < few * 8 * 4


@pytest.mark.timing
def test_forty_thousand_problems_are_read_in_proportion_too() -> None:
    vocabulary = Vocabulary(WORDS)
    started = time.thread_time()
    for number in range(40_000):
        vocabulary.asking(f"Chronic problem number {number} of the left knee")
    assert time.thread_time() - started < 6
    assert vocabulary._remembered.cache_info().currsize <= 16384


# What stops the start ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected is a language"),
        ("- a", "expected is a language"),
        ("nl: [hartinfarct]", "'nl' is none of"),
        ("en: heart attack", "must be a list"),
        ("en: [no]", "quote yes, no"),
        ("en: ['*']", "must be a list"),
        ("en: [", "cannot be read"),
    ],
)
def test_a_vocabulary_that_cannot_be_read_says_why(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "dx_x.yaml").write_text(text)
    with pytest.raises(VocabularyError, match=why):
        read(tmp_path)


def site(directory: Path, name: str, words: str | None = None) -> Path:
    compose = {"include": [{"system": "urn:site", "concept": [{"code": "1"}]}]}
    (directory / "a.json").write_text(json.dumps({"name": name, "compose": compose}))
    if words is not None:
        (directory / f"{name}.words.yaml").write_text(words)
    return directory


def test_a_sites_words_add_to_the_shipped_ones(tmp_path: Path) -> None:
    sets = valuesets.load(site(tmp_path, "dx_acs_mi", "en: [chest catastrophe]\nde: [Herzkasperl]\n"))
    assert "dx_acs_mi" in sets.asking("Zustand nach Herzkasperl")
    assert "dx_acs_mi" in sets.asking("NSTEMI")


def test_a_sites_own_set_may_have_words(tmp_path: Path) -> None:
    sets = valuesets.load(site(tmp_path, "our_trial", "en: [trial participant]\n"))
    assert sets.asking("Trial participant, arm B") == {"our_trial"}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("dx_schizofrenia", "dx_schizophrenia"),
        ("dx-schizophrenia", "dx_schizophrenia"),
        ("DX_PREGNANCY", "dx_pregnancy"),
        ("allergy_ketamin", "allergy_ketamine"),
        ("obs_weigth_measured", "obs_weight_measured"),
        ("dxstroke", "dx_stroke"),
    ],
)
def test_a_misspelt_name_of_a_shipped_set_is_refused_with_the_right_one(
    tmp_path: Path, wrong: str, right: str
) -> None:
    with pytest.raises(ValueSetError, match=f"a.json: there is no value set {wrong}; did you mean {right}"):
        valuesets.load(site(tmp_path, wrong))


def test_a_name_that_is_like_none_is_a_set_of_the_site(tmp_path: Path) -> None:
    assert "our_infusion_clinics" in valuesets.load(site(tmp_path, "our_infusion_clinics"))


def test_words_for_a_set_that_is_not_there_are_refused_with_the_nearest(tmp_path: Path) -> None:
    site(tmp_path, "our_set")
    (tmp_path / "dx_strokes.words.yaml").write_text("en: [brain attack]\n")
    with pytest.raises(ValueSetError, match=r"dx_strokes\.words\.yaml: there is no value set .* mean dx_stroke"):
        valuesets.load(tmp_path)
