"""Reads the card texts: the shipped ones, a site's own and those of other languages, each checked before it is used.

A rule's text is `card.md` or `card.LANGUAGE.md` in its folder. `card.DRUG.md` is what it says of one drug instead;
what that leaves out (title, summaries of tiers) it takes from the text of all drugs. The words of all are
`words.yaml` or `words.LANGUAGE.yaml` in cards/common. A site's own folder `texts` holds `RULE.md`,
`RULE.LANGUAGE.md` and words in place of them. Whatever is misspelt, holds a number of its own or cannot be filled is
refused, so that no card fails at the bedside.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import frontmatter
import yaml
from frontmatter.default_handlers import YAMLHandler
from jinja2 import TemplateError, UndefinedError

from cds_service import site_file
from cds_service.cards.languages import File, Language, Word, check_keys, refused
from cds_service.cards.sentences import KEYS, OPEN, folder_of, names_of
from cds_service.cards.shown import TextError
from cds_service.cards.texts import ENGLISH, SUMMARY_LIMIT, Phrase, Text, Texts, Wording
from cds_service.folders import COMMON
from cds_service.lazy import OnDemand
from cds_service.protocol.errors import did_you_mean
from cds_service.protocol.limits import LimitBook
from cds_service.protocol.model import Protocol, Rule
from cds_service.protocol.references import limits_read

_WORDS = "words"
_LONGEST_LANGUAGE = 3
_FILE = re.compile(r"(?P<name>[A-Za-z0-9_-]+)(?:\.(?P<language>[a-z]{2,3}(?:-[a-z0-9]{2,8})*))?\.(?P<kind>md|yaml)")
_WITH_LIMITS = ("label-", "description-", "note-")
"""Shared words that are said of one order, so that they may name a limit of its drug."""
_ALWAYS = frozenset({"tier", "ordered"})
_SAMPLE = "9"
"""Stands for a figure where a text is tried; it is as short as one can be."""


def load_all(protocols: Sequence[Protocol], extra: Path | None = None, on_demand: bool = False) -> Texts:
    """The texts of the rules of all protocols as `load` reads them, with the shared words of the first."""
    if len(protocols) == 1:
        return load(protocols[0], extra, on_demand=on_demand)
    first = load(protocols[0], extra, protocols)
    loaded = [first, *(load(protocol, extra, protocols, first) for protocol in protocols[1:])]
    languages = sorted({code for texts in loaded for code in texts.others})

    def joined(each: Sequence[Texts], language: str) -> Texts:
        by_rule = {rule: text for texts in each for rule, text in texts.by_rule.items()}
        return replace(each[0], by_rule=by_rule, language=language, others={})

    others = {code: joined([texts.others.get(code, texts) for texts in loaded], code) for code in languages}
    digests = {protocol: digest for texts in loaded for protocol, digest in texts.digests.items()}
    return replace(joined(loaded, ENGLISH), others=others, digests=digests)


def load(
    protocol: Protocol,
    extra: Path | None = None,
    beside: Sequence[Protocol] = (),
    spoken: Texts | None = None,
    on_demand: bool = False,
) -> Texts:
    """The texts of the rules' folders, and of a site's own where it has one; the site's win.

    In another language a rule says what the site's file of it says, else the site's English one, else the shipped
    file of it, else the shipped English one; the shared words likewise, one by one. `beside` are all protocols, of
    whose rules a site may have texts; the words of `spoken` are taken as they are. `on_demand` leaves a shipped text
    until somebody asks for it; it is checked then. Raises TextError.
    """
    every = beside or [protocol]
    known = {rule for each in every for rule in each.rules}
    files = [*_words_of_all(every), *_of_rules(protocol), *(_files(extra, known) if extra else ())]
    shelf = _Shelf(protocol, files, names_of(every), spoken)
    english = shelf.texts(shelf.english)
    languages = sorted({file.language for _, file in files} - {ENGLISH})
    others = {code: shelf.texts(Language(code, shelf.limits), english) for code in languages}
    if on_demand:
        return replace(english, others=others)
    english = _whole(english)
    _refuse_unnamed(protocol, shelf, english)
    said = [(name, file) for name, file in files if name == _WORDS or name in protocol.rules]
    return replace(
        english,
        others={code: _whole(texts) for code, texts in others.items()},
        digests={protocol.id: _digest(said)},
    )


def _digest(files: Iterable[tuple[str, File]]) -> str:
    """The same for the same files in the same order, wherever they lie."""
    made = hashlib.sha256()
    for name, file in files:
        content = file.read().encode()
        made.update(f"{name} {file.path.name} {file.site} {len(content)} ".encode() + content)
    return made.hexdigest()


def _whole(texts: Texts) -> Texts:
    """With every text read and checked. Raises TextError."""
    return replace(texts, by_rule=dict(texts.by_rule), by_drug=dict(texts.by_drug))


def _refuse_unnamed(protocol: Protocol, shelf: _Shelf, english: Texts) -> None:
    """A limit that no rule, no convention and no text names says nothing to anybody. Raises TextError."""
    texts = [*shelf.models.values(), *english.by_rule.values()]
    said = [word for text in texts for word in (text.heading, text.body, *text.summaries.values())]
    said += [word for word in shelf.words.values() if isinstance(word, Wording)]
    said += english.words.entries.values()
    named = limits_read(protocol).union(*(word.limits.values() for word in said))
    for limit in protocol.limits.values():
        if limit.id not in named and limit.stands_for not in named:
            raise TextError(f"{protocol.id}: nothing names the limit {limit.id}")


def _words_of_all(protocols: Iterable[Protocol]) -> Iterator[tuple[str, File]]:
    """The words of all drugs, and in other languages than English those for what the protocols name."""
    yield _WORDS, File(COMMON / f"{_WORDS}.yaml", ENGLISH, site=False)
    for folder in (COMMON, *map(folder_of, protocols)):
        for path in sorted(folder.glob(f"{_WORDS}.*.yaml")):
            yield _WORDS, File(path, path.name.split(".")[1], site=False)


def _of_rules(protocol: Protocol) -> Iterator[tuple[str, File]]:
    """(rule, its card in each language), of the shipped rules and of a site's own."""
    shipped = Path(protocol.folders[0])
    for rule in protocol.rules.values():
        for folder in map(Path, protocol.folders):
            for path in sorted((folder / rule.id).glob("card*.md")):
                parts = path.name.split(".")[1:-1]
                drug = parts.pop(0) if parts and parts[0] in protocol.drugs else None
                if len(parts) > 1 or any(len(part) > _LONGEST_LANGUAGE for part in parts):
                    raise TextError(f"{rule.id}: {path.name} names no drug of the protocol and no language")
                yield rule.id, File(path, parts[0] if parts else ENGLISH, folder != shipped, drug)


