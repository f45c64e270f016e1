"""Takes what lies outside docs/ into the site: links lead to the same file there as in the repository.

The README is the home page; other pages and files that a page links to stand under repository/, at their own paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
HOME = "README.md"
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each file outside docs/ to which a page leads, and what those pages lead to."""
    waiting = [HOME, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    seen = set(waiting)
    files.append(_taken_in(HOME, config))
    while waiting:
        page = waiting.pop()
        for target in _targets(page):
            if target not in seen and not target.startswith("docs/") and (ROOT / target).is_file():
                seen.add(target)
                files.append(_taken_in(target, config))
                if target.endswith(".md"):
                    waiting.append(target)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with each link as it is in the site; a link to a folder of files is left as its words."""
    source = Path(str(page.file.abs_src_path)).relative_to(ROOT).as_posix()

    def moved(link: re.Match[str]) -> str:
        target = _in_site(_target(source, link["path"]))
        return relpath(target, str(PurePosixPath(page.file.src_uri).parent)) + (link["anchor"] or "")

    return LINK.sub(moved, _without_links_to_folders(source, markdown))


def _taken_in(path: str, config: MkDocsConfig) -> File:
    return File.generated(config, _in_site(path), abs_src_path=str(ROOT / path))


def _in_site(path: str) -> str:
    if path == HOME:
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"repository/{path}"


def _targets(page: str) -> Iterator[str]:
    for link in LINK.finditer((ROOT / page).read_text("utf-8")):
        yield _target(page, link["path"])


def _target(page: str, link: str) -> str:
    """Where a link of a page leads, from the root of the repository; a folder's page is its README."""
    path = normpath(str(PurePosixPath(page).parent / link))
    return f"{path}/README.md" if (ROOT / path / "README.md").is_file() else path


def _without_links_to_folders(page: str, markdown: str) -> str:
    def plain(link: re.Match[str]) -> str:
        return link["words"] if (ROOT / _target(page, link["path"])).is_dir() else link[0]

    return re.sub(r"\[(?P<words>[^\]\[]+)\]\((?!https?:|mailto:|#)(?P<path>[^)#\s]+)\)", plain, markdown)
