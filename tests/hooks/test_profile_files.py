"""The files in which a site writes what its client wants otherwise than the standard."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from cds_service.hooks import profiles
from cds_service.hooks.profiles import ProfileError

STANDARD = profiles.load("standard")


def test_a_site_writes_what_differs_from_the_standard(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('says = "Ours"\ncard_limit = 2\n[words]\ncut = "Nicht gezeigt"\n', "utf-8")
    made = profiles.load("own.toml", tmp_path)
    assert made == replace(STANDARD, says="Ours", card_limit=2, words=replace(STANDARD.words, cut="Nicht gezeigt"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("card_limits = 1", "unknown field `card_limits`"),
        ("card_limit = -1", "card_limit is 0"),
        ('card_limit = "1"', r"Expected `int`, got `str` - at `\$\.card_limit`"),
        ('suggestions = "replace"', r"Invalid enum value 'replace' - at `\$\.suggestions`"),
        ('[words]\nshown = "x"', "unknown field `shown`"),
        ('[words]\nmore = "more"', "words.more has no {count}"),
        ("words = 1", "own.toml"),
        ("x", "own.toml"),
    ],
)
def test_a_profile_with_a_fault_is_refused_with_its_place(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(text, "utf-8")
    with pytest.raises(ProfileError, match=says):
        profiles.load("own.toml", tmp_path)


@pytest.mark.parametrize("name", ["cerner", "", "../standard", "none.toml"])
def test_a_profile_that_does_not_exist_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="profile"):
        profiles.load(name, tmp_path)