def _files(folder: Path, rules: Collection[str]) -> Iterator[tuple[str, File]]:
    """(rule or `words`, file) of a site's folder. Raises TextError for a file that is neither."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith("."):
            continue
        found = _FILE.fullmatch(path.name)
        kind = "yaml" if found and found["name"] == _WORDS else "md"
        known = [*(f"{rule}.md" for rule in rules), f"{_WORDS}.yaml"]
        if found is None or found["kind"] != kind or (kind == "md" and found["name"] not in rules):
            raise TextError(f"texts/{path.name}: there is no such text{did_you_mean(path.name, known)}")
        yield found["name"], File(path, found["language"] or ENGLISH, site=True)


class _Shelf:
    """All files, and the shipped English ones read: they say which values each text and each word is filled with."""

    def __init__(
        self,
        protocol: Protocol,
        files: Sequence[tuple[str, File]],
        names: Collection[str],
        spoken: Texts | None = None,
    ) -> None:
        self.protocol = protocol
        self.names = names
        """The keys of what has a name in the data."""
        self.spoken = spoken
        self.books = {drug: LimitBook(protocol, drug, protocol.date) for drug in protocol.drugs}
        self.book = self.books[protocol.drugs[0]]
        self.limits = {name.replace("-", "_"): name for name in protocol.limits if name in self.book}
        self.english = Language(ENGLISH, self.limits)
        self._files = [(name, file) for name, file in files if file.drug is None]
        self._of_drugs = [(name, file) for name, file in files if file.drug is not None]
        shipped = {name: file for name, file in self._files if not file.site and file.language == ENGLISH}
        words = shipped.pop(_WORDS)
        if spoken is None:
            self._add(self.english, words)
            check_keys(words)
        else:
            self.english.words = {**spoken.words.entries, **spoken.words.phrases}
        self.words: Mapping[str, Word] = dict(self.english.words)
        self.shipped = self.english.made() if spoken is None else spoken.shipped
        self.models = OnDemand({rule: partial(_read, rule, file, self.english) for rule, file in shipped.items()})

    def texts(self, reader: Language, english: Texts | None = None) -> Texts:
        """The texts of one language; the `english` ones stand in where it has none of its own."""
        if english is not None:
            words: dict[str, Word] = {**english.words.entries, **english.words.phrases}
            reader.words = {key: word for key, word in words.items() if not OPEN.fullmatch(key)}
        self._add_words(reader)
        by_rule = OnDemand({rule: self._maker(rule, reader, english) for rule in self.protocol.rules})
        by_drug = OnDemand(self._makers_by_drug(reader, by_rule, english))
        for name, file in (*self._files, *self._of_drugs):
            if file.site and file.language == reader.code and name != _WORDS:
                _ = by_rule[name] if file.drug is None else by_drug[name, file.drug]
        return Texts(by_rule, reader.made(), reader.code, by_drug, shipped=self.shipped)

    def _maker(self, rule: str, reader: Language, english: Texts | None) -> Callable[[], Text]:
        """What reads and checks the text of a rule. Raises TextError where it has none."""
        chosen = _chosen([file for name, file in self._files if name == rule], reader.code)
        if chosen is not None and chosen.language == reader.code:
            return partial(self._text, rule, chosen, reader)
        if english is None:
            raise TextError(f"the rule {rule} has no card text card.md")
        return partial(english.by_rule.__getitem__, rule)

    def _text(self, rule: str, file: File, reader: Language) -> Text:
        is_model = not file.site and reader.code == ENGLISH
        text = self.models[rule] if is_model else _read(rule, file, reader)
        return _checked(self.protocol.rules[rule], text, self.models.get(rule), self, file)

    def _makers_by_drug(
        self, reader: Language, by_rule: Mapping[str, Text], english: Texts | None
    ) -> dict[tuple[str, str], Callable[[], Text]]:
        """The texts of one drug alone; a site's text of all drugs stands before a shipped one of a drug."""
        of_english = english.by_drug if english is not None else {}
        makers: dict[tuple[str, str], Callable[[], Text]] = {
            key: partial(of_english.__getitem__, key) for key in of_english
        }
        sites = {name for name, file in self._files if file.site}
        for name, file in self._of_drugs:
            if file.language == reader.code and file.drug is not None and (file.site or name not in sites):
                makers[name, file.drug] = partial(self._text_of_drug, name, file, file.drug, reader, by_rule)
        return makers

    def _text_of_drug(self, rule: str, file: File, drug: str, reader: Language, by_rule: Mapping[str, Text]) -> Text:
        text = _read(rule, file, reader, by_rule[rule])
        unknown = [each for each in text.citations if each not in self.protocol.evidence]
        if unknown:
            raise TextError(f"{file.shown}: there is no evidence {unknown[0]}")
        return _checked(self.protocol.rules[rule], text, self.models.get(rule), self, file, self.books[drug])

    def _add_words(self, reader: Language) -> None:
        """The words of a language's own files, the site's last; between them the site's English ones."""
        if self.spoken is not None:
            known = self.spoken.spoken([reader.code]).words
            reader.words = {**known.entries, **known.phrases}
            return
        own = [file for name, file in self._files if name == _WORDS and file.language in (reader.code, ENGLISH)]
        english = dict(reader.words)
        for file in sorted(own, key=lambda file: (file.site, file.language == reader.code)):
            if file.language == reader.code and (file.site or reader.code != ENGLISH):
                self._add(reader, file)
            elif file.site:
                reader.words |= {key: english[key] for key in file.words if key in english}

    def _add(self, reader: Language, file: File) -> None:
        reader.words |= {key: self._word(reader, file, key, source) for key, source in file.words.items()}
        reader.check_numbers(file)

    def _word(self, reader: Language, file: File, key: str, source: str) -> Word:
        """A word with the values that the code gives for its key. Raises TextError."""
        if key not in KEYS and key not in self.names and not OPEN.fullmatch(key):
            raise TextError(f"{file.shown}: there are no words {key}{did_you_mean(key, (*KEYS, *self.names))}")
        word, named = reader.word(file, key, source)
        values = KEYS.get(key, ())
        limits = self.limits.keys() if key.startswith(_WITH_LIMITS) and key in KEYS else set()
        for placeholder in sorted(named - {*values, *limits}):
            near = did_you_mean(placeholder, [*values, *limits])
            raise TextError(f"{file.shown}: {key}: there is no value {placeholder}{near}")
        self._try_word(word, file, key, values)
        return word

    def _try_word(self, word: Word, file: File, key: str, values: Sequence[str]) -> None:
        try:
            if isinstance(word, Phrase):
                word.fill([_SAMPLE for _ in word.names])
            else:
                word.fill(dict.fromkeys(values, _SAMPLE), self.book)
        except (TemplateError, TextError, TypeError, ValueError, ArithmeticError) as error:
            raise TextError(f"{file.shown}: {key} cannot be filled: {error}") from error


