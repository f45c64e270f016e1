"""Which drug a medication is: by its codes, by its name, and what must never be taken for ketamine."""

import time
import unicodedata
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cds_service import folders
from cds_service.terminology import drugs
from cds_service.terminology.drugs import Drugs
from cds_service.terminology.identity import Identity, identify
from cds_service.terminology.valuesets import ValueSets
from tests.said import said

FAMILY = drugs.read(folders.KETAMINE)
named = Drugs([FAMILY]).named
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
NDC = "http://hl7.org/fhir/sid/ndc"
ATC = "http://www.whocc.no/atc"
LOCAL = "urn:oid:1.2.3.4.5"

KETAMINE = (RXNORM, "6130")
KETAMINE_50 = (RXNORM, "238084")
ESKETAMINE = (RXNORM, "2119365")
PROPOFOL = (RXNORM, "8782")
VETAKET = (NDC, "59399-114-10")


@pytest.fixture(scope="module")
def aliases() -> dict[str, list[str]]:
    text = (Path(__file__).parents[1] / "sources" / "names.yaml").read_text("utf-8")
    found: dict[str, list[str]] = yaml.load(text, Loader=yaml.CSafeLoader)
    return found


def test_every_known_name_names_its_drug(aliases: dict[str, list[str]]) -> None:
    for name in aliases["ketamine"]:
        assert named([name]) == ({"ketamine"}, False), name
    for name in aliases["esketamine"]:
        assert named([name]) == ({"esketamine"}, False), name
    for name in aliases["veterinary"]:
        assert named([name]) == ({"ketamine"}, True), name
    for name in aliases["not_ketamine"]:
        assert named([name]) == (set(), False), name
    for name in aliases["either"]:
        assert named([name]) == ({"esketamine"}, False), name


KETAMINE_TEXTS = [
    "ketamine",
    "Ketamine",
    "KETAMINE HYDROCHLORIDE 50 MG/ML INJECTION",
    "ketamine HCl 500 mg in NaCl 0.9 % 50 mL",
    "Ketamine 50 MG/ML Injectable Solution [Ketalar]",
    "Ketalar® 10 mg/mL",
    "Ketalar™",
    "KETALAR(R)",
    "inj. ketamine",
    "ketamine/midazolam 1:1",
    "midazolam+ketamine",
    "ketamine_50_mg_ml",
    "(ketamine)",
    "Ketamin-ratiopharm",
    "Ketamin Inresa 250 mg",
    "Ketaminhydrochlorid 50 mg/ml",
    "Calypsol",
    "arketamine",
    "cetamina",
    "clorhidrato de ketamina",
    "Chlorhydrate de kétamine",
    unicodedata.normalize("NFD", "Kétamine Renaudin"),
    "ketamine\u00a050\u00a0mg",
    "keta\u00admine",
    "ketamine\u200b",
    "\uff4b\uff45\uff54\uff41\uff4d\uff49\uff4e\uff45\u3000\uff15\uff10\uff4d\uff47",
    "\U0001d424\U0001d41e\U0001d42d\U0001d41a\U0001d426\U0001d422\U0001d427\U0001d41e",
    "ket\u200eamine",
    "\u202dket\u202camine",
    "ket\u2066ami\u2069ne",
    "ket\u0301amine",
    f"ket{chr(0x301) * 1000}amine",
    "ke\ufe0ftamine",
    "ket\u0000amine",
    "ket\u001bamine",
    "Patient's ketamine",
    "vial(s) ketamine",
    "Ringer's ketamine infusion",
    "vitamins-ketamine",
    "R-ketamine",
]


@pytest.mark.parametrize("text", KETAMINE_TEXTS)
def test_racemic_ketamine_is_recognised_by_name(text: str) -> None:
    assert named([text])[0] == {"ketamine"}


ESKETAMINE_TEXTS = [
    "esketamine",
    "Esketamin Hameln 25 mg/ml",
    "esketamina",
    "S-ketamine",
    "s-Ketamin 5 mg/ml",
    "S-ketamine hydrochloride",
    "S-ketamine-HCl",
    "(S)-ketamine",
    "(S)-Ketamin",
    "S(+)-ketamine",
    "S(+)-Ketamin",
    "S(+) ketamine",
    "S-(+)-ketamine",
    "(S)-(+)-ketamine",
    "(S) ketamine",
    "S (+)-ketamine",
    "S (+) ketamin",
    "S+ ketamine",
    "s+-ketamine",
    "S\u2011ketamine",
    "S\u2010ketamine",
    "S\u2013ketamine",
    "S\u2212ketamine",
    "S-\u00adketamine",
    "Ketanest S",
    "Ketanest-S",
    "Ketanest\u2011S 25 mg",
    "Ketanest® S 5 mg/ml",
    "Ketanest®S",
    "Ketanest  S",
    "KETANEST\tS",
    "Spravato 28 mg",
    "Vesierra",
    "Esketaminhydrochlorid",
    "racemic-free S-ketamine",
]


