"""Administrative gender as it is really written; what is not surely one of two is not known."""

from __future__ import annotations

import tomllib
from importlib import resources

_SEX_OF = {
    word: sex
    for sex, words in tomllib.loads(resources.files(__package__).joinpath("genders.toml").read_text("utf-8")).items()
    for word in words
}


def sex_of(gender: str | None) -> str | None:
    """male or female; None for anything else."""
    return _SEX_OF.get(gender.strip().lower()) if gender else None
