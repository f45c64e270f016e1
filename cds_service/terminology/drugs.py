"""Is this a drug that the service judges, and which one: by code first, by whole-word name where none decides."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Any, Literal

from cds_service.terminology import products
from cds_service.terminology.products import INGREDIENT_SYSTEM, Product
from cds_service.terminology.systems import DRUG_SYSTEMS, canonical_system
from cds_service.terminology.valuesets import Member, ValueSets
from cds_service.terminology.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Identity:
    """Which drug a medication is (`ketamine`, `esketamine`), and how that was found out."""

    drug: str
    by: Literal["code", "name"]
    veterinary: bool = False
    disagreement: str | None = None
    """What else the medication is coded or named as, for the card."""
    strengths: tuple[Decimal, ...] = ()
    """mg base per mL, from product codes that fix it."""
    codings: tuple[tuple[str, str], ...] = ()
    """The codings that decided."""
    asked: str | None = None
    """Why it may be another drug of the family, for the card."""
    made_for: frozenset[str] = frozenset()
    """The ways in which its product is given (`nasal`, `injection`), by product code or brand; empty where neither
    says one."""


def whole_words(words: Iterable[str]) -> re.Pattern[str]:
    """Any of `words` in a text that `plain` made, with no letter or digit on either side; the longest first."""
    longest_first = "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![^\W_])(?:{longest_first or '(?!)'})(?![^\W_])")


_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"), "-")
_UNSEEN = dict.fromkeys(map(ord, "®™\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_REWRITTEN = _DASHES | _UNSEEN


def plain(text: str) -> str:
    """The form in which names are compared.

    Lower case, composed, any dash as a hyphen, runs of blanks as one, without ®, ™ and what cannot be seen.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFC", text).lower().translate(_REWRITTEN).split())


_TOKENS = re.compile(r"[^\W_]+")


def words_in(text: str) -> list[str]:
    """The words of a text between which `whole_words` sees a boundary."""
    return _TOKENS.findall(text)


def telling(names: Iterable[str]) -> frozenset[str]:
    """Of each name its longest word: a text with none of them has none of the names."""
    return frozenset(max(words_in(name), key=len) for name in names)


class Names:
    """Names found in a text as `whole_words` finds them, by the word that each begins with: there may be many."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names`: each begins with a letter or a digit."""
        self._by_word: dict[str, list[str]] = {}
        for name in sorted(set(names), key=len, reverse=True):
            if first := _TOKENS.match(name):
                self._by_word.setdefault(first[0], []).append(name)
            else:
                raise ValueError(f"the name {name!r} does not begin with a letter or a digit")

    def all(self, text: str) -> list[str]:
        """Each name in a text that `plain` made, the longest of those that begin at one place."""
        if self._by_word.keys().isdisjoint(words_in(text)):
            return []
        found: list[str] = []
        end = 0
        for token in _TOKENS.finditer(text):
            start = token.start()
            if start < end:
                continue
            for name in self._by_word.get(token[0], ()):
                if text.startswith(name, start) and not _TOKENS.match(text, start + len(name)):
                    found.append(name)
                    end = start + len(name)
                    break
        return found


def names_of(entry: Mapping[str, Any]) -> list[str]:
    """All names of an entry of drugs.toml, its brands among them."""
    return [name for key in ("names", *_FORMS) for name in entry.get(key, ())]


class _Drug:
    def __init__(self, entry: dict[str, Any]) -> None:
        self.name: str = entry["name"]
        self.sets: tuple[str, ...] = tuple(entry["sets"])
        self.words = whole_words(names_of(entry))
        self.animal_words = whole_words(entry.get("veterinary", ()))
        self.brands = {form: whole_words(entry[form]) for form in _FORMS if form in entry}


