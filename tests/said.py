"""What is said by key and values, in the English that the service comes with."""

from __future__ import annotations

from functools import cache
from typing import Any

from cds_service.cards.languages import File, Language
from cds_service.cards.sentences import SENTENCES
from cds_service.cards.texts import ENGLISH, Words
from cds_service.folders import COMMON
from cds_service.says import Listed, Named, Said, Says


def said(says: Says) -> str:
    """In words."""
    return _words().fill(says)


def told(given: Any) -> Any:
    """Whatever holds such, with all of it in words."""
    if isinstance(given, Said | Listed | Named):
        return said(given)
    if isinstance(given, dict):
        return {key: told(value) for key, value in given.items()}
    return type(given)(map(told, given)) if isinstance(given, tuple | list | set) else given


@cache
def _words() -> Words:
    file, language = File(COMMON / "words.yaml", ENGLISH, site=False), Language(ENGLISH, {})
    language.words = {key: language.word(file, key, file.words[key])[0] for key in SENTENCES}
    return language.made()
