"""Resources that are sent back: valid R4 or not sent. Usual faults of what came in are repaired on the way.

The models of R4 are imported where something is sent: they take longer to load than most answers of the command line
take in all. The service has sent something before it listens.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from cds_service import bounds
from cds_service.deadline import give_way
from cds_service.fhir import lenient

if TYPE_CHECKING:
    from pydantic import ValidationError

log = logging.getLogger("ketamine_cds")

_ROUNDS = 4
_LARGEST_INTEGER = 2**31 - 1
"""R4's integer has 32 bits."""
_STU3_AMOUNTS = ("doseQuantity", "doseRange", "rateQuantity", "rateRange", "rateRatio")
_OF_R5 = frozenset({"item", "strengthRatio"})
"""What R5 says of an ingredient is read, so that leaving it out would change what is ordered."""
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""R4's string has no place for the first; overrides of direction make 05 look like 50."""
_LOCAL_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(:\d{2}(?:\.\d+)?)?$")


def medication_request(order: Mapping[str, Any], patient_id: str, now: datetime) -> dict[str, Any] | None:
    """The order as valid R4, or None where its faults are not of the usual kinds, or it holds more than was judged.

    Repaired are: an object where a list belongs, missing intent, status or subject, a dose on the dosage itself
    (STU3), times without a zone, numbers as text, nulls and empty elements, control characters, and elements that R4
    does not know.
    """
    from fhir.resources.R4B.medicationrequest import MedicationRequest
    from pydantic import ValidationError

    from cds_service.fhir import strict

    repaired = dict(order)
    if _holds_more_than_is_read(repaired):
        return None
    for _ in range(_ROUNDS):
        give_way()
        try:
            is_valid = strict.is_valid(repaired)
            if not is_valid:
                repaired = _without_empties(repaired)
                is_valid = strict.is_valid(repaired)
            if is_valid:
                return repaired if "id" in repaired else None  # without an id, nothing says which order is meant
            read = MedicationRequest.model_validate(repaired)
            if strict.has_wrong_code(read):
                return None  # what was meant, as a status that R4 does not know, is not ours to say
        except ValidationError as error:
            if not _repair(repaired, error, patient_id, now):
                return None
        except Exception as error:  # nested too deep, or a contained type that the library does not know (KeyError)
            log.warning("an order is not sent back, since it could not be validated: %s", type(error).__name__)
            return None
        else:
            try:
                typed: dict[str, Any] = _typed(repaired, read)
            except _OutOfBounds:
                return None
            return typed if "id" in typed else None
    return None


def _holds_more_than_is_read(order: Mapping[str, Any]) -> bool:
    """Whether a part of it was not judged, or it is too long to be sent."""
    try:
        raw = lenient.encode(order)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return True
    if len(raw) > bounds.COPY:
        return True
    read = lenient.decode(raw)
    contained = getattr(read.resource, "contained", ())
    return read.is_cut or any(lenient.decode(each).is_cut for each in contained)


def service_request(
    text: str, codings: Sequence[tuple[str, str, str]], priority: str, patient_id: str, encounter_id: str | None
) -> dict[str, Any]:
    """A draft order for something to be done; codings are (system, code, display)."""
    _check_service_request(text, tuple(codings), priority)
    request = _service_request(text, codings, priority, patient_id)
    if encounter_id:
        request["encounter"] = {"reference": f"Encounter/{encounter_id}"}
    return request


def _service_request(
    text: str, codings: Sequence[tuple[str, str, str]], priority: str, patient_id: str
) -> dict[str, Any]:
    code: dict[str, Any] = {"text": text}
    if codings:
        code["coding"] = [{"system": s, "code": c, "display": d} for s, c, d in codings]
    return {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "order",
        "priority": priority,
        "code": code,
        "subject": {"reference": f"Patient/{patient_id}"},
    }


@lru_cache(maxsize=256)
def _check_service_request(text: str, codings: tuple[tuple[str, str, str], ...], priority: str) -> None:
    """All of it but the patient is validated once: it comes from the protocol, not from a request."""
    from fhir.resources.R4B.servicerequest import ServiceRequest

    ServiceRequest.model_validate(_service_request(text, codings, priority, "example"))


def _without_empties(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_empties(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, "", [], {})}
    if isinstance(value, list):
        return [item for item in map(_without_empties, value) if item not in (None, "", [], {})]
    if isinstance(value, str):
        return _CONTROLS.sub("", value)
    return value


class _OutOfBounds(Exception):
    """A number that R4 has no place for, or that JSON readers refuse."""


def _typed(sent: Any, read: Any) -> Any:
    """The element with a number or a boolean where a text stands for it: the library reads both alike."""
    if isinstance(read, int) and abs(read) > _LARGEST_INTEGER:
        raise _OutOfBounds
    if isinstance(read, (int, Decimal)) and not bounds.is_figure(read):
        raise _OutOfBounds
    if isinstance(sent, dict):
        return {key: _typed(item, getattr(read, key, None)) for key, item in sent.items()}
    if isinstance(sent, list) and isinstance(read, list):
        return [_typed(item, item_read) for item, item_read in zip(sent, read, strict=True)]
    return read if isinstance(sent, str) and isinstance(read, (bool, int, Decimal)) else sent


def _repair(order: dict[str, Any], error: ValidationError, patient_id: str, now: datetime) -> bool:
    """Mend every fault that the error names; False where one is of another kind."""
    for fault in sorted(error.errors(), key=lambda fault: len(fault["loc"]), reverse=True):
        if not fault["loc"]:
            return False  # of the whole: two of a choice, as a medication both by code and by reference
        *path, name = fault["loc"]
        parent = _at(order, path)
        if parent is None:
            return False
        match fault["type"]:
            case "list_type":
                parent[name] = [parent[name]]
            case "extra_forbidden" if name in _OF_R5 and "ingredient" in path:
                return False
            case "extra_forbidden":
                _move_or_drop(parent, str(name), path)
            # The second is what the library says of required codes.
            case "missing" | "model_field_validation.missing" if not path and name in ("intent", "status"):
                parent[name] = {"intent": "order", "status": "draft"}[str(name)]
            case "missing" if not path and name == "subject" and patient_id:
                parent[name] = {"reference": f"Patient/{patient_id}"}
            case "value_error" if (zoned := _with_zone(parent[name], now)) is not None:
                parent[name] = zoned
            case _:
                return False
    return True


def _at(order: dict[str, Any], path: Sequence[int | str]) -> Any:
    here: Any = order
    for part in path:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            return None
    return here if isinstance(here, (dict, list)) else None


def _move_or_drop(parent: dict[str, Any], name: str, path: Sequence[int | str]) -> None:
    value = parent.pop(name)
    if name in _STU3_AMOUNTS and len(path) == 2 and path[0] == "dosageInstruction":
        entries = parent.setdefault("doseAndRate", [{}])
        entries = parent["doseAndRate"] = entries if isinstance(entries, list) else [entries]
        entries[0].setdefault(name, value)


def _with_zone(value: Any, now: datetime) -> str | None:
    local = _LOCAL_TIME.match(value) if isinstance(value, str) else None
    if local is None:
        return None
    offset = now.strftime("%z")
    return f"{local.group(1)}{local.group(2) or ':00'}{offset[:3]}:{offset[3:5]}"
