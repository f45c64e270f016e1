"""The drugs that the service judges, by the names and value sets of their protocols."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

import msgspec

from cds_service.errors import UNREADABLE, ConfigurationError
from cds_service.site_file import read_text
from cds_service.terminology.phrases import tokens
from cds_service.terminology.systems import DRUG_SYSTEMS, canonical_system
from cds_service.terminology.vocabulary import Vocabulary, shipped_cues
from cds_service.terminology.written import ACCENTS, MEANT, normalized


def whole_words(words: Iterable[str]) -> re.Pattern[str]:
    """Any of `words` in a text that `plain` made, with no letter or digit on either side; the longest first."""
    longest_first = "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![^\W_])(?:{longest_first or '(?!)'})(?![^\W_])")


_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"), "-")
_REWRITTEN = MEANT | _DASHES | dict.fromkeys(map(ord, "®™"))


def plain(text: str) -> str:
    """The form in which names are compared.

    Lower case, composed, any dash as a hyphen, runs of blanks as one, plain letters for those of another width or
    font, without ®, ™ and what cannot be seen.
    """
    if text.isascii():
        return " ".join((text if text.isprintable() else text.translate(MEANT)).lower().split())
    composed = normalized("NFC", text.translate(_REWRITTEN))
    return " ".join(composed.lower().translate(ACCENTS).split())


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


def is_one_slip(name: str, word: str) -> bool:
    """Whether one letter more, fewer, other, or two that changed places, make the one of the other."""
    if abs(len(name) - len(word)) > 1 or name == word:
        return False
    at = next(
        (i for i, (one, other) in enumerate(zip(name, word, strict=False)) if one != other),
        len(min(name, word, key=len)),
    )
    if len(name) != len(word):
        shorter, longer = sorted((name, word), key=len)
        return shorter[at:] == longer[at + 1 :]
    return name[at + 1 :] == word[at + 1 :] or (
        name[at + 2 :] == word[at + 2 :] and name[at : at + 2] == word[at : at + 2][::-1]
    )


class DrugError(ConfigurationError):
    """A file of drugs that cannot be used; the service does not start with it."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one drug is recognised."""

    sets: list[str]
    """The value sets that hold its codes; the first stands for it, however it was recognised."""
    names: list[str]
    """What stands for it where no code decides: lower case, matched as whole words."""
    brands: dict[str, list[str]] = {}
    """Names of products that are made for one way of giving alone, by that way as products.csv names it."""
    veterinary: list[str] = []
    """Names of its products for animals."""

    @property
    def all_names(self) -> list[str]:
        """Its names and its brands, but for those for animals."""
        return [*self.names, *(name for names in self.brands.values() for name in names)]


