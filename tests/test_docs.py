"""The documentation says what the code does."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import cds_service
import cds_service.cards
from docs import coverage_page, generate
from tests.docs.pages import PAGES

ROOT = Path(__file__).parents[1]


# The coverage page is held in tests/scenarios/test_coverage.py, where the scenarios are judged already.
@pytest.mark.parametrize("page", [page for page in generate.PAGES if page != coverage_page.PAGE])
def test_a_generated_page_is_what_make_docs_would_write(page: str) -> None:
    assert (ROOT / page).read_text("utf-8") == generate.PAGES[page](), f"run make docs: {page} is out of date"


def test_every_example_has_its_place_on_the_examples_page() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.json")} == set(generate.EXAMPLES)


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_make_help_lists_every_target_and_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    said = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = dict(re.findall(r"^make (\S+) +(\S.*)$", said, re.MULTILINE))
    assert set(listed) == set(phony.split())


def test_every_make_target_that_a_document_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`make ([a-z]+)", page.read_text("utf-8")))
        assert named <= targets, f"{page.name}: {named - targets}"


def test_the_paths_that_contributing_names_exist() -> None:
    named = re.findall(
        r"`((?:cds_service|cards|tests|docs|examples)/[\w./-]+)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists() and not re.search("[A-Z]{4}", path)] == []


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda f: f.stem
)
def test_every_issue_form_warns_of_patient_data_and_asks_for_a_promise(form: Path) -> None:
    body = yaml.safe_load(form.read_text("utf-8"))["body"]
    assert body[0]["type"] == "markdown"
    assert "Never paste patient data" in body[0]["attributes"]["value"]
    (promise,) = [each for each in body if each["type"] == "checkboxes"]
    assert promise["attributes"]["options"][0]["required"] is True


def test_the_licence_is_in_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert all((ROOT / name).is_file() for name in project["license-files"])
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text("utf-8")
    assert (Path(cds_service.__path__[0]) / "py.typed").is_file()
