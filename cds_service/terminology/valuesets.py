"""Value sets: which sets a coded value belongs to. Codes are compared with their system, never alone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path

from cds_service.folders import COMMON, KETAMINE
from cds_service.lazy import KEPT
from cds_service.terminology import drugs, roles
from cds_service.terminology.drugs import Drugs
from cds_service.terminology.phrases import ENTIRE
from cds_service.terminology.roles import NO_ROLES, Roles
from cds_service.terminology.systems import (
    BRANCHED,
    LONGEST_CODE,
    LONGEST_SYSTEM,
    canonical,
    spell,
)
from cds_service.terminology.valueset import Member, ValueSet, ValueSetError, read
from cds_service.terminology.vocabulary import LANGUAGES, Vocabulary, VocabularyError
from cds_service.terminology.vocabulary import read as read_words

_SHORTEST_CATEGORY = 3
"""Characters of the categories of ICD, and of the pharmacological groups of ATC."""
_WORDS = ".words.yaml"
_ALMOST = 0.87
"""How alike two names are where one is taken for a misspelt other."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an entry belongs: the sets that its codes are in; where no code is known, those that its words may mean.

    `may_mean` is empty where a code is known, and where the words say that it is something else. It is None where
    there is neither a known code nor a word: then it may be anything.
    """

    members: Mapping[str, Member]
    may_mean: frozenset[str] | None = frozenset()


@dataclass(frozen=True, slots=True)
class _Coded:
    """What is known of one coding."""

    members: Mapping[str, Member]
    is_known: bool
    below: frozenset[str]


_KIND_OF_TERM = re.compile(r" \([a-z/ ]+\)$")
"""What SNOMED CT writes behind a term: (disorder), (procedure)."""


def without_kind(display: str) -> str:
    """A term as a clinician reads it, without the kind that SNOMED CT writes behind it."""
    return _KIND_OF_TERM.sub("", display)


class ValueSets:
    """All sets that are in use, indexed by (system, code)."""

    def __init__(
        self,
        sets: Iterable[ValueSet],
        words: Mapping[str, Mapping[str, Iterable[str]]] | None = None,
        judged: Drugs | None = None,
        taken_as: Roles = NO_ROLES,
        of_site: Iterable[str] = (),
    ) -> None:
        """`words`: value set -> language -> what clinicians write for it (`vocabulary.read`)."""
        self.of_site = frozenset(of_site)
        """The sets that a site added: nothing shipped has their name."""
        self.drugs = judged or Drugs()
        """The drugs that are judged."""
        self.roles = taken_as
        """The sets by which charts and orders are read."""
        self._sets = {each.name: each for each in sets}
        self.readings = frozenset(name for name in self._sets if name.startswith("obs_"))
        """The sets of what is measured or scored."""
        self._readings_called: dict[str, frozenset[str]] = {}
        for name in self.readings:
            for _, member in self._sets[name].members:
                called = drugs.plain(member.display)
                self._readings_called[called] = self._readings_called.get(called, frozenset()) | {name}
        self._exact: dict[tuple[str, str], list[Member]] = {}
        self._branches: dict[str, dict[str, list[tuple[str, Member | None]]]] = {}
        for each in self._sets.values():
            self._index(each)
        self._longest = {system: max(map(len, prefixes)) for system, prefixes in self._branches.items()}
        self._vocabulary = Vocabulary({name: self._with_displays(name, said) for name, said in (words or {}).items()})
        self._categories = self._index_categories()
        self._cached = lru_cache(maxsize=KEPT)(self._members_of)
        self._keys = lru_cache(maxsize=KEPT)(self._keys_of)
        self._coded = lru_cache(maxsize=KEPT)(self._read_coding)
        self.without_codes = frozenset(name for name, each in self._sets.items() if each.no_codes)

    def _with_displays(self, name: str, said: Mapping[str, Iterable[str]]) -> Mapping[str, Iterable[str]]:
        """What clinicians write for a set, and what its codes are called, where that is the whole text."""
        if name not in self._sets:
            return said
        called = {member.display for _, member in self._sets[name].members if member.display}
        terms = called | set(map(without_kind, called))
        return {**said, "displays": sorted(f"{ENTIRE}{term}" for term in terms)}

    def _index(self, each: ValueSet) -> None:
        excluded = {(system, spell(system, code)) for system, code in each.excluded}
        for system, code in excluded:
            self._branches.setdefault(system, {}).setdefault(code, []).append((each.name, None))
        for system, member in each.branches:
            by_prefix = self._branches.setdefault(system, {})
            by_prefix.setdefault(spell(system, member.code), []).append((each.name, member))
        for system, member in each.members:
            key = (system, spell(system, member.code))
            if key not in excluded:
                self._exact.setdefault(key, []).append(member)

    def readings_called(self, text: str) -> frozenset[str]:
        """The sets of readings of whose codes one is called so."""
        return self._readings_called.get(drugs.plain(text), frozenset())

    def members_of(self, system: str, code: str) -> Mapping[str, Member]:
        """Every set that holds the code, with what it says of it. No terminology has codes longer than this."""
        if len(code) > LONGEST_CODE or len(system) > LONGEST_SYSTEM:
            return {}
        return self._cached(system, code)

    def _members_of(self, system: str, code: str) -> Mapping[str, Member]:
        system, code = canonical(system, code)
        found: dict[str, Member | None] = {}
        for exact in self._exact.get((system, code), ()):
            found.setdefault(exact.set, exact)
        branches = self._branches.get(system)
        if branches:
            for length in range(min(len(code), self._longest[system]), 0, -1):
                for name, member in branches.get(code[:length], ()):
                    found.setdefault(name, member)
        return {name: member for name, member in found.items() if member is not None}

    def keys_of(self, system: str, code: str) -> Sequence[str]:
        """Every set that holds the code, and every group of one (obs_thyroid/tsh)."""
        if len(code) > LONGEST_CODE or len(system) > LONGEST_SYSTEM:
            return ()
        return self._keys(system, code)

    def _keys_of(self, system: str, code: str) -> Sequence[str]:
        found: list[str] = []
        for name, member in self._members_of(system, code).items():
            found += (name, f"{name}/{member.group}") if member.group else (name,)
        return found

    def __contains__(self, name: str) -> bool:
        return name.partition("/")[0] in self._sets

    def __getitem__(self, name: str) -> ValueSet:
        return self._sets[name.partition("/")[0]]

    def names(self) -> list[str]:
        return sorted(self._sets)

    def member(self, reference: str, codings: Iterable[tuple[str, str]]) -> Member | None:
        """The first of `codings` that is in `reference` (a set, or set/group such as enc_class/inpatient)."""
        name, _, group = reference.partition("/")
        for system, code in codings:
            member = self.members_of(system, code).get(name)
            if member is not None and (not group or member.group == group):
                return member
        return None

    def knows(self, system: str, code: str) -> bool:
        """Whether a set, a branch or an exclusion holds the code: then what it means is known."""
        if self.members_of(system, code):
            return True
        system, code = canonical(system, code[:LONGEST_CODE])
        branches = self._branches.get(system, {})
        shortest = 1 if system in BRANCHED else len(code)
        return any(code[:length] in branches for length in range(shortest, len(code) + 1))

    def below(self, system: str, code: str) -> frozenset[str]:
        """The sets that hold something below a category: one says less than its codes, and may mean any of them."""
        return frozenset(self._categories.get(canonical(system, code[:LONGEST_CODE]), ()))

    def _index_categories(self) -> dict[tuple[str, str], set[str]]:
        found: dict[tuple[str, str], set[str]] = {}
        for each in self._sets.values():
            for system, member in (*each.members, *each.branches):
                if system in BRANCHED:
                    code = spell(system, member.code)
                    for length in range(_SHORTEST_CATEGORY, len(code)):
                        found.setdefault((system, code[:length]), set()).add(each.name)
        return found

    def _read_coding(self, system: str, code: str) -> _Coded:
        return _Coded(self.members_of(system, code), self.knows(system, code), self.below(system, code))

    def asking(self, text: str) -> frozenset[str]:
        """The sets that an uncoded text may mean: they only ask."""
        return self._vocabulary.asking(text) or frozenset()

    def placement(self, codings: Sequence[tuple[str, str]], words: Iterable[str]) -> Placement:
        """Where an entry belongs by its (system, code) codings, else by its words."""
        members: dict[str, Member] = {}
        is_known = False
        asked: list[frozenset[str]] = []
        for system, code in codings:
            is_long = len(code) > LONGEST_CODE or len(system) > LONGEST_SYSTEM
            coded = self._read_coding(system, code) if is_long else self._coded(system, code)
            members.update(coded.members)
            is_known = is_known or coded.is_known
            if coded.below:
                asked.append(coded.below)
        if is_known:
            return Placement(members)
        asked += [sets for text in words if (sets := self._vocabulary.asking(text)) is not None]
        return Placement(members, frozenset[str]().union(*asked) if asked else None)

    def codes(self, name: str, system: str) -> list[str]:
        """The codes of one system that a set enumerates (branches by their root), in file order."""
        both = (*self._sets[name].members, *self._sets[name].branches)
        return [member.code for s, member in both if s == system]


def load(site: Path | None = None, protocols: Sequence[Path] = (KETAMINE,)) -> ValueSets:
    """The shipped sets, those of the protocols' folders and of a site's directory; and the drugs that are judged.

    A protocol's own sets have names of their own. A site's add up with those of the same name; its words of a set
    stand in NAME.words.yaml. Raises DrugError, and ValueSetError for an unreadable or empty set, for a site's set
    that would take codes away, and for a name that is almost that of another.
    """
    found = {each.name: each for _, each in _read_all(COMMON / "valuesets")}
    of_site: set[str] = set()
    try:
        words = read_words(COMMON / "vocabularies")
        for folder in protocols:
            _add_own(folder, found, words)
        if site is not None:
            own = list(_read_all(site))
            names = {each.name for _, each in own}
            of_site = names - found.keys()
            for where, each in own:
                _check_name(each.name, where, found)
                found[each.name] = _added(found[each.name], each, where) if each.name in found else each
            for name, said in read_words(site, _WORDS).items():
                if name not in names and name not in found:
                    raise ValueSetError(f"{name}{_WORDS}: there is no value set of this name{_nearest(name, found)}")
                words[name] = _both(words.get(name, {}), said)
    except VocabularyError as error:
        raise ValueSetError(str(error)) from error
    judged = Drugs([drugs.read(folder) for folder in protocols])
    for name in judged.sets:
        if name not in found:
            raise ValueSetError(f"drug.yaml: there is no value set {name}{_nearest(name, found)}")
    taken_as = roles.read(COMMON / "roles.yaml")
    for name in (*taken_as.named().values(), *taken_as.kept):
        if name.partition("/")[0] not in found:
            raise ValueSetError(f"roles.yaml: there is no value set {name}{_nearest(name, found)}")
    return ValueSets(found.values(), words, judged, taken_as, of_site)


def _add_own(folder: Path, found: dict[str, ValueSet], words: dict[str, dict[str, list[str]]]) -> None:
    """Add the value sets and vocabularies of a protocol's folder: what others read of theirs stays as it is."""
    own = list(_read_all(folder / "valuesets")) if (folder / "valuesets").is_dir() else []
    for where, each in own:
        if each.name in found:
            raise ValueSetError(f"{folder.name}/{where}: there is a value set {each.name} already")
        _check_name(each.name, where, found)
    said = read_words(folder / "vocabularies") if (folder / "vocabularies").is_dir() else {}
    for name in said.keys() - {each.name for _, each in own}:
        raise ValueSetError(f"{folder.name}/{name}.yaml: its folder has no value set of this name")
    found.update({each.name: each for _, each in own})
    words.update(said)


