"""The closed table of units: right against an independent oracle, and closed."""

import itertools
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pint
import pytest
import ucumvert
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cds_service import units
from cds_service.orders.measure import COUNT_DIMENSIONS, DOSE_DIMENSIONS
from cds_service.units import CANONICAL, DIMENSIONS, Unit, UnknownUnit

TABLE = [unit for entries in units._UNITS.values() for unit in entries]

Ucum = Callable[[str], Any]


def named(unit: Unit) -> str:
    return f"{unit.dimension}:{unit.code}"


@pytest.fixture(scope="module")
def oracle() -> Ucum:
    """Reads a UCUM code with ucumvert into a pint quantity with exact fractions."""
    registry = pint.UnitRegistry(non_int_type=Fraction)
    registry.load_definitions(Path(ucumvert.__file__).with_name("pint_ucum_defs.txt"))
    parser, transformer = ucumvert.get_ucum_parser(), ucumvert.UcumToPintTransformer(ureg=registry)

    def read(code: str) -> Any:
        parsed = transformer.transform(ucumvert.parse_ucum(code, parser))
        # ucumvert gives the code 1 as an int and a bare annotation such as {score} as a str.
        return parsed if isinstance(parsed, registry.Quantity) else registry.Quantity(1)

    return read


@pytest.fixture(scope="module")
def source() -> dict[str, Any]:
    """The table that ours was drawn from, without temperature: no rule reads one."""
    text = (Path(__file__).parent / "sources" / "units.yaml").read_text("utf-8")
    table: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return table


@pytest.mark.parametrize("unit", [unit for unit in TABLE if unit.code != "kPa"], ids=named)
def test_every_factor_but_that_of_kpa_is_the_one_that_ucumvert_and_pint_compute(unit: Unit, oracle: Ucum) -> None:
    given_unit, canonical = oracle(unit.code), oracle(CANONICAL[unit.dimension].code)
    factor = given_unit.to(canonical.units).magnitude / canonical.magnitude
    if isinstance(factor, float):  # pint divides 1 by a unit in floats
        assert factor == pytest.approx(float(unit.factor), rel=1e-15)
    else:
        assert factor == unit.factor


def test_a_kilopascal_is_counted_with_the_millimetre_of_mercury_of_ucum_and_not_of_pint(oracle: Ucum) -> None:
    assert units.find("kPa").factor == 1000 / Fraction("133.322"), "UCUM: mm[Hg] is 133.322 Pa exactly"
    of_pint = oracle("kPa").to(oracle("mm[Hg]").units).magnitude
    assert of_pint == 1000 / Fraction("133.322387415")
    assert abs(1 - of_pint / units.find("kPa").factor) < Fraction(3, 10**6)


@pytest.mark.parametrize("unit", TABLE, ids=named)
def test_every_unit_measures_what_its_dimension_measures(unit: Unit, oracle: Ucum) -> None:
    assert oracle(unit.code).is_compatible_with(oracle(CANONICAL[unit.dimension].code))


def test_every_canonical_unit_is_the_one_that_values_are_in() -> None:
    assert {name: unit.factor for name, unit in CANONICAL.items()} == dict.fromkeys(DIMENSIONS, Fraction(1))
    assert set(DIMENSIONS) == {unit.dimension for unit in TABLE}


def test_no_two_dimensions_share_a_unit_but_those_that_are_named_in_every_look_up() -> None:
    twice = {code: {unit.dimension for unit in entries} for code, entries in units._UNITS.items() if len(entries) > 1}
    assert twice == {
        "kg": {"mass", "body_weight"},
        "g": {"mass", "body_weight"},
        "mg/L": {"concentration", "bilirubin_mass"},
        "mg/dL": {"concentration", "bilirubin_mass"},
    }


OWN_DIMENSIONS = {"thyrotropin", *COUNT_DIMENSIONS}
"""Added since: hyperthyroid-untreated has a limit for TSH, and the nasal product is counted."""
OWN_ALIASES = {"mIU/L": "m[IU]/L", "uIU/mL": "u[IU]/mL", "gamma": "ug/kg/min", "γ": "ug/kg/min"} | dict.fromkeys(
    ["mmhg", "mm hg", "MMHG", "mmHG", "MmHg", "mm(Hg)", "mm_Hg"], "mm[Hg]"
)
OWN_ALIASES |= dict.fromkeys(["lb.", "lbs.", "pound", "pounds", "lb_av"], "[lb_av]")
OWN_ALIASES |= dict.fromkeys(["ounce", "ounces"], "[oz_av]") | dict.fromkeys(
    ["stone", "stones", "stone_av"], "[stone_av]"
)
OWN_ALIASES |= dict.fromkeys(["/minute", "per minute", "1/min", "min-1", "min^-1", "rpm", "{resp}/min"], "/min")
OWN_ALIASES |= dict.fromkeys(["resp/min", "resp/mn", "Atemzüge/min", "Schläge/min"], "/min")
OWN_ALIASES |= {f"{what}{per}": "/min" for what in ("beats", "breaths") for per in ("/min", "/minute", " per minute")}
OWN_ALIASES |= dict.fromkeys(["µmol/L", "μmol/L", "µmol/l", "μmol/l", "umol/l", "micromol/L"], "umol/L")
OWN_ALIASES |= {"mg/dl": "mg/dL"} | dict.fromkeys(["U/liter", "unit/L", "units/L"], "U/L")


