"""A hook request for a bug report: what the rules read, and nothing that says whose it is.

Only what is known is kept, so that nothing has to be recognised as private. Of a string that is every element that
the service reads and whose value stands in the service's own data or in FHIR R4's lists of codes, a code of a known
code system, a unit, a number, or a date. Names of things become r1, r2 …, other words and all text local-1, local-2
…, so that what was unknown is unknown still. Dates move together, by a random number of days.
"""

from __future__ import annotations

import os
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from cds_service import units
from cds_service.cards.model import EXTENSION
from cds_service.commands.refused import Refused
from cds_service.fhir import lenient
from cds_service.fhir.datatypes import Element
from cds_service.fhir.resources import TYPES
from cds_service.terminology import valuesets
from cds_service.terminology.identity import identify
from cds_service.terminology.systems import canonical_system
from cds_service.terminology.valuesets import ValueSets

MOMENT = "recordedAt"
"""In the record's extension: the moment, moved with the dates, as of which `check` judges it."""
_HOOKS = ("order-select", "order-sign", "patient-view")
_SHIFT = range(1_000, 4_000)
"""Days. Towards the future: limits that a protocol has had for a while are then still in effect."""
_CALENDAR = 4
"""Days by which a day of birth may move more or less, so that the age stays the same."""
_BUNDLES = ("Bundle", "Parameters", "RequestGroup", "CarePlan", "OperationOutcome")
_STRUCTURE = frozenset(
    {"resourceType", "type", "total", "entry", "resource", "fullUrl", "link", "relation", "contained"}
)
_NAMES = frozenset({"id", "reference", "fullUrl"})
_PROSE = frozenset({"text", "display", "description", "diagnostics", "details", "valueString", "patientInstruction"})
"""Elements that a person fills with text."""
_NEXT = {"relation": "next", "url": "https://ehr.example.org/fhir/next"}
_LEFT_OUT = frozenset({"identifier", "name", "note", "div", "narrative"})

_DATE = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2}(?:[T ]\d{2}:\d{2}.{0,30})?)?)?")
_NUMBER = re.compile(r"[-+]?\d{1,6}(?:[.,]\d{1,6})?|\d{2}:\d{2}(?::\d{2})?")
_CODE = re.compile(r"\d[\d.-]{0,17}|[A-Z]\d[\dA-Z](?:\.?[\dA-Z]{1,4})?|[A-Z]\d{2}[A-Z]{1,2}\d{0,2}")
"""Codes of SNOMED CT, LOINC, RxNorm and NDC; of ICD-10; of ATC."""
_REFERENCE = re.compile(r"(https?://.*/)?([A-Z][A-Za-z]{2,40})/([^/]+)(?:/_history/.*)?/?")


def keep(request: Mapping[str, Any], file: str) -> None:
    """Write the record of a request; only its owner can read it. Raises Refused."""
    content = lenient.encode(recorded(request, datetime.now().astimezone(), valuesets.load()))
    try:
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(made, "wb") as opened:
            opened.write(msgspec.json.format(content, indent=1) + b"\n")
    except OSError as error:
        raise Refused(f"{file}: {error.strerror}") from error
    print(f"kept in {Path(file)}, without names, text and true dates; ketamine-cds check {file} judges it again")


def recorded(request: Mapping[str, Any], now: datetime, known: ValueSets) -> dict[str, Any]:
    """The record of a request that is judged at `now`; `known` tells the codes that mean something."""
    cleaner = _Cleaner(now, secrets.choice(_SHIFT), known)
    context = request.get("context")
    hook = request.get("hook")
    made: dict[str, Any] = {
        "hook": hook if hook in _HOOKS else "unknown",
        "hookInstance": str(uuid4()),
        "context": cleaner.context(context if isinstance(context, Mapping) else {}),
        "extension": {EXTENSION: {MOMENT: cleaner.moved(now).isoformat(timespec="seconds")}},
    }
    prefetch = request.get("prefetch")
    if isinstance(prefetch, Mapping):
        made["prefetch"] = {cleaner.known(key): cleaner.value(each, "") for key, each in prefetch.items()}
    return made


def moment(body: bytes) -> str | None:
    """As of when a record is to be judged; None where the body is no record."""
    try:
        found = lenient.untyped(body)["extension"][EXTENSION][MOMENT]
    except (*lenient.UNREADABLE, LookupError, TypeError):
        return None
    return found if isinstance(found, str) else None