def _both(shipped: Mapping[str, list[str]], site: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {
        language: [*shipped.get(language, ()), *site.get(language, ())]
        for language in (*LANGUAGES, "not")
        if language in shipped or language in site
    }


def _check_name(name: str, where: str, shipped: Mapping[str, ValueSet]) -> None:
    """A site may have sets of its own, but none whose name is a shipped one's with a slip in it."""
    if name not in shipped and (nearest := _nearest(name, shipped)):
        raise ValueSetError(f"{where}: there is no value set {name}{nearest}; a set of your own needs another name")


def _nearest(name: str, names: Iterable[str]) -> str:
    plain = {each.replace("_", ""): each for each in names}
    found = difflib.get_close_matches(name.lower().replace("-", "").replace("_", ""), plain, n=1, cutoff=_ALMOST)
    return f"; did you mean {plain[found[0]]}?" if found else ""


def _read_all(directory: Traversable) -> Iterator[tuple[str, ValueSet]]:
    try:
        files = sorted((f for f in directory.iterdir() if f.name.endswith(".json")), key=lambda f: f.name)
        if not files:
            raise ValueSetError(f"no value sets in {directory}")
        for file in files:
            yield file.name, read(file.read_bytes(), file.name)
    except OSError as error:
        raise ValueSetError(f"value sets cannot be read: {error}") from error


def _added(known: ValueSet, site: ValueSet, where: str) -> ValueSet:
    """The shipped set with the site's codes.

    Of a code that both hold the shipped one speaks: it says the group and the strength. What the shipped set excludes
    stays excluded.
    """
    if site.excluded:
        raise ValueSetError(f"{where}: {site.name} excludes codes; a site's set can only add to a shipped one")
    return replace(
        known,
        members=known.members + site.members,
        branches=known.branches + site.branches,
        no_codes=known.no_codes and site.no_codes,
    )