class Either(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names under which several drugs were sold: where nothing else says which, the first is judged, and asked."""

    names: list[str]
    drugs: list[str]


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A protocol's drug.yaml: the drugs that it judges, the one that its limits are written for first."""

    drugs: dict[str, Entry]
    other_sets: list[str] = []
    """Further value sets that hold these drugs and no others. Elsewhere they are medicines among others, by name
    too."""
    either: list[Either] = []
    look_alike: list[str] = []
    """Words that look like one of the drugs and are not; each blocks only itself."""
    misspelt: list[str] = []
    """Names that are asked about with one slip of typing in them, where nothing else says what is ordered."""


def read(folder: Path) -> Family:
    """The drugs of the protocol in a folder. Raises DrugError."""
    where = f"{folder.name}/drug.yaml"
    try:
        family = msgspec.yaml.decode(read_text(folder / "drug.yaml", DrugError), type=Family)
    except (msgspec.MsgspecError, OSError, *UNREADABLE) as error:
        raise DrugError(f"{where} cannot be read: {' '.join(str(error).split())}") from error
    if not family.drugs or not all(entry.sets and entry.names for entry in family.drugs.values()):
        raise DrugError(f"{where}: it needs a drug, and each drug a value set and a name")
    for either in family.either:
        if len(either.drugs) < 2 or not family.drugs.keys() >= set(either.drugs):
            raise DrugError(f"{where}: {', '.join(either.names)} must stand for several drugs of this file")
    return family


class _Drug:
    def __init__(self, name: str, entry: Entry) -> None:
        self.name = name
        self.sets = tuple(entry.sets)
        self.words = whole_words(entry.all_names)
        self.animal_words = whole_words(entry.veterinary)
        self.brands = {form: whole_words(names) for form, names in entry.brands.items()}


class Drugs:
    """The drugs that are judged, and which of them one protocol judges.

    Names are looked for family by family, in each from the last drug to the first, and a name's words are used up:
    so "S-ketamine" is never read as racemic. Where several drugs are named or coded, the one found first is judged.
    """

    def __init__(self, families: Sequence[Family] = ()) -> None:
        entries = [(name, entry) for family in families for name, entry in reversed(family.drugs.items())]
        self._all = tuple(_Drug(name, entry) for name, entry in entries)
        self._look_alike = whole_words(name for family in families for name in family.look_alike)
        either = [each for family in families for each in family.either]
        self._either = [(whole_words(each.names), each.drugs) for each in either]
        written = {name: [*entry.all_names, *entry.veterinary] for name, entry in entries}
        written |= {" or ".join(each.drugs): each.names for each in either}
        self._names = Vocabulary({name: {"en": names} for name, names in written.items()})
        self._telling = telling(name for names in written.values() for name in names)
        self._family = {name: tuple(family.drugs) for family in families for name in family.drugs}
        if len(self._family) < len(entries):
            raise DrugError("two protocols judge one drug")
        self._sets = {drug.name: drug.sets for drug in self._all}
        self.sets = tuple(name for drug in self._all for name in drug.sets)
        """All value sets that hold the codes of a judged drug."""
        self._misspelt = {plain(name): min(self.named([name])[0]) for f in families for name in f.misspelt}
        self._look_alikes = {name for family in families for name in family.look_alike}
        self.own_sets = frozenset((*self.sets, *(name for family in families for name in family.other_sets)))

    def __iter__(self) -> Iterator[_Drug]:
        return iter(self._all)

    def __contains__(self, name: str) -> bool:
        return name in self._family

    def set_of(self, drug: str) -> str:
        """The value set that stands for a drug, however it was recognised."""
        return self._sets[drug][0]

    def family_sets(self, drug: str) -> tuple[str, ...]:
        """The value sets of the drugs that the same protocol judges."""
        return tuple(name for each in reversed(self._family[drug]) for name in self._sets[each])

    def are_one_family(self, drug: str, other: str) -> bool:
        """Whether one protocol judges both."""
        return other in self._family[drug]

    def named(self, texts: Iterable[str]) -> tuple[set[str], bool]:
        """The drugs that `texts` name as whole words, and whether one is an animal product.

        A name that several drugs may have stands for the first of them, where nothing else names one.
        """
        drugs, veterinary, either = self.named_or_either(texts)
        return drugs or {first for first, *_ in either}, veterinary

    def named_or_either(self, texts: Iterable[str]) -> tuple[set[str], bool, list[Sequence[str]]]:
        """As `named`, with the drugs of each name that several may have, the one first that is judged."""
        drugs: set[str] = set()
        veterinary = False
        either: list[Sequence[str]] = []
        for text in dict.fromkeys(map(plain, texts)):
            if self._telling.isdisjoint(words_in(text)):
                continue
            rest = self._look_alike.sub(" ", text)
            for drug in self._all:
                rest, count = drug.words.subn(" ", rest)
                rest, animal = drug.animal_words.subn(" ", rest)
                if count or animal:
                    drugs.add(drug.name)
                veterinary = veterinary or bool(animal)
            either += [names for words, names in self._either if words.search(rest)]
        return drugs, veterinary, either

    def misspelt(self, texts: Iterable[str]) -> str | None:
        """The drug of a name that a word of `texts` is but for one slip of typing."""
        words = {word for text in texts for word in words_in(plain(text))} - self._look_alikes
        return next((drug for name, drug in self._misspelt.items() if any(is_one_slip(name, w) for w in words)), None)

    def made_for(self, drug: str, forms: Iterable[str | None], texts: Iterable[str]) -> frozenset[str]:
        """How a product is given, by the `forms` of its codes and by the brands that its texts name."""
        words = [plain(text) for text in texts]
        brands = next(each.brands for each in self._all if each.name == drug)
        by_brand = (form for form, names in brands.items() if any(map(names.search, words)))
        return frozenset(form for form in (*forms, *by_brand) if form is not None)

    def affirmed(self, texts: Iterable[str]) -> list[str]:
        """Those of `texts` that do not deny the drug that they name ("no ketamine allergy"), or say it of the
        family.
        """
        return [text for text in texts if not self._names.denies(text)]

    def doubted(self, texts: Iterable[str], beside: bool = False) -> list[str]:
        """Those of `texts` by which an allergy to the drug may be none: they deny it, or say that it is tolerated.

        `beside` an entry about the drug, one that does not name it speaks of it, too: "entered in error".
        """
        return [
            text
            for text in texts
            if (self._names.doubts(text) if self._names.names(text) else beside and is_remark_of_doubt(text))
        ]

    def mentioned(self, texts: Iterable[str]) -> list[str]:
        """Those of `texts` that name the drug."""
        return [text for text in texts if self._names.names(text)]


def is_remark_of_doubt(text: str) -> bool:
    return shipped_cues().doubts_all(tokens(text))


def says_nothing(codings: Iterable[tuple[str, str]], texts: Sequence[str], telling: Set[str] = DRUG_SYSTEMS) -> bool:
    """Whether a medication names no drug at all: no words, and no code of a `telling` system, whose codes name drugs.

    Of a chart's medicine only a class tells what else it is: of other codes the sets hold those that count, and no
    more.
    """
    said = any(character.isalnum() for text in texts for character in text)
    return not said and all(canonical_system(system) not in telling for system, _ in codings)