class _Cleaner:
    """What was replaced by what, so that the same stays the same within one record."""

    def __init__(self, now: datetime, days: int, known: ValueSets) -> None:
        self._now = now
        self._by = timedelta(days=days)
        self._valuesets = known
        self._names: dict[str, str] = {}
        self._words: dict[str, str] = {}

    def moved(self, moment: datetime) -> datetime:
        return moment + self._by

    def context(self, context: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key in ("userId", "patientId", "encounterId"):
            if isinstance(context.get(key), str):
                made[key] = self._reference(context[key])
        if "draftOrders" in context:
            made["draftOrders"] = self.value(context["draftOrders"], "")
        if isinstance(context.get("selections"), list):
            made["selections"] = [self._reference(each) for each in context["selections"] if isinstance(each, str)]
        return made

    def value(self, value: Any, key: str) -> Any:
        """An element without what is not known. None where nothing is left of a text."""
        if isinstance(value, Mapping):
            return self._object(value)
        if isinstance(value, list):
            return [each for each in (self.value(item, key) for item in value) if each is not None]
        return self._string(value, key, "") if isinstance(value, str) else value

    def _object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        system = value.get("system")
        made: dict[str, Any] = {}
        for key, item in value.items():
            if key not in _elements() or key in _LEFT_OUT:
                continue
            left: Any
            if key == "link":
                left = [_NEXT] if _has_next(item) else []
            elif isinstance(item, str):
                left = self._string(item, key, system if isinstance(system, str) else "")
            else:
                left = self.value(item, key)
            if left is not None or item is None:
                made[key] = left
        return made

    def _string(self, text: str, key: str, system: str) -> str | None:
        if key in _NAMES:
            return self._reference(text)
        if key == "value" and system:
            return self._name(text)  # of an identifier
        if key == "resourceType":
            return text if text in TYPES or text in _BUNDLES else "Basic"
        if key == "birthDate":
            return self._born(text)
        if key == "code":  # some look like a year
            return text if _is_known_system(system) and self._is_code(system, text) else self.known(text)
        if _DATE.fullmatch(text) and (moved := self._date(text)) is not None:
            return moved
        return self._prose(text) if key in _PROSE else self.known(text)

    def _prose(self, text: str) -> str | None:
        """A word for words. Those that may mean a problem that a rule asks for are left out: none stands for them."""
        if text.casefold() in _vocabulary():
            return text
        identity = identify([], [text], self._valuesets)
        if identity is not None:
            return identity.drug  # without which nothing would be judged
        return None if self._valuesets.asking(text) else self._stand_in(text)

    def known(self, text: str) -> str:
        """A word that the service or FHIR knows, a number or a unit; for any other, one that stands for it."""
        if text.casefold() in _vocabulary() or _NUMBER.fullmatch(text) or units.dimensions_of(text):
            return text
        return self._stand_in(text)

    def _stand_in(self, text: str) -> str:
        return self._words.setdefault(text, f"local-{len(self._words) + 1}")

    def _is_code(self, system: str, code: str) -> bool:
        return self._valuesets.knows(system, code) or _CODE.fullmatch(code) is not None

    def _reference(self, text: str) -> str:
        if text.startswith("#"):
            return f"#{self._name(text[1:])}"
        if text.startswith("urn:"):
            return f"urn:{self._name(text)}"
        found = _REFERENCE.fullmatch(text)
        if found and found[2] in _types():
            return f"{'https://ehr.example.org/fhir/' if found[1] else ''}{found[2]}/{self._name(found[3])}"
        return self._name(text)

    def _name(self, name: str) -> str:
        return self._names.setdefault(name, f"r{len(self._names) + 1}")

    def _date(self, text: str) -> str | None:
        """Moved, as precise as it was; None where it is no date after all."""
        try:
            if len(text) > len("2026-11-22"):
                return self.moved(datetime.fromisoformat(text)).isoformat()
            year, month, day = (int(part) for part in (*text.split("-"), "1", "1")[:3])
            return (date(year, month, day) + self._by).isoformat()[: len(text)]
        except (ValueError, OverflowError):
            return None

    def _born(self, text: str) -> str:
        """Moved so that the age in years and months is what it was: months and years are of other lengths now."""
        try:
            born = date.fromisoformat(text)
            age = _age(born, self._now.date())
            for days in sorted(range(-_CALENDAR, _CALENDAR + 1), key=abs):
                moved = born + self._by + timedelta(days=days)
                if _age(moved, self.moved(self._now).date())[:2] == age[:2]:
                    return moved.isoformat()
        except (ValueError, OverflowError):
            pass
        return (_DATE.fullmatch(text) and self._date(text)) or self.known(text)


def _has_next(links: Any) -> bool:
    """Whether a Bundle says that it is not whole: that must stay."""
    listed = links if isinstance(links, list) else [links]
    return any(isinstance(each, Mapping) and each.get("relation") == "next" for each in listed)


def _age(born: date, at: date) -> tuple[int, int]:
    """(completed years, completed months beyond them)."""
    months = (at.year - born.year) * 12 + at.month - born.month - (at.day < born.day)
    return divmod(months, 12)


# What is known ------------------------------------------------------------------------------------------------------


@cache
def _elements() -> frozenset[str]:
    """The names of all elements that the service reads."""

    def below(kind: type[Element]) -> Iterator[type[Element]]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    read = {name for each in (*below(Element), *TYPES.values()) for name in each.__struct_encode_fields__}
    return frozenset(read) | _STRUCTURE


@cache
def _types() -> frozenset[str]:
    """The types that a reference may name."""
    return frozenset(TYPES) | {"Practitioner", "PractitionerRole", "RelatedPerson", "Group", "Device", *_BUNDLES}


def _is_known_system(system: str) -> bool:
    return canonical_system(system).casefold() in _vocabulary()


@cache
def _vocabulary() -> frozenset[str]:
    """Every word of the service's own tables and of FHIR R4's lists of codes, in lower case."""
    words = {word for file in _tables(resources.files("cds_service")) for word in _strings(file)}
    for name in ("bundle", "dosage", "timing", "quantity", *(kind.lower() for kind in TYPES)):
        for model in vars(import_module(f"fhir.resources.R4B.{name}")).values():
            for field in getattr(model, "model_fields", {}).values():
                extra = field.json_schema_extra
                words.update((extra.get("enum_values") or ()) if isinstance(extra, dict) else ())
    return frozenset(word.casefold() for word in words)


def _tables(folder: Traversable) -> Iterator[Traversable]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _tables(each)
        elif each.name.endswith(".toml"):
            yield each


def _strings(file: Traversable) -> Iterator[str]:
    def below(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield key
                yield from below(item)
        elif isinstance(value, list):
            for item in value:
                yield from below(item)
        elif isinstance(value, str):
            yield value

    return below(tomllib.loads(file.read_text("utf-8")))
