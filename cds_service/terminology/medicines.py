"""Which value sets a medicine is in: by its codings, by the ingredients of its product, else by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cds_service.lazy import KEPT, remembered
from cds_service.says import Said
from cds_service.says import orders as says
from cds_service.terminology import drugs, products
from cds_service.terminology.products import INGREDIENT_SYSTEM, TABLE
from cds_service.terminology.systems import LONGEST_CODE, LONGEST_SYSTEM, canonical
from cds_service.terminology.valueset import Member
from cds_service.terminology.valuesets import ValueSets

Coding = tuple[str, str]
Part = tuple[Sequence[Coding], Sequence[str]]
"""The codings and texts of a medicine as a whole, or of one of its ingredients."""

_LONGEST_TEXT = 512
"""Names are looked for in so many characters of a text."""
_EVERYWHERE = frozenset(TABLE["local"]["everywhere"])
_DECIDES: str = TABLE["local"]["decides"]
_ABSORBED = frozenset(TABLE["local"]["absorbed"])
_LOCAL = {name: _EVERYWHERE.union(forms) for name, forms in TABLE["local"]["sets"].items()}
_FORM_WORDS = {form: drugs.whole_words(words) for form, words in TABLE["form_words"].items()}
_LOOK_ALIKE = drugs.whole_words(TABLE["names"]["look_alike"])
_PRODUCT_WORDS = drugs.whole_words(TABLE["names"]["product_words"])
_SOLVENTS = frozenset(TABLE["names"]["solvents"])
_LETTERS = re.compile(r"[^\W\d_][^\W\d_ -]*(?:[ -][^\W\d_]+)*")
_SEMANTIC_TAG = re.compile(r" \([^()]*\)$")


_NAMELESS = frozenset(map(drugs.plain, TABLE["names"]["nameless"]))


def is_nameless(texts: Iterable[str]) -> bool:
    """Whether texts say nothing of which medication they are: "Non-formulary medication", "see instructions"."""
    words = (word for text in texts for word in drugs.words_in(drugs.plain(text[:_LONGEST_TEXT])))
    return all(word in _NAMELESS or word.isdigit() for word in words)


@dataclass(frozen=True, slots=True)
class Membership:
    """The sets that a medicine is in, with what each says of it."""

    members: Mapping[str, Member]
    by_name: bool = False
    """No coding says what it is; its name does."""
    disagreement: Said | None = None
    """Its codings, or a coding and the name, are of different drugs. `members` holds the sets of all of them, and
    none of them can be told."""


_NOTHING = Membership({})


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one coding, or the names in one text, say."""

    name: str
    members: Mapping[str, Member]
    ingredients: frozenset[str] = frozenset()
    """RxNorm codes; none where a class is all that is known."""
    form: str | None = None

    def contradicts(self, other: _Reading) -> bool:
        if self.ingredients and other.ingredients:
            return self.ingredients.isdisjoint(other.ingredients)
        return self.shares_no_set(other)

    def shares_no_set(self, other: _Reading) -> bool:
        return bool(self.members and other.members) and self.members.keys().isdisjoint(other.members)


class Medicines:
    """The medicines of `valuesets` by code and name. Every code and text is looked at once and remembered."""

    def __init__(self, valuesets: ValueSets) -> None:
        self._valuesets = valuesets
        self._names = dict(_names(valuesets))
        self._name_words = drugs.Names(self._names)
        self._coded = lru_cache(maxsize=KEPT)(self._read_coding)
        self._named = lru_cache(maxsize=KEPT)(self._read_text)
        self._of_names = lru_cache(maxsize=KEPT)(self._read_names)
        self._known = remembered(self._membership)

    def membership(self, parts: Iterable[Part]) -> Membership:
        """Of a medicine given as a whole and, where they are known, ingredient by ingredient.

        Ingredients add up; only the codings of one part can contradict each other.
        """
        return self._known(tuple([(tuple(codings), tuple(words)) for codings, words in parts]))

    def _membership(self, parts: tuple[Part, ...]) -> Membership:
        coded: list[_Reading] = []
        named: list[_Reading] = []
        texts: list[str] = []
        disagreement: Said | None = None
        for codings, words in parts:
            by_code = [reading for coding in codings if (reading := self._of_coding(*coding)) is not None]
            by_name = [reading for text in words if (reading := self._of_text(text)) is not None]
            contradiction = _contradiction(by_code, by_name)
            disagreement = disagreement or contradiction
            coded += by_code
            if not by_code or contradiction:
                named += by_name
            texts += words
        if not coded and not named:
            return _NOTHING
        form = _form([*coded, *named], texts)
        found = _counting(coded, form)
        only_named = {name: m for name, m in _counting(named, form).items() if name not in found}
        return Membership(found | only_named, bool(only_named) and disagreement is None, disagreement)

    def _of_coding(self, system: str, code: str) -> _Reading | None:
        if len(code) > LONGEST_CODE or len(system) > LONGEST_SYSTEM:
            return None
        return self._coded(system, code)

    def _read_coding(self, system: str, code: str) -> _Reading | None:
        own = self._valuesets.members_of(system, code)
        product = products.find(system, code)
        if product is not None:
            return self._of_ingredients(product.ingredients, own, product.form)
        if not own:
            return None
        names = [self._plain_name(member.display) for member in own.values()]
        known = next((name for name in names if name in self._names), None)
        if known is None:
            return _Reading(names[0], own)
        system, code = canonical(system, code)
        if system == INGREDIENT_SYSTEM:
            return _Reading(known, own, frozenset({code}))
        return _Reading(known, own, self._ingredients_named(known))

    def _of_ingredients(self, ingredients: Iterable[str], own: Mapping[str, Member], form: str | None) -> _Reading:
        members = dict(own)
        names = []
        for ingredient in ingredients:
            of_ingredient = self._valuesets.members_of(INGREDIENT_SYSTEM, ingredient)
            names += [self._plain_name(member.display) for member in of_ingredient.values()][:1]
            for name, member in of_ingredient.items():
                members[name] = _better(members.get(name), member)
        return _Reading(" and ".join(names), members, frozenset(ingredients), form)

    @staticmethod
    def _plain_name(display: str) -> str:
        return _SEMANTIC_TAG.sub("", drugs.plain(display))

    def _ingredients_named(self, name: str) -> frozenset[str]:
        return frozenset(code for system, code in self._names[name] if system == INGREDIENT_SYSTEM)

    def _of_text(self, text: str) -> _Reading | None:
        return self._named(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT].rpartition(" ")[0])

    def _read_text(self, text: str) -> _Reading | None:
        found = tuple(dict.fromkeys(self._name_words.all(_LOOK_ALIKE.sub(" ", drugs.plain(text)))))
        return self._of_names(found) if found else None

    def _read_names(self, found: tuple[str, ...]) -> _Reading:
        members: dict[str, Member] = {}
        for name in found:
            for coding in self._names[name]:
                for in_set, member in self._valuesets.members_of(*coding).items():
                    members[in_set] = _better(members.get(in_set), member)
        ingredients = frozenset[str]().union(*map(self._ingredients_named, found))
        return _Reading(" and ".join(found), members, ingredients)


