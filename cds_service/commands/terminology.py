"""The command terminology: a site's expansions from a terminology server, and what that server says of our codes."""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cds_service.commands.given import url
from cds_service.commands.refused import Refused
from cds_service.protocol.errors import did_you_mean
from cds_service.terminology import expansion, valuesets
from cds_service.terminology.tx import Coded, Concept, Json, TxRefusal, TxServer
from cds_service.terminology.valueset import ValueSet
from cds_service.terminology.valuesets import ValueSets

FOUND = 1
_AT_ONCE = 8
_SEMANTIC_TAG = re.compile(r" \([^()]*\)$")
_WORD = re.compile(r"[^\W_]+")
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))


def run(given: argparse.Namespace) -> int:
    """Exit status 0, or 1 where something is left to look at. Raises Refused where the server cannot be used."""
    server = TxServer(url(given.tx, "--tx"))
    shipped = valuesets.load()
    names = given.set or shipped.names()
    if unknown := [name for name in names if name not in shipped or "/" in name]:
        nearest = did_you_mean(unknown[0], shipped.names())
        raise Refused(f"there is no value set {', '.join(unknown)}{nearest}")
    server.greet()
    if given.action == "expand":
        return _expand(server, shipped, names, Path(given.into))
    return _check(server, shipped, names)


# expand -------------------------------------------------------------------------------------------------------------


def _expand(server: TxServer, shipped: ValueSets, names: Iterable[str], into: Path) -> int:
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{into}: {error.strerror}") from error
    faults = 0
    for name in names:
        if shipped[name].no_codes:
            print(f"{name}: has no codes to expand")
            continue
        asked, contains, failed = _expanded(server, shipped, shipped[name])
        for fault in failed:
            print(f"{name}: {fault}")
        faults += len(failed)
        if not contains:
            continue
        made = expansion.resource(shipped[name], asked, contains, server.base, datetime.now(UTC))
        _write(into / f"{name}.json", made)
        new = sum(name not in shipped.members_of(entry["system"], entry["code"]) for entry in contains)
        print(f"{name}: {len(contains)} codes, {new} of them new")
    if faults:
        print(f"{faults} expansions could not be had; nothing was written for them")
    return FOUND if faults else 0


def _expanded(
    server: TxServer, shipped: ValueSets, value_set: ValueSet
) -> tuple[list[expansion.Question], list[Json], list[str]]:
    """(what was answered, the codes, why the rest was not), each code once."""
    asked: list[expansion.Question] = []
    failed: list[str] = []
    contains: dict[tuple[str, str], Json] = {}
    for question in expansion.questions(value_set):
        codes, refusals = _answered(server, question)
        failed += [f"{question.system} was not expanded: {refusal}" for refusal in refusals]
        if refusals and not codes:
            continue
        entries = expansion.kept(question, codes, value_set, shipped)
        if not entries:
            failed.append(f"{question.system} was not expanded: the server knows none of its codes")
            continue
        asked.append(question)
        for entry in entries:
            contains.setdefault((entry["system"], entry["code"]), entry)
    return asked, list(contains.values()), failed


def _answered(server: TxServer, question: expansion.Question) -> tuple[list[Coded], list[str]]:
    """The codes, and what was refused: one code that a server does not know may not cost all that it does know."""
    try:
        return server.expand(question.compose), []
    except TxRefusal as refusal:
        parts = list(expansion.parts(question))
        if len(parts) < 2:
            return [], [str(refusal)]
    codes: list[Coded] = []
    refusals: list[str] = []
    for part in parts:
        try:
            codes += server.expand(part)
        except TxRefusal as refusal:
            refusals.append(str(refusal))
    return codes, list(dict.fromkeys(refusals))


def _write(path: Path, made: Json) -> None:
    """In one step, so that a service that starts meanwhile reads no half of it."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", "utf-8")
        beside.replace(path)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


# check --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """A code of ours, with the names that the sets give it."""

    system: str
    code: str
    names: tuple[str, ...]
    sets: tuple[str, ...]


def _check(server: TxServer, shipped: ValueSets, names: Iterable[str]) -> int:
    codes = list(_codes(shipped, names))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda known: _looked_up(server, known), codes))
    of_system = Counter(known.system for known in codes)
    not_known = Counter(known.system for known, concept in zip(codes, answers, strict=True) if concept is None)
    absent = {system for system, count in not_known.items() if count == of_system[system]}
    for system in sorted(absent):
        print(f"not known: {system}: none of its {of_system[system]} codes")
    found = len(absent)
    for known, concept in zip(codes, answers, strict=True):
        if known.system in absent:
            continue
        for finding in _findings(known, concept):
            print(f"{finding} ({', '.join(known.sets)})")
            found += 1
    print(f"{len(codes)} codes of {len(of_system)} systems: {f'{found} findings' if found else 'nothing found'}")
    return FOUND if found else 0


def _looked_up(server: TxServer, known: Known) -> Concept | TxRefusal | None:
    try:
        return server.look_up(known.system, known.code)
    except TxRefusal as refusal:
        return refusal


def _codes(shipped: ValueSets, names: Iterable[str]) -> Iterator[Known]:
    """Every code once, roots of branches with them."""
    displays: dict[tuple[str, str], dict[str, None]] = {}
    sets: dict[tuple[str, str], dict[str, None]] = {}
    for name in names:
        for system, member in (*shipped[name].members, *shipped[name].branches):
            displays.setdefault((system, member.code), {})[member.display] = None
            sets.setdefault((system, member.code), {})[name] = None
    for coding, found in displays.items():
        yield Known(*coding, tuple(name for name in found if name), tuple(sets[coding]))


def _findings(known: Known, concept: Concept | TxRefusal | None) -> Iterator[str]:
    called = f"{known.system} {known.code}" + (f' "{known.names[0]}"' if known.names else "")
    if concept is None:
        yield f"not known: {called}"
        return
    if isinstance(concept, TxRefusal):
        yield f"not checked: {called}: {concept}"
        return
    if concept.inactive:
        yield f"inactive: {called}"
    theirs = {_words(name) for name in concept.names}
    for name in known.names:
        if theirs and _words(name) not in theirs:
            yield f'other name: {known.system} {known.code} "{name}" is there "{concept.display}"'


def _words(name: str) -> tuple[str, ...]:
    """The words by which names are compared: no case, punctuation, characters that cannot be seen, semantic tag."""
    plain = unicodedata.normalize("NFC", name).translate(_UNSEEN)
    return tuple(_WORD.findall(_SEMANTIC_TAG.sub("", plain.strip()).casefold()))
