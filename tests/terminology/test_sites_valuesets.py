"""A site's own value sets add codes to the shipped ones, take none away, and stop the start where they are wrong."""

from decimal import Decimal
from pathlib import Path

import pytest

from cds_service.terminology import valuesets
from cds_service.terminology.valueset import ValueSetError
from tests.terminology.sets import (
    ATC,
    ICD_10_CM,
    RXNORM,
    SNOMED,
    Json,
    branch,
    directory,
    enumerated,
    evidence,
    value_set,
)


def test_a_sites_set_adds_its_codes_to_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    added = {"system": SNOMED, "code": "9990001", "display": "A disease of this site"}
    sets = valuesets.load(directory(tmp_path, {"name": "dx_myasthenia", "expansion": {"contains": [added]}}))
    shipped = valuesets.load()
    assert "dx_myasthenia" in sets.members_of(SNOMED, "9990001")
    assert len(sets["dx_myasthenia"].members) == len(shipped["dx_myasthenia"].members) + 1
    assert sets["dx_myasthenia"].title == shipped["dx_myasthenia"].title
    assert sets.names() == shipped.names()


def test_a_sites_set_does_not_change_what_the_shipped_one_says_of_a_code(tmp_path: Path) -> None:
    again = {"system": RXNORM, "concept": [{"code": "238082", "extension": evidence(strength_mg_per_mL=50)}]}
    sets = valuesets.load(directory(tmp_path, value_set(again, name="ketamine_drug")))
    assert sets.members_of(RXNORM, "238082")["ketamine_drug"].strength == Decimal(10)


def test_what_the_shipped_set_excludes_stays_excluded(tmp_path: Path) -> None:
    site = value_set(enumerated(ICD_10_CM, "O14.05"), name="dx_pregnancy")
    assert "dx_pregnancy" not in valuesets.load(directory(tmp_path, site)).members_of(ICD_10_CM, "O14.05")


def test_a_set_without_codes_has_those_of_the_site(tmp_path: Path) -> None:
    sets = valuesets.load(
        directory(tmp_path, value_set(enumerated("urn:site", "CLINIC"), name="loc_infusion_clinic"))
    )
    assert not sets["loc_infusion_clinic"].no_codes
    assert sets.member("loc_infusion_clinic", [("urn:site", "CLINIC")]) is not None
    assert sets["obs_child_pugh"].no_codes


def test_a_name_that_is_not_shipped_is_a_set_of_the_site_and_may_exclude(tmp_path: Path) -> None:
    compose = {"include": [branch(ATC, "N05A")], "exclude": [branch(ATC, "N05AN")]}
    sets = valuesets.load(directory(tmp_path, {"name": "our_set", "title": "Ours", "compose": compose}))
    assert "our_set" in sets.members_of(ATC, "N05AX08")
    assert "our_set" not in sets.members_of(ATC, "N05AN01")


def test_a_sites_set_may_not_take_codes_away(tmp_path: Path) -> None:
    compose = {"include": [enumerated(SNOMED, "1")], "exclude": [enumerated(SNOMED, "91637004")]}
    with pytest.raises(ValueSetError, match=r"0\.json: dx_myasthenia excludes codes; a site's set can only add"):
        valuesets.load(directory(tmp_path, {"name": "dx_myasthenia", "compose": compose}))


def test_the_expansion_stands_for_filters_and_excludes_that_only_the_server_could_follow(tmp_path: Path) -> None:
    compose = {
        "include": [branch(ICD_10_CM, "G70"), {"valueSet": ["http://example.org/other"]}],
        "exclude": [branch(SNOMED, "91637004")],
    }
    expansion = {"contains": [{"system": ICD_10_CM, "code": "G73.3"}]}
    sets = valuesets.load(directory(tmp_path, {"name": "our_set", "compose": compose, "expansion": expansion}))
    assert "our_set" in sets.members_of(ICD_10_CM, "G73.3")
    assert "our_set" not in sets.members_of(ICD_10_CM, "G70.0")


@pytest.mark.parametrize(
    "broken",
    [
        {"name": "dx_myasthenia"},
        {"name": "dx_myasthenia", "expansion": {"contains": []}},
        {"name": "dx_myasthenia", "expansion": {"contains": [{"code": "1"}]}},
        {"name": 5, "expansion": {"contains": [{"system": SNOMED, "code": "1"}]}},
        {"resourceType": "Bundle", "entry": []},
    ],
)
def test_a_sites_set_that_is_empty_or_unreadable_stops_the_start(broken: Json, tmp_path: Path) -> None:
    with pytest.raises(ValueSetError, match=r"0\.json"):
        valuesets.load(directory(tmp_path, broken))


def test_a_directory_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueSetError, match="cannot be read"):
        valuesets.load(tmp_path / "none")
