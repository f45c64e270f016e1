"""Packages of npm that tests need, each held against the hash in a package-lock.json; fetched once into build/."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_LISTED = ("package.json", "package-lock.json")
_INSTALL_SECONDS = 300


class NotInstalled(Exception):
    """npm could not fetch the packages; the message says why."""


def install(recipe: Path, build: Path) -> None:
    """Fetch what `recipe` lists into `build`, if it is missing there or another. Raises NotInstalled."""
    if is_installed(recipe, build):
        return
    for name in _LISTED:
        shutil.copyfile(recipe / name, build / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    npm = subprocess.run(command, cwd=build, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS)
    if npm.returncode != 0:
        (build / _LISTED[-1]).unlink()  # it vouches for what is installed
        raise NotInstalled(f"npm could not fetch the packages (is it offline?):\n{npm.stderr[-3000:]}")


def is_installed(recipe: Path, build: Path) -> bool:
    has_all = (build / "node_modules" / ".package-lock.json").is_file()
    return has_all and all(
        (build / name).is_file() and (build / name).read_bytes() == (recipe / name).read_bytes() for name in _LISTED
    )