def test_the_table_is_that_of_its_source(source: dict[str, Any]) -> None:
    wanted = {
        name: {code: Fraction(factor) for code, factor in dimension["units"].items()}
        for name, dimension in source["dimensions"].items()
    }
    found: dict[str, dict[str, Fraction]] = {name: {} for name in DIMENSIONS if name not in OWN_DIMENSIONS}
    for unit in TABLE:
        if unit.dimension not in OWN_DIMENSIONS:
            found[unit.dimension][unit.code] = unit.factor
    assert found == wanted
    canonical = {name: dimension["canonical"] for name, dimension in source["dimensions"].items()}
    ours = {name: unit.code for name, unit in CANONICAL.items() if name not in OWN_DIMENSIONS}
    assert ours == canonical


def test_every_alias_of_the_source_is_read(source: dict[str, Any]) -> None:
    wanted = source["aliases"]
    assert {text: units.find(text).code for text in wanted} == wanted
    assert not wanted.keys() & OWN_ALIASES.keys()
    own = {k: v for k, v in units.ALIASES.items() if k not in wanted and not units.is_of(k, *COUNT_DIMENSIONS)}
    assert own == OWN_ALIASES


COUNTED = {
    "devices": "{device}", "Geräte": "{device}", "{actuat}": "{spray}", "puffs": "{spray}", "Sprühstöße": "{spray}",
}  # fmt: skip


@pytest.mark.parametrize(("written", "unit"), COUNTED.items())
def test_devices_and_sprays_are_counted_however_they_are_called(written: str, unit: str) -> None:
    assert units.find(written).code == unit
    assert not units.is_of(written, *DOSE_DIMENSIONS), "a count is no amount by itself"


def test_everything_that_the_source_refuses_is_refused(source: dict[str, Any]) -> None:
    gammas = {"gamma", "gamma/kg/min"}  # in intensive care they have one meaning
    for text in {*source["refused"]} - gammas:
        with pytest.raises(UnknownUnit):
            units.find(text)


def test_every_alias_leads_straight_to_a_unit_and_shadows_none() -> None:
    for alias, code in units.ALIASES.items():
        assert code in units._UNITS, alias
        assert alias not in units._UNITS
        assert units.find(alias).code == code


RATES = ["", "/kg", "/kg/min", "/kg/h", "/min", "/h", "/mL"]


@pytest.mark.parametrize("rest", [*RATES, "/kg/hr", "/kg/hour", "/kg/minute", "/hr", "/hour", "/ml"])
@pytest.mark.parametrize("micro", ["mcg", "\u00b5g", "\u03bcg"], ids=["mcg", "micro sign", "Greek mu"])
def test_a_microgram_is_a_thousandth_of_a_milligram_however_it_is_written(micro: str, rest: str) -> None:
    in_milligrams = units.find("mg" + rest.replace("hour", "h").replace("hr", "h").replace("minute", "min"))
    assert units.find(micro + rest).factor * 1000 == in_milligrams.factor
    assert units.find(micro + rest).dimension == in_milligrams.dimension