@pytest.mark.parametrize("text", ESKETAMINE_TEXTS)
def test_esketamine_is_never_read_as_racemic_ketamine(text: str) -> None:
    assert named([text])[0] == {"esketamine"}


LOOK_ALIKES = [
    "norketamine",
    "Norketamine level",
    "dehydronorketamine",
    "hydroxynorketamine",
    "tiletamine",
    "Zoletil (tiletamine/zolazepam)",
    "ketorolac 30 mg",
    "ketoprofen",
    "ketoconazole",
    "ketotifen",
    "deschloroketamine",
    "methoxetamine",
    "ketones",
    "ketaminex",
    "xketamine",
    "ketamine2",
    "2ketamine",
    "preketamine",
    "keta mine",
    "Ketanestx",
    "",
    " ",
    "®",
]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_a_name_that_only_looks_like_ketamine_is_none(text: str) -> None:
    assert named([text]) == (set(), False)


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_a_look_alike_beside_ketamine_does_not_hide_it(text: str) -> None:
    assert named([f"{text} ketamine"])[0] == {"ketamine"}
    assert named([f"ketamine, {text}"])[0] == {"ketamine"}
    assert named([text, "S-ketamine"])[0] == {"esketamine"}


@pytest.mark.parametrize(
    ("text", "drug"),
    [("Ketamne 50 mg", "ketamine"), ("ketaminne", "ketamine"), ("KEATMINE", "ketamine"), ("kétaminée", "ketamine"),
     ("Eskteamine", "esketamine"), ("Spravatto", "esketamine"), ("inj. ketalr", "ketamine")],
)  # fmt: skip
def test_a_name_with_one_slip_of_typing_is_asked_about(text: str, drug: str) -> None:
    assert named([text]) == (set(), False)
    assert Drugs([FAMILY]).misspelt([text]) == drug


@pytest.mark.parametrize(
    "text", ["ketorolac", "Ketolac", "amoxicillin", "ketmne", "keta", "clonidine", "", "memantine"]
)
def test_a_name_further_off_is_not(text: str) -> None:
    assert Drugs([FAMILY]).misspelt([text]) is None


def test_no_name_of_another_medicine_is_a_slip_of_typing(sets: ValueSets) -> None:
    own = set(sets.drugs.own_sets)
    others = {m.display for name in set(sets.names()) - own for _, m in sets[name].members}
    found = {name for name in others if not named([name])[0] and sets.drugs.misspelt([name])}
    assert len(others) > 1_000
    assert found == set()


@pytest.mark.parametrize("text", ["VetaKet", "Vetalar 100 mg/mL", "Imalgene 1000", "Narketan"])
def test_an_animal_product_is_ketamine_and_said_to_be_one(text: str, sets: ValueSets) -> None:
    identity = identify([], [text], sets)
    assert identity == Identity(drug="ketamine", by="name", veterinary=True)
    assert identify([KETAMINE], [text], sets).veterinary  # type: ignore[union-attr]
    assert not identify([KETAMINE], ["ketamine"], sets).veterinary  # type: ignore[union-attr]


def test_an_animal_product_is_said_to_be_one_also_when_only_its_code_tells(sets: ValueSets) -> None:
    identity = identify([VETAKET], ["ketamine 100 mg/mL"], sets)
    assert identity is not None
    assert identity.veterinary
    assert identity.strengths == (Decimal(100),)