def _chosen(files: Iterable[File], code: str) -> File | None:
    """The site's file before the shipped one, and of each the language's before the English one."""
    usable = [file for file in files if file.language in (code, ENGLISH)]
    return max(usable, key=lambda file: (file.site, file.language == code), default=None)


# A rule's text ---------------------------------------------------------------------------------------------------


def _checked(
    rule: Rule, text: Text, model: Text | None, shelf: _Shelf, file: File, book: LimitBook | None = None
) -> Text:
    """The text, with a summary for each tier and filled once for each. Raises TextError.

    What a rule fills in is what the shipped English text of it (`model`) reads, and by clauses always `found`.
    """
    for tier in rule.tiers:
        if tier.name not in text.summaries and "" not in text.summaries:
            raise TextError(f"{file.shown}: no summary for the tier {tier.name}")
    reasons = {change.because for change in rule.changes}
    for because in text.because:
        if because not in reasons:
            raise TextError(f"{file.shown}: nothing changes because {because!r}{did_you_mean(because, reasons)}")
    filled = _ALWAYS | {"found"} if rule.judge == "clauses" else _ALWAYS
    known = filled | (_named(model) if model is not None else set())
    for placeholder in sorted(_named(text) - known - shelf.limits.keys()):
        near = did_you_mean(placeholder, [*known, *shelf.limits])
        raise TextError(f"{file.shown}: there is no value {placeholder}{near}")
    for tier in rule.tiers:
        for how in _ways(text, tier.name):
            given = {**dict.fromkeys(filled, _SAMPLE), "tier": tier.name, **({"how": how} if how else {})}
            _try(text, model, given, book or shelf.book, file)
    return text