REFUSED = [
    "MG", "Mg", "mG", "MG/KG", "MG/ML", "MG/HR", "MG/KG/HR", "MG/KG/H", "Mg/kg", "mg/KG", "mg/kg/H", "mg/Kg/h",
    "MCG", "Mcg", "UG", "Ug", "MCG/KG/MIN", "mcg/KG/min", "KG", "Kg", "kG", "LB", "LBS", "Lb", "G", "ML", "Ml",
    "mL/H", "ml/H", "ML/HR", "HR", "H", "Min", "MIN", "min/", "mn", "mo", "M", "m/kg", "K/uL", "C", "F", "pH", "degC",
    "degF", "Cel", "[degF]", "K", "Gamma", "GAMMA", "mg%", "mg/{spray}", "[mg]", "mg/kg{ideal_body_weight}/h",
    "mg{ketamine}/kg{ideal_body_weight}/h", "mg{per_kg}", "mg{/kg}", "mg{kg}/h", "{mg}", "{pill}", "{tbl}", "tablet",
    "drops", "gtt", "vial", "amp", "mg/kg/s", "mg/kg/wk", "g/kg/h", "ng/kg/min", "mg/12h", "mg/(12.h)", "mg/0h",
    "mEq/L", "mmol/mol", "IU", "[IU]/L", "cc", "CC", "mg.", "mg/kg/", "/kg//h", "mg//kg", "mgs", "24 mg/h", "µ", "μ",
    "mg⁄kg", "mg∕kg", "mg/㎏", "㎎", "㎍", "ｍｇ", "mg/kg-1", "mg/(kg/h)", "mg.kg.h", "mg.h", "mg kg", "mg h", "mgh",
    "mg/(kg.h", "mg/kg.h)", "()", "mg/()", "mg/mg", "mg/h/h", "kg/kg", "per kg", "dose", "/dose",
]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [*REFUSED, "", " ", "mg\u200b", "m g", "mg/k g", "mg/kg bolus", "None", "null", "0", "2"],
)  # fmt: skip
def test_a_text_outside_the_table_is_refused(text: str) -> None:
    with pytest.raises(UnknownUnit, match="is not in the table of units"):
        units.find(text)
    with pytest.raises(UnknownUnit):
        units.quantity("1", text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ug.kg-1.min-1", "ug/kg/min"),
        ("ug/(min.kg)", "ug/kg/min"),
        ("micrograms per kilogram per minute", "ug/kg/min"),
        ("microgrammes/kg/minute", "ug/kg/min"),
        ("Mikrogramm pro Kilogramm pro Minute", "ug/kg/min"),
        ("mcg·kg⁻¹·min⁻¹", "ug/kg/min"),
        ("mcg kg^-1 min^-1", "ug/kg/min"),
        ("gamma", "ug/kg/min"),
        ("gamma/kg/min", "ug/kg/min"),
        ("γ/min", "ug/min"),
        ("mg/kg.h", "mg/kg/h"),
        ("mg/kg KG/h", "mg/kg/h"),
        ("mg/kg{body_weight}/h", "mg/kg/h"),
        ("mg{ketamine base}/kg/h", "mg/kg/h"),
        ("mg per kg body weight per hour", "mg/kg/h"),
        ("mg / kg / h", "mg/kg/h"),
        (" mg\u00a0/kg ", "mg/kg"),
        ("mg/kg/dose", "mg/kg"),
        ("mg/{dose}", "mg"),
        ("Milligramm", "mg"),
        ("milligram(s)", "mg"),
        ("MILLIGRAMS", "mg"),
        ("mg/24h", "mg/d"),
        ("mg/24 h", "mg/d"),
        ("mg/24.h", "mg/d"),
        ("mg/(24.h)", "mg/d"),
        ("mg per 24 hours", "mg/d"),
        ("mg/1440 min", "mg/d"),
        ("mg/60min", "mg/h"),
        ("mg/Tag", "mg/d"),
        ("mg/j", "mg/d"),
        ("ml/Std.", "mL/h"),
        ("mL por hora", "mL/h"),
        ("millilitres per hour", "mL/h"),
        ("mg per millilitre", "mg/mL"),
        ("Kilogramm", "kg"),
        ("Minuten", "min"),
    ],
)
def test_a_unit_as_people_write_it_is_the_unit_of_the_table(text: str, code: str) -> None:
    assert units.find(text) == units.find(code)


def test_a_gamma_alone_is_a_rate_and_no_mass() -> None:
    assert units.dimensions_of("gamma") == ("mass_per_bodymass_time",)


# Every writing of every unit that is made of parts ---------------------------------------------------------

BY_PARTS = {code: factors for factors, code in units._BY_FACTORS.items()}
UCUM_PARTS = {"L": ["L", "l"], "mL": ["mL", "ml"], "uL": ["uL", "ul"]}


def forms(above: str, below: list[str]) -> list[str]:
    """A quotient in every form that UCUM has for it; `below` in one order."""
    made = ["/".join([above, *below]), ".".join([above, *(f"{part}-1" for part in below)])]
    if below:
        made += [f"{above}/({'.'.join(below)})", ".".join([*(f"{part}-1" for part in below), above])]
        made += [f"{above}/{below[0]}" + "".join(f".{part}-1" for part in below[1:])]
        made += [f"({above}/{below[0]})" + "".join(f"/{part}" for part in below[1:])]
    return made


