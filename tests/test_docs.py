"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import generate

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", generate.PAGES)
def test_a_generated_page_is_what_make_docs_would_write(page: str) -> None:
    assert (ROOT / page).read_text("utf-8") == generate.PAGES[page](), f"run make docs: {page} is out of date"


def test_every_example_has_its_place_on_the_examples_page() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.json")} == set(generate.EXAMPLES)


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
