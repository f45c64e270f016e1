"""A value set that means more than can be done, or nothing, stops the start and is named."""

import json
from pathlib import Path

import pytest

from cds_service.terminology import valueset, valuesets
from cds_service.terminology.valueset import ValueSetError
from tests.terminology.sets import (
    ICD_10_CM,
    LOINC,
    RXNORM,
    SNOMED,
    Json,
    branch,
    enumerated,
    evidence,
    loaded,
    value_set,
)

# Loading


def read_error(value: Json | bytes) -> str:
    with pytest.raises(ValueSetError) as caught:
        valueset.read(value if isinstance(value, bytes) else json.dumps(value).encode(), "site.json")
    return str(caught.value)


@pytest.mark.parametrize(
    "empty",
    [
        {"name": "a_set"},
        {"name": "a_set", "compose": {"include": []}},
        value_set({"system": "urn:s", "concept": []}),
        value_set({"system": "urn:s", "concept": [{"code": "x", "extension": evidence(status="unverified")}]}),
        {"name": "a_set", "compose": {"include": [], "exclude": [enumerated(SNOMED, "1")]}},
        {"name": "a_set", "expansion": {"contains": []}},
    ],
    ids=["nothing", "no include", "no concept", "only unverified", "only excluded", "empty expansion"],
)
def test_a_set_that_would_match_nothing_stops_the_start(empty: Json) -> None:
    message = read_error(empty)
    assert "site.json" in message
    assert "a_set is empty" in message


def test_a_set_that_says_that_it_has_no_codes_is_loaded_and_says_so() -> None:
    marked = {"name": "a_set", "extension": [{"url": "https://example.org/no-codes", "valueBoolean": True}]}
    sets = loaded(marked)
    assert sets["a_set"].no_codes
    assert "a_set" in sets


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"", "cannot|can be read"),
        (b"[]", "can be read"),
        (b'{"name": "a"', "can be read"),
        ({"compose": {"include": [enumerated(SNOMED, "1")]}}, "name"),
        (value_set({"concept": [{"code": "1"}]}), "system"),
        (value_set({"valueSet": ["http://example.org/other"]}), "system"),
        (value_set({"system": SNOMED, "concept": [{"display": "no code"}]}), "code"),
        (value_set({"system": RXNORM, "concept": [{"code": 6130}]}), "6130"),
        (value_set({"system": LOINC, "filter": [{"property": "STATUS", "op": "=", "value": "A"}]}), "is-a"),
        (value_set({"system": ICD_10_CM, "filter": [{"property": "concept", "op": "in", "value": "A"}]}), "is-a"),
        (value_set(branch(SNOMED, "58214004")), "must be listed"),
    ],
)
def test_a_file_that_means_more_than_can_be_done_stops_the_start(broken: Json | bytes, why: str) -> None:
    message = read_error(broken)
    assert message.startswith("site.json")
    assert any(part in message for part in why.split("|"))


def test_a_directory_without_a_set_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("no sets here")
    with pytest.raises(ValueSetError, match="no value sets"):
        valuesets.load(tmp_path)


def test_one_broken_file_stops_the_start_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps(value_set(enumerated(SNOMED, "1"))))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueSetError, match=r"broken\.json"):
        valuesets.load(tmp_path)
