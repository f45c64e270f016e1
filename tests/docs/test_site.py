"""The documentation as a site: built strictly, complete, and without anything from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each page by its path. A link that leads nowhere, or a page that the menu lacks, fails the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.html")}


def test_every_page_of_docs_is_in_the_site_and_the_readme_is_its_home(site: dict[str, str]) -> None:
    pages = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }
    assert pages <= set(site)
    assert "What it promises" in site["index.html"]


def test_pages_load_nothing_from_elsewhere(site: dict[str, str]) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//", re.IGNORECASE)
    assert {path: loaded.findall(text) for path, text in site.items() if loaded.search(text)} == {}


def test_lists_and_tables_are_shown_as_such(site: dict[str, str]) -> None:
    """GitHub takes a list that follows a line at once; the site's Markdown makes a paragraph of it."""
    flat = re.compile(r"<p>(?:(?!</p>).)*?\n(?:[-*] |\d+\. |\|)", re.DOTALL)
    assert {path: found[0][-60:] for path, text in site.items() if (found := flat.search(text))} == {}


def test_a_link_out_of_docs_leads_to_the_same_file_in_the_site(site: dict[str, str]) -> None:
    assert 'href="repository/CONTRIBUTING.html#add-a-drug"' in site["site.html"]
    assert 'href="../repository/examples/clients.yaml"' in site["connect/index.html"]
    assert 'href="../../index.html"' in "".join(site.values()) or 'href="../index.html"' in site["connect/index.html"]