class _Either:
    """A name under which two drugs were sold; the first of them is judged."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.words = whole_words(entry["names"])
        self.first, *self.others = entry["drugs"]


_FORMS = ("nasal", "injection")
"""As products.csv names them."""
_TABLE = tomllib.loads(resources.files(__package__).joinpath("drugs.toml").read_text("utf-8"))
_DRUGS = tuple(_Drug(entry) for entry in _TABLE["drug"])
_EITHER = tuple(_Either(entry) for entry in _TABLE["either"])
_LOOK_ALIKE = whole_words(_TABLE["look_alike"]["names"])
_NAMES = Vocabulary(
    {entry["name"]: {"en": [*names_of(entry), *entry.get("veterinary", ())]} for entry in _TABLE["drug"]}
    | {name: {"en": [name]} for entry in _TABLE["either"] for name in entry["names"]}
)
_TELLING = telling(
    name
    for entry in (*_TABLE["drug"], *_TABLE["either"])
    for name in (*names_of(entry), *entry.get("veterinary", ()))
)
DRUG_SETS = tuple(name for drug in _DRUGS for name in drug.sets)
SET_OF = {drug.name: drug.sets[0] for drug in _DRUGS}
"""The value set that stands for a drug, however it was recognised."""


def named(texts: Iterable[str]) -> tuple[set[str], bool]:
    """The drugs that `texts` name as whole words, and whether one is an animal product.

    A name that either of two drugs may have stands for the first of them, where nothing else names one.
    """
    drugs, veterinary, either = _named(texts)
    return drugs or {each.first for each in either}, veterinary


def _named(texts: Iterable[str]) -> tuple[set[str], bool, list[_Either]]:
    drugs: set[str] = set()
    veterinary = False
    either: list[_Either] = []
    for text in map(plain, texts):
        if _TELLING.isdisjoint(words_in(text)):
            continue
        rest = _LOOK_ALIKE.sub(" ", text)
        for drug in _DRUGS:
            rest, count = drug.words.subn(" ", rest)
            rest, animal = drug.animal_words.subn(" ", rest)
            if count or animal:
                drugs.add(drug.name)
            veterinary = veterinary or bool(animal)
        either += [each for each in _EITHER if each.words.search(rest)]
    return drugs, veterinary, either


def _made_for(drug: str, forms: Iterable[str | None], texts: Iterable[str]) -> frozenset[str]:
    """By the forms of its product codes and by the brands that its texts name."""
    brands = next(each.brands for each in _DRUGS if each.name == drug)
    words = [plain(text) for text in texts]
    named_forms = (form for form, pattern in brands.items() if any(map(pattern.search, words)))
    return frozenset(form for form in (*forms, *named_forms) if form is not None)


def affirmed(texts: Iterable[str]) -> list[str]:
    """Those of `texts` that do not deny the drug that they name ("no ketamine allergy"), or say it of the family."""
    return [text for text in texts if not _NAMES.denies(text)]


def identify(codings: Sequence[tuple[str, str]], texts: Sequence[str], valuesets: ValueSets) -> Identity | None:
    """The drug of a medication, from its and its ingredients' (system, code) codings and its texts; or None.

    Any coding of a drug decides. Otherwise a name does, even beside a coding of another drug, which is then
    reported.
    """
    coded: dict[str, list[tuple[str, str]]] = {}
    strengths: dict[str, list[Decimal]] = {}
    displays: list[str] = []
    forms: dict[str, list[str | None]] = {}
    other: str | None = None
    for system, code in codings:
        product = products.find(system, code)
        members = _members_of(system, code, product, valuesets)
        for drug in _DRUGS:
            member = next((members[name] for name in drug.sets if name in members), None)
            if member is not None:
                coded.setdefault(drug.name, []).append((system, code))
                displays.append(member.display)
                forms.setdefault(drug.name, []).append(product.form if product else None)
                strength = member.strength or (product.strength if product else None)
                if strength is not None:
                    strengths.setdefault(drug.name, []).append(strength)
                break
        else:
            if canonical_system(system) in DRUG_SYSTEMS:
                other = code
    by_name, veterinary, either = _named(texts)
    asked = None
    if either and not (coded or by_name):
        by_name = {either[0].first}
        asked = f"the name may mean {either[0].first} or {', '.join(either[0].others)}; judged as {either[0].first}"
    found = [drug.name for drug in _DRUGS if drug.name in coded or drug.name in by_name]
    if not found:
        return None
    disagreement = None
    if len(found) > 1:
        disagreement = f"both {' and '.join(found)} are named; judged as {found[0]}"
    elif not coded and other:
        disagreement = f"the name says {found[0]}, the code {other} does not"
    return Identity(
        drug=found[0],
        by="code" if found[0] in coded else "name",
        veterinary=veterinary or named(displays)[1],
        disagreement=disagreement,
        strengths=tuple(strengths.get(found[0], ())),
        codings=tuple(coded.get(found[0], ())),
        asked=asked,
        made_for=_made_for(found[0], forms.get(found[0], ()), texts),
    )


def _members_of(system: str, code: str, product: Product | None, valuesets: ValueSets) -> Mapping[str, Member]:
    """The sets of a code; those of its ingredients for a product that no set holds itself."""
    members = valuesets.members_of(system, code)
    if members or product is None:
        return members
    return {n: m for i in product.ingredients for n, m in valuesets.members_of(INGREDIENT_SYSTEM, i).items()}


def says_nothing(codings: Iterable[tuple[str, str]], texts: Sequence[str]) -> bool:
    """Whether a medication names no drug at all: no words, and no code of a system whose codes name drugs."""
    return not texts and all(canonical_system(system) not in DRUG_SYSTEMS for system, _ in codings)