@lru_cache(maxsize=4)
def medicines(valuesets: ValueSets) -> Medicines:
    """The one `Medicines` of these sets, so that charts share what it remembers."""
    return Medicines(valuesets)


def _names(valuesets: ValueSets) -> Iterator[tuple[str, tuple[Coding, ...]]]:
    """Each ingredient name in a display of the drug sets, with the codings that it stands for.

    In sets of their own the judged drugs have names of their own (`identity.identify`).
    """
    found: dict[str, dict[Coding, None]] = {}
    for in_set in valuesets.names():
        members = valuesets[in_set].members
        if not any(system == INGREDIENT_SYSTEM for system, _ in members):
            continue
        for system, member in members:
            name = _SEMANTIC_TAG.sub("", drugs.plain(member.display))
            is_judged = in_set in valuesets.drugs.own_sets and bool(valuesets.drugs.named([name])[0])
            if _is_ingredient_name(name) and not is_judged:
                found.setdefault(name, {})[system, member.code] = None
    for name, codings in found.items():
        # A class code of the same name may lie in wider branches; a name says no more than the ingredient's code.
        of_ingredient = tuple(coding for coding in codings if coding[0] == INGREDIENT_SYSTEM)
        for written in (name, *_otherwise(name)):
            if written == name or written not in found:
                yield written, of_ingredient or tuple(codings)
    for also, ingredients in TABLE["also_called"].items():
        of_all = tuple(coding for name in ingredients for coding in found.get(name, ()))
        if of_all and also not in found:
            yield also, of_all


def _otherwise(name: str) -> Iterator[str]:
    """The name as German, French and Spanish write it, by their endings of international names."""
    for language in TABLE["written"]:
        ending = next((pair for pair in language["endings"] if name.endswith(pair[0])), None)
        if ending is None:
            continue
        written = name.removesuffix(ending[0])
        for letters, instead in language["letters"]:
            written = written.replace(letters, instead)
        yield written + ending[1]


def _is_ingredient_name(name: str) -> bool:
    return _LETTERS.fullmatch(name) is not None and name not in _SOLVENTS and not _PRODUCT_WORDS.search(name)


def _contradiction(coded: Sequence[_Reading], in_text: Sequence[_Reading]) -> Said | None:
    """Between two codings of one thing, or between its codings and what it is called."""
    coded, in_text = _different(coded), _different(in_text)
    for number, one in enumerate(coded):
        for other in coded[number + 1 :]:
            if one.contradicts(other):
                return says.CODED_TWICE(one.name, other.name)
    for text in in_text:
        # A name is weaker than a code: it contradicts only where it would make the medicine another kind of drug.
        if coded and all(text.contradicts(each) and text.shares_no_set(each) for each in coded):
            return says.CODED_AND_CALLED(coded[0].name, text.name)
    return None


def _different(readings: Sequence[_Reading]) -> list[_Reading]:
    """One of those that contradict the same others. Of so few ingredients and sets there are never many, of one
    thing: the first two that contradict each other end the search."""
    return list({(each.ingredients, *sorted(each.members)): each for each in reversed(readings)}.values())[::-1]


def _form(readings: Iterable[_Reading], texts: Iterable[str]) -> str | None:
    forms = {reading.form for reading in readings if reading.form}
    if not forms:
        forms = set().union(*(_forms_in(text[:_LONGEST_TEXT]) for text in texts))
        if _DECIDES in forms:
            return _DECIDES
    return forms.pop() if len(forms) == 1 else None


@lru_cache(maxsize=4096)
def _forms_in(text: str) -> frozenset[str]:
    text = drugs.plain(text)
    return frozenset(form for form, words in _FORM_WORDS.items() if words.search(text))


def _counting(readings: Iterable[_Reading], form: str | None) -> dict[str, Member]:
    """The sets of all readings for which the form counts."""
    found: dict[str, Member] = {}
    for reading in readings:
        for name, member in reading.members.items():
            if form not in _LOCAL.get(name, _EVERYWHERE) or drugs.plain(member.display) in _ABSORBED:
                found[name] = _better(found.get(name), member)
    return found


def _better(known: Member | None, other: Member) -> Member:
    """Of two members of one set the first, unless only the other says which group it is of."""
    return other if known is None or (known.group is None and other.group is not None) else known