def _ways(text: Text, tier: str) -> list[str]:
    """The kinds of findings for which a tier has summaries of its own, and none of them."""
    return ["", *(key.partition("/")[2] for key in text.summaries if key.startswith(f"{tier}/"))]


def _try(text: Text, model: Text | None, given: Mapping[str, str], book: LimitBook, file: File) -> None:
    """Fill a text with what is there for certain; `found` may be empty. Raises TextError."""
    tier = given["tier"]
    try:
        sure = dict(given) if model is None else _required(model, given, book)
        for values in (sure, {**sure, "found": ""}) if "found" in sure else (sure,):
            text.title(book)
            text.detail(tier, values, book)
            summary = text.uncut(tier, values, book)
            if len(" ".join(summary.split())) >= SUMMARY_LIMIT:
                raise TextError(f"the summary is not shorter than {SUMMARY_LIMIT} characters")
    except UndefinedError as error:
        raise TextError(
            f"{file.shown}: {error.message} for the tier {tier}: test it first, with `is defined`"
        ) from error
    except (TemplateError, TextError, TypeError, ValueError, ArithmeticError) as error:
        raise TextError(f"{file.shown}: cannot be filled for the tier {tier}: {error}") from error


_MISSING = re.compile(r"'(\w+)' is undefined")


def _required(model: Text, given: Mapping[str, str], book: LimitBook) -> dict[str, str]:
    """What a rule fills in for certain: what the shipped text of a tier reads without a look whether it is there."""
    values = dict(given)
    for fill in (model.uncut, model.detail):
        while True:
            try:
                fill(given["tier"], values, book)
                break
            except UndefinedError as error:
                missing = _MISSING.match(str(error))
                if missing is None or missing[1] in values:
                    raise
                values[missing[1]] = _SAMPLE
    return values


def _named(text: Text) -> set[str]:
    return {name for wording in (text.heading, text.body, *text.summaries.values()) for name in wording.names}


class _Head(YAMLHandler):
    """The front matter of a text, within the bounds of YAML."""

    def load(self, fm: str, **kwargs: Any) -> Any:
        return super().load(fm, Loader=site_file.Loader)


def _read(rule: str, file: File, reader: Language, base: Text | None = None) -> Text:
    """A text file: front matter with title and summary, and the body; what it leaves out, `base` says.

    Raises TextError.
    """
    try:
        post = frontmatter.loads(file.read(), handler=_Head())
        head: Mapping[str, Any] = post.metadata
        summary = head["summary"] if base is None else head.get("summary", {})
        summaries = summary if isinstance(summary, dict) else {"": summary}
        title = head["title"] if base is None else head.get("title", "")
        text = Text(
            rule=rule,
            heading=base.heading if base and not title else reader.wording(reader.plain, title),
            short=base.short if base and not title else head.get("short", title.lower()),
            summaries={
                **(base.summaries if base else {}),
                **{tier: reader.wording(reader.plain, words) for tier, words in summaries.items()},
            },
            body=reader.wording(reader.detail, post.content),
            links=tuple((link["label"], link["url"]) for link in head.get("links", ())),
            citations=tuple(head.get("evidence", ())),
            because=dict(head.get("because", base.because if base else {})),
        )
        literals = reader.literals()
        written = [title, text.short, *summaries.values(), post.content]
        numbers = [number for each in written for number in literals.found(each)]
    except KeyError as error:
        raise TextError(f"{file.shown}: has no {error.args[0]}") from error
    except (TypeError, AttributeError, yaml.YAMLError, TemplateError) as error:
        raise TextError(f"{file.shown}: cannot be read: {' '.join(str(error).split())}") from error
    if numbers:
        raise TextError(f"{file.shown}: {refused(numbers)}")
    return text