def written(code: str, names: Callable[[str], list[str]]) -> list[str]:
    """A code in every form, with every name of its parts."""
    (above,) = [name for name, exponent in BY_PARTS[code] if exponent > 0]
    below = [name for name, exponent in BY_PARTS[code] if exponent < 0]
    return [
        form
        for order in itertools.permutations(below)
        for top, *rest in itertools.product(names(above), *(names(part) for part in order))
        for form in forms(top, rest)
    ]


def ucum_names(part: str) -> list[str]:
    return ["mg", "mg{ketamine}"] if part == "mg" else UCUM_PARTS.get(part, [part])


@pytest.mark.parametrize("code", BY_PARTS)
def test_every_ucum_form_of_a_unit_is_the_same_unit_here_and_for_ucumvert(code: str, oracle: Ucum) -> None:
    unit = units.find(code)
    texts = dict.fromkeys(written(code, ucum_names))
    if "d" in dict(BY_PARTS[code]) and code != "d":
        texts |= dict.fromkeys(text.replace("/d", "/(24.h)") for text in texts if text.endswith("/d"))
    for text in texts:
        found = units.find(text, unit.dimension)
        assert (found.factor, found.dimension) == (unit.factor, unit.dimension), text
        ratio = oracle(text) / oracle(code)
        assert ratio.to("dimensionless").magnitude == pytest.approx(1, rel=1e-15), text


@given(st.data(), st.sampled_from([*BY_PARTS]))
def test_every_writing_of_a_unit_has_its_exact_factor_and_dimension(data: st.DataObject, code: str) -> None:
    joints = st.sampled_from(["/", " / ", " per ", "/ ", " pro ", " par ", " por ", " je "])
    (above,) = [name for name, exponent in BY_PARTS[code] if exponent > 0]
    below = data.draw(st.permutations([name for name, exponent in BY_PARTS[code] if exponent < 0]))
    text = data.draw(st.sampled_from(units.WRITINGS.spellings(above)))
    for part in below:
        text += data.draw(joints) + data.draw(st.sampled_from(units.WRITINGS.spellings(part)))
    if text in units.ALIASES:  # gamma alone
        return
    unit = units.find(code)
    for found in (units.find(text, unit.dimension), units.find(f"  {text} ", unit.dimension)):
        assert (found.factor, found.dimension) == (unit.factor, unit.dimension)


@given(st.sampled_from([*units._UNITS, *units.ALIASES]), st.sampled_from([str.upper, str.title, str.swapcase]))
def test_no_look_up_of_a_symbol_folds_case(text: str, fold: Callable[[str], str]) -> None:
    folded = fold(text)
    if folded in units._UNITS or folded in units.ALIASES:
        return  # ml and mL are both in the table
    if folded == "l":
        return  # a litre, as L
    with pytest.raises(UnknownUnit):
        units.find(folded)


@given(st.one_of(st.text(max_size=12), st.lists(st.sampled_from(
    ["mg", "ug", "kg", "h", "min", "mL", "/", ".", "(", ")", "-1", "24", "per", " ", "{x}", "dose"]), max_size=9
).map("".join)))  # fmt: skip
def test_whatever_is_found_is_in_the_table(text: str) -> None:
    try:
        unit = units.find(text)
    except UnknownUnit:
        return
    assert unit in TABLE


def test_a_long_text_is_refused_without_being_read() -> None:
    for text in ("mg" + "/kg" * 10_000, "(" * 5_000, "mg/" * 20_000, "µg " * 20_000):
        with pytest.raises(UnknownUnit):
            units.find(text)


def test_a_unit_of_another_dimension_is_refused_and_the_message_says_which_were_asked_for() -> None:
    with pytest.raises(UnknownUnit, match=re.escape("'mL/h' is not in the table of mass or mass_per_time")):
        units.find("mL/h", "mass", "mass_per_time")


@pytest.mark.parametrize("text", ["mg/kg", "mg/kg/h", "%", "/min", "1"])
def test_a_dose_per_kilogram_is_never_a_bare_number_a_share_or_a_frequency(text: str) -> None:
    """To a general unit parser mg/kg has no dimension: 5 mg/kg is 0.0005 % there."""
    own = units.find(text).dimension
    others = {"mass_per_bodymass", "mass_per_bodymass_time", "fraction", "rate", "dimensionless"} - {own}
    with pytest.raises(UnknownUnit):
        units.find(text, *others)


def test_the_first_named_dimension_wins_for_a_code_that_stands_in_two() -> None:
    assert units.quantity(70, "kg", "body_weight", "mass").value == 70
    assert units.quantity(70, "kg", "mass", "body_weight").value == 70_000_000
    assert units.quantity("1.2", "mg/dL", "bilirubin_mass").value == Fraction("1.2")
    assert units.quantity("1.2", "mg/dL", "concentration").value == Fraction("0.012")
