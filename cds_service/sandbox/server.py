"""The sandbox's FHIR server without HTTP: read, search with paging, and update of a MedicationRequest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, cast
from urllib.parse import urlencode

from fhir.resources.R4B.medicationrequest import MedicationRequest
from pydantic import BaseModel, ValidationError

from cds_service.errors import CdsError
from cds_service.fhir import lenient
from cds_service.sandbox import charts
from cds_service.sandbox.charts import WHOSE, Resource
from cds_service.sandbox.written import Full, Written

WRITABLE = "MedicationRequest"
MOST_BYTES = 64_000
"""Of an order that is written."""
_PAGE, _LARGEST_PAGE = 50, 100
_ID = re.compile(r"(?!\.+$)[A-Za-z0-9.-]{1,64}")
_MOST_OF_A_LIST = 1_000
"""Values of one search parameter, separated by commas."""

_CODE = {
    "Observation": "code",
    "Condition": "code",
    "AllergyIntolerance": "code",
    "Procedure": "code",
    "ServiceRequest": "code",
    "MedicationRequest": "medicationCodeableConcept",
    "MedicationStatement": "medicationCodeableConcept",
    "MedicationAdministration": "medicationCodeableConcept",
}
_STATUS = frozenset(WHOSE) - {"Condition", "AllergyIntolerance"}
_WHEN = {
    "Observation": ("date", ("effectiveDateTime", "effectivePeriod")),
    "Procedure": ("date", ("performedDateTime", "performedPeriod")),
    "MedicationAdministration": ("effective-time", ("effectiveDateTime", "effectivePeriod")),
}
"""What a type may be sorted by, and the elements in which it stands."""


class NotServed(CdsError):
    """An interaction that is answered with an OperationOutcome: status, issue type, and what to say."""

    def __init__(self, status: int, code: str, says: str) -> None:
        super().__init__(says)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Server:
    """The server at `base`. Its charts move with the clock; orders that are written stand in `written`."""

    base: str
    clock: Callable[[], datetime]
    written: Written

    def capabilities(self) -> Resource:
        """The CapabilityStatement: what is here, and nothing else."""
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": self.clock().date().isoformat(),
            "kind": "instance",
            "software": {"name": "ketamine-cds sandbox", "version": version("ketamine-cds")},
            "implementation": {"description": "Synthetic patients to try the service with", "url": self.base},
            "fhirVersion": "4.0.1",
            "format": ["application/fhir+json", "json"],
            "rest": [{"mode": "server", "resource": [_capability(kind) for kind in ("Patient", *WHOSE)]}],
        }

    def read(self, kind: str, name: str) -> Resource:
        """One resource. Raises NotServed."""
        found = self._all(_known(kind)).get(name)
        if found is None:
            raise NotServed(404, "not-found", f"there is no {kind} of that id")
        return found

    def search(self, kind: str, given: Sequence[tuple[str, str]]) -> Resource:
        """A page of a searchset. A parameter that is not supported is refused, not passed over. Raises NotServed."""
        asked = _Search(_known(kind), given)
        found = asked.sorted([each for each in self._all(kind).values() if asked.matches(each)])
        page = found[asked.offset : asked.offset + asked.count]
        links = [("self", asked.offset)]
        if asked.offset + asked.count < len(found):
            links.append(("next", asked.offset + asked.count))
        made: Resource = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "link": [{"relation": name, "url": f"{self.base}/{kind}?{asked.query(at)}"} for name, at in links],
        }
        if page:
            made["entry"] = [
                {
                    "fullUrl": f"{self.base}/{kind}/{each['id']}",
                    "resource": each,
                    "search": {"mode": "match"},
                }
                for each in page
            ]
        return made

    def update(self, kind: str, name: str, body: bytes) -> tuple[Resource, bool]:
        """(the order as it now stands, whether it is new). Raises NotServed if it is not valid R4, or of nobody."""
        if kind != WRITABLE:
            raise NotServed(405, "not-supported", f"only {WRITABLE} can be updated")
        if not _ID.fullmatch(name):
            raise NotServed(400, "value", "an id has 1 to 64 letters, digits, hyphens and points")
        order = _valid(body)
        if order.get("id") != name:
            raise NotServed(400, "invalid", "the id of the resource is not that of the URL")
        subject = order.get("subject") or {}
        patient = str(subject.get("reference", "")).removeprefix(f"{self.base}/")
        if patient.partition("/")[2] not in {each.id for each in charts.patients()}:
            raise NotServed(422, "business-rule", "the subject is no patient of the sandbox")
        order["subject"] = {**subject, "reference": patient}
        is_new = name not in self._all(kind)
        now = self.clock().astimezone(UTC).isoformat(timespec="milliseconds")
        order["meta"] = {
            **(order.get("meta") or {}),
            "versionId": self.written.next_version(name),
            "lastUpdated": now,
        }
        try:
            self.written.put(name, lenient.encode(order))
        except Full as error:
            raise NotServed(422, "too-costly", str(error)) from error
        return order, is_new

    def _all(self, kind: str) -> Mapping[str, Resource]:
        shipped = {name: each for (of, name), each in charts.resources_at(self.clock()).items() if of == kind}
        return shipped | dict(self.written.all()) if kind == WRITABLE else shipped


def _known(kind: str) -> str:
    if kind not in WHOSE and kind != "Patient":
        raise NotServed(404, "not-supported", f"the sandbox has {', '.join(('Patient', *WHOSE))}")
    return kind


def _capability(kind: str) -> Resource:
    interactions = ["read", "search-type", *(["update"] if kind == WRITABLE else [])]
    made: Resource = {
        "type": kind,
        "interaction": [{"code": each} for each in interactions],
        "searchParam": [{"name": name, "type": of} for name, of in _parameters(kind).items()],
    }
    if kind == WRITABLE:
        made |= {"versioning": "versioned", "updateCreate": True}
    return made


def _parameters(kind: str) -> dict[str, str]:
    """The search parameters of a type, by name with their type."""
    made = {"_id": "token"}
    if kind in WHOSE:
        made["patient"] = "reference"
    if kind in _CODE:
        made["code"] = "token"
    if kind in _STATUS:
        made["status"] = "token"
    if kind in _WHEN:
        made[_WHEN[kind][0]] = "date"
    return made


def _valid(body: bytes) -> Resource:
    """The MedicationRequest in `body`, as it was sent. Raises NotServed."""
    try:
        order = lenient.untyped(body)
        if not isinstance(order, dict):
            raise NotServed(400, "structure", "the body is not a FHIR resource")
        if order.get("resourceType") != WRITABLE:
            raise NotServed(400, "invalid", f"the body is no {WRITABLE}")
        if (wrong := _outside(MedicationRequest.model_validate(order))) is not None:
            raise NotServed(422, "code-invalid", f"{wrong}: not one of the codes that R4 has for it")
    except ValidationError as error:
        # Where and why, but nothing of what was sent.
        says = "; ".join(f"{_place(each)}: {each['type']}" for each in error.errors()[:5])
        raise NotServed(422, "invalid", says) from None
    except (*lenient.UNREADABLE, KeyError, TypeError) as error:
        raise NotServed(400, "structure", "the body is not a FHIR resource in JSON") from error
    return order


def _outside(read: BaseModel) -> str | None:
    """The first element whose code R4 does not know: the library reads any text there."""
    for name, field in type(read).model_fields.items():
        value = getattr(read, name)
        extra = field.json_schema_extra
        known = cast(list[str], extra.get("enum_values") or []) if isinstance(extra, dict) else []
        if known and isinstance(value, str) and value not in known:
            return name
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, BaseModel) and (wrong := _outside(each)) is not None:
                return f"{name}.{wrong}"
    return None


def _place(fault: Mapping[str, Any]) -> str:
    """Where a fault is. The name of an element that R4 does not know is the sender's own, and left out."""
    known = fault["loc"][:-1] if fault["type"] == "extra_forbidden" else fault["loc"]
    return ".".join(map(str, known)) or WRITABLE