@pytest.mark.parametrize("piece", ["\u0301\u0316", "e\u0316\u0301", "\u0f73\u0f71", "\uff21", "\u200d", "x-"])
def test_a_name_costs_in_proportion_to_its_length(piece: str) -> None:
    """Accents of two kinds in turn took the square of their number: 0.4 s for 20,000, as a note may have."""

    def cost(length: int) -> float:
        text, begun = piece * (length // len(piece)), time.thread_time()
        drugs.plain(text)
        return time.thread_time() - begun

    few, many = (min(cost(length) for _ in range(3)) for length in (2_000, 20_000))
    assert many < max(30 * few, 0.01)


@given(st.text(max_size=40))
def test_no_text_makes_the_search_for_names_fail(text: str) -> None:
    found, veterinary = named([text, text.upper()])
    assert found <= {"ketamine", "esketamine"}
    assert not veterinary or found == {"ketamine"}


separators = st.sampled_from([" ", ", ", "/", "-", "+", " (", ") ", ":", "_", "\n", "\u00a0"])
other_words = st.sampled_from(
    ["midazolam", "propofol", "injection", "50 mg/mL", "HCl", "norketamine", "in NaCl 0.9 %"]
)


@given(st.lists(other_words, max_size=3), st.lists(other_words, max_size=3), separators, st.booleans())
def test_ketamine_is_found_wherever_it_stands_in_a_text(
    before: list[str], after: list[str], separator: str, capital: bool
) -> None:
    name = "KETAMINE" if capital else "ketamine"
    assert named([separator.join([*before, name, *after])])[0] == {"ketamine"}


# Names that either of two drugs may have


@pytest.mark.parametrize("text", ["Ketanest", "KETANEST 25", "Ketanest 50 mg/ml", "Inj. Ketanest"])
def test_a_name_of_either_drug_is_judged_as_the_first_and_asked(sets: ValueSets, text: str) -> None:
    identity = identify([], [text], sets)
    assert identity is not None
    assert (identity.drug, identity.disagreement) == ("esketamine", None)
    assert identity.asked is not None
    assert said(identity.asked) == "the name may mean esketamine or ketamine; judged as esketamine"


@pytest.mark.parametrize(
    ("codings", "texts", "drug"),
    [
        ([KETAMINE], ["Ketanest"], "ketamine"),
        ([], ["Ketanest (ketamine)"], "ketamine"),
        ([(RXNORM, "2119365")], ["Ketanest"], "esketamine"),
        ([], ["Ketanest", "Ketanest S"], "esketamine"),
    ],
)
def test_where_something_else_says_which_drug_it_is_nothing_is_asked(
    sets: ValueSets, codings: list[tuple[str, str]], texts: list[str], drug: str
) -> None:
    identity = identify(codings, texts, sets)
    assert identity is not None
    assert (identity.drug, identity.asked) == (drug, None)


@pytest.mark.parametrize(
    ("codings", "texts", "made_for"),
    [
        ([], ["Spravato 28 mg"], {"nasal"}),
        ([(RXNORM, "2119387")], [], {"nasal"}),
        ([], ["Ketanest® S 25 mg/ml"], {"injection"}),
        ([], ["Vesierra"], {"injection"}),
        ([(RXNORM, "2119365")], ["esketamine"], set()),
    ],
)
def test_a_product_code_or_a_brand_says_how_it_is_given(
    sets: ValueSets, codings: list[tuple[str, str]], texts: list[str], made_for: set[str]
) -> None:
    identity = identify(codings, texts, sets)
    assert identity is not None
    assert identity.made_for == made_for


# Codes, and codes beside names


@pytest.mark.parametrize(
    ("system", "code", "drug"),
    [
        (RXNORM, "6130", "ketamine"),
        (RXNORM + "/", "6130", "ketamine"),
        ("urn:oid:2.16.840.1.113883.6.88", "238083", "ketamine"),
        (ATC, "N01AX03", "ketamine"),
        (NDC, "0409-2053-10", "ketamine"),
        (NDC, "00409205310", "ketamine"),
        (RXNORM, "2119365", "esketamine"),
        (ATC, "N01AX14", "esketamine"),
        (ATC, "N06AX27", "esketamine"),
    ],
)
def test_a_code_decides_without_any_text(sets: ValueSets, system: str, code: str, drug: str) -> None:
    identity = identify([(system, code)], [], sets)
    assert identity is not None
    assert (identity.drug, identity.by, identity.disagreement) == (drug, "code", None)
    assert identity.codings == ((system, code),)


@pytest.mark.parametrize(
    ("codings", "texts"),
    [
        ([], []),
        ([PROPOFOL], ["propofol"]),
        ([(RXNORM, "2284670")], []),  # published as esketamine, and invented
        ([("http://snomed.info/sct", "1156248006")], []),
        ([(LOCAL, "6130")], []),
        ([(ATC, "N01AX")], []),
        ([], ["norketamine in urine"]),
    ],
)
def test_what_is_not_ketamine_is_none(sets: ValueSets, codings: list[tuple[str, str]], texts: list[str]) -> None:
    assert identify(codings, texts, sets) is None


def test_any_coding_of_a_medication_is_enough(sets: ValueSets) -> None:
    identity = identify([(LOCAL, "K1"), PROPOFOL, KETAMINE], [], sets)
    assert identity is not None
    assert identity.by == "code"
    assert identity.codings == (KETAMINE,)


def test_a_name_decides_where_no_code_does(sets: ValueSets) -> None:
    assert identify([(LOCAL, "K1")], ["Ketalar"], sets) == Identity(drug="ketamine", by="name")


def test_a_code_of_another_drug_does_not_outweigh_the_name_and_is_reported(sets: ValueSets) -> None:
    identity = identify([PROPOFOL], ["ketamine 50 mg/mL"], sets)
    assert identity is not None
    assert (identity.drug, identity.by) == ("ketamine", "name")
    assert identity.disagreement is not None
    assert said(identity.disagreement) == "the name says ketamine, the code 8782 does not"


def test_a_code_of_a_drug_system_that_is_merely_unknown_is_no_disagreement(sets: ValueSets) -> None:
    identity = identify([("http://hl7.org/fhir/sid/ndc", "72266-0241-10")], ["ketamine 50 mg/mL"], sets)
    assert identity is not None
    assert identity.disagreement is None


def test_a_local_code_that_says_nothing_about_the_drug_is_no_disagreement(sets: ValueSets) -> None:
    identity = identify([(LOCAL, "8782")], ["ketamine 50 mg/mL"], sets)
    assert identity is not None
    assert identity.disagreement is None


@pytest.mark.parametrize(
    ("codings", "texts", "by", "strengths"),
    [
        ([KETAMINE_50, ESKETAMINE], [], "code", ()),
        ([ESKETAMINE], ["ketamine"], "code", ()),
        ([KETAMINE_50], ["S-ketamine"], "name", ()),
        ([KETAMINE], ["Spravato"], "name", ()),
        ([], ["ketamine or S-ketamine"], "name", ()),
        ([], ["ketamine", "esketamine"], "name", ()),
    ],
)
def test_where_both_are_named_or_coded_esketamine_is_judged_and_the_contradiction_said(
    sets: ValueSets, codings: list[tuple[str, str]], texts: list[str], by: str, strengths: tuple[Decimal, ...]
) -> None:
    identity = identify(codings, texts, sets)
    assert identity is not None
    assert (identity.drug, identity.by) == ("esketamine", by)
    assert identity.disagreement is not None
    assert said(identity.disagreement) == "both esketamine and ketamine are named; judged as esketamine"
    assert identity.strengths == strengths, "the strength of the other drug's product is not this drug's"
    assert identity.codings == tuple(c for c in codings if c == ESKETAMINE)


def test_product_codes_give_their_strength_and_two_of_them_both(sets: ValueSets) -> None:
    assert identify([KETAMINE_50], [], sets).strengths == (Decimal(50),)  # type: ignore[union-attr]
    both = identify([KETAMINE, KETAMINE_50, (RXNORM, "238082")], [], sets)
    assert both is not None
    assert sorted(both.strengths) == [Decimal(10), Decimal(50)]


def test_a_name_never_gives_a_strength(sets: ValueSets) -> None:
    assert identify([], ["ketamine 100 mg/mL"], sets).strengths == ()  # type: ignore[union-attr]


def test_every_set_that_holds_a_judged_drug_is_shipped_and_has_codes(sets: ValueSets) -> None:
    assert set(sets.drugs.sets) == {"esketamine_drug", "ketamine_drug", "ketamine_ndc"}
    for name in sets.drugs.sets:
        assert sets[name].members


def test_no_code_is_in_the_sets_of_both_drugs(sets: ValueSets) -> None:
    for name in sets.drugs.sets:
        for system, member in sets[name].members:
            identity = identify([(system, member.code)], [], sets)
            assert identity is not None
            assert identity.drug == name.partition("_")[0], member


def test_the_names_in_the_table_are_written_as_they_are_compared() -> None:
    for drug, entry in FAMILY.drugs.items():
        for name in [*entry.all_names, *entry.veterinary]:
            assert drugs.plain(name) == name
            assert named([name])[0] == {drug}
