"""A line of logic is read as it is meant, in every arrangement of and, or, not, unless and parentheses."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.protocol.logic import WORDS, LogicError, is_name, parse

NAMES = ("fever", "high systolic", "in the emergency department", "notable", "order", "android unless-like")


def fact(name: str) -> dict[str, Any]:
    return {"fact": "named", "of": name}


def read(line: str) -> dict[str, Any]:
    return parse(line, fact)


def joined(kind: str, *parts: Any) -> dict[str, Any]:
    return {"fact": kind, "of": [fact(part) if isinstance(part, str) else part for part in parts]}


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("a", fact("a")),
        ("a or b or c", joined("any", "a", "b", "c")),
        ("a and b or c", joined("any", joined("all", "a", "b"), "c")),
        ("a or b and c", joined("any", "a", joined("all", "b", "c"))),
        ("(a or b) and c", joined("all", joined("any", "a", "b"), "c")),
        ("not a and b", joined("all", joined("not", "a"), "b")),
        ("not (a and b)", joined("not", joined("all", "a", "b"))),
        ("a unless b", joined("all", "a", joined("unless", "b"))),
        ("a or b unless c", joined("all", joined("any", "a", "b"), joined("unless", "c"))),
        ("a and b unless c unless d", joined("all", "a", "b", joined("unless", "c"), joined("unless", "d"))),
        ("a and (b or unless c)", joined("all", "a", joined("any", "b", joined("unless", "c")))),
        ("a unless b or c", joined("all", "a", joined("unless", joined("any", "b", "c")))),
        ("  a\n  and   a  longer name ", joined("all", "a", "a longer name")),
    ],
)
def test_a_line_is_read_as_it_is_meant(line: str, meant: dict[str, Any]) -> None:
    assert read(line) == meant


@pytest.mark.parametrize("line", ["", "a or", "or a", "a b) or c", "(a", "a)", "not", "a and or b", "()", "a unless"])
def test_a_line_that_means_nothing_is_refused_with_its_words(line: str) -> None:
    with pytest.raises(LogicError, match="stands where"):
        read(line)


@pytest.mark.parametrize("name", ["", " a", "this and that", "a (b)", "unless", "not so"])
def test_a_name_that_a_line_could_not_hold_is_none(name: str) -> None:
    assert not is_name(name)


TREES = st.recursive(
    st.sampled_from(NAMES[:4] + NAMES[4:5]).map(fact),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"fact": "any", "of": parts}, st.lists(inner, min_size=2, max_size=4)),
        st.builds(lambda parts: {"fact": "all", "of": parts}, st.lists(inner, min_size=2, max_size=4)),
        st.builds(lambda part: {"fact": "not", "of": [part]}, inner),
        st.builds(lambda part: {"fact": "unless", "of": [part]}, inner),
    ),
    max_leaves=12,
)


def written(tree: dict[str, Any]) -> str:
    """A tree as a line with every parenthesis that it can have."""
    if tree["fact"] == "named":
        return str(tree["of"])
    if tree["fact"] in ("not", "unless"):
        return f"{tree['fact']} ({written(tree['of'][0])})"
    return {"any": " or ", "all": " and "}[tree["fact"]].join(f"({written(part)})" for part in tree["of"])


@given(TREES)
def test_what_is_written_in_full_is_read_back(tree: dict[str, Any]) -> None:
    assert read(written(tree)) == tree


@given(st.text(max_size=40) | st.lists(st.sampled_from([*WORDS, "(", ")", "a", "b c"]), max_size=12).map(" ".join))
def test_any_text_is_a_clause_or_a_fault_of_the_line(text: str) -> None:
    with contextlib.suppress(LogicError):
        assert read(text)["fact"] in ("named", "any", "all", "not", "unless")