class _Search:
    """What a search asks for, checked."""

    def __init__(self, kind: str, given: Sequence[tuple[str, str]]) -> None:
        self._kind = kind
        self._given = [(name, text) for name, text in given if name != "_offset"]
        self._sort = ""
        self._wanted: list[tuple[str, frozenset[str]]] = []
        self.count, self.offset = _PAGE, 0
        for name, text in given:
            self._read(name, text)

    def _read(self, name: str, text: str) -> None:
        if name in ("_count", "_offset"):
            if not (text.isascii() and text.isdecimal() and len(text) < 7):
                raise NotServed(400, "value", f"{name} must be a whole number")
            if name == "_offset":
                self.offset = int(text)
            else:
                self.count = min(max(int(text), 1), _LARGEST_PAGE)
        elif name == "_sort":
            if self._kind not in _WHEN or text.removeprefix("-") != _WHEN[self._kind][0]:
                raise NotServed(400, "not-supported", f"{self._kind} cannot be sorted by that")
            self._sort = text
        elif name == "_format":
            if "json" not in text:
                raise NotServed(406, "not-supported", "the sandbox speaks JSON")
        else:
            asked = "patient" if name == "subject" and self._kind in WHOSE else name
            supported = _parameters(self._kind)
            if asked not in supported or supported[asked] == "date":
                said = ", ".join([each for each, of in supported.items() if of != "date"])
                raise NotServed(400, "not-supported", f"{self._kind} can be searched by {said}, _sort and _count")
            values = text.split(",")
            if len(values) > _MOST_OF_A_LIST:
                raise NotServed(400, "too-costly", f"{asked} has more than {_MOST_OF_A_LIST} values")
            self._wanted.append((asked, frozenset(values)))

    def matches(self, resource: Resource) -> bool:
        return all(not wanted.isdisjoint(self._values(resource, name)) for name, wanted in self._wanted)

    def _values(self, resource: Resource, name: str) -> Iterator[str]:
        """All that a value of the parameter may be written as."""
        if name == "_id":
            yield resource["id"]
        elif name == "patient":
            reference = resource[WHOSE[self._kind]]["reference"]
            yield from (reference, reference.partition("/")[2])
        elif name == "status":
            yield str(resource.get("status"))
        else:
            concept = resource.get(_CODE[self._kind]) or {}
            for coding in concept.get("coding") or ():
                yield from (str(coding.get("code")), f"{coding.get('system')}|{coding.get('code')}")

    def sorted(self, found: list[Resource]) -> list[Resource]:
        """Newest first for a minus. The charts write all moments alike, so that their text can be compared."""
        if not self._sort:
            return found
        return sorted(found, key=self._when, reverse=self._sort.startswith("-"))

    def _when(self, resource: Resource) -> str:
        for element in _WHEN[self._kind][1]:
            at = resource.get(element)
            if at:
                return str(at["start"] if isinstance(at, dict) else at)
        return ""

    def query(self, offset: int) -> str:
        return urlencode([*self._given, *([("_offset", str(offset))] if offset else [])])
