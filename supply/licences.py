"""Writes docs/licences.md: the licence of every package that the service runs with, as the package itself says it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata

from supply.locked import packages

_LONGEST = 60


def page() -> str:
    """docs/licences.md."""
    rows = "\n".join(f"| {name} | {version} | {licence(name)} |" for name, version in sorted(packages().items()))
    return (
        "# Licences of the packages\n\n"
        "What the service runs with (`requirements/run.txt`), and the licence that each package states of itself. "
        "This page is written by `make docs`; [NOTICE](../NOTICE) has the licences of the terminologies.\n\n"
        f"| package | version | licence |\n|---|---|---|\n{rows}\n"
    )


def licence(name: str) -> str:
    """What an installed package says: an SPDX expression, else its own words, else its classifiers."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return "not known: it is not installed here"
    words = said.get("License-Expression") or said.get("License") or ""
    if words and len(words) <= _LONGEST and "\n" not in words:
        return words
    classifiers = [each for each in said.get_all("Classifier") or [] if each.startswith("License ::")]
    return ", ".join(each.rpartition(" :: ")[2] for each in classifiers) or "not stated"
