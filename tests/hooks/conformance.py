"""What CDS Hooks 2.0.1 asks of a response, as a list of faults; each names the requirement that it breaks.

The numbers are those of HL7's requirement sheet for CDS Hooks 2.0; `contract` stands for what this service promises
beyond it (design: every card has a uuid, a topic and our extension; interruptive cards have override reasons).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from fhir.resources.R4B.medicationrequest import MedicationRequest
from fhir.resources.R4B.servicerequest import ServiceRequest

from cds_service.cards.model import EXTENSION
from tests.conformance.invariants import RESPONSE, broken

INDICATORS = ("info", "warning", "critical")
_RESPONSE = {"cards", "systemActions", "extension"}
_CARD = {
    "uuid", "summary", "detail", "indicator", "source", "suggestions", "selectionBehavior", "overrideReasons",
    "links", "extension",
}  # fmt: skip
_RELATIVE = re.compile(r"[A-Z][A-Za-z]+/[^\s/?#]+$")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_MODELS = {"update": MedicationRequest, "create": ServiceRequest}

INVARIANTS = RESPONSE


def decoded(body: bytes) -> Any:
    """JSON with exact decimals."""
    return _DECODER.decode(body)


def faults(answer: Any) -> list[str]:
    """Everything that is wrong with a response of 200."""
    if not isinstance(answer, dict) or not isinstance(answer.get("cards"), list):
        return ["74: the response is not an object with an array of cards"]
    return [
        *(f"74: {key} does not belong in a response" for key in set(answer) - _RESPONSE),
        *_empties(answer, "response"),
        *_twice([card.get("uuid") for card in answer["cards"]], "80: two cards have one uuid"),
        *(fault for card in answer["cards"] for fault in _card(card)),
        *(f"{key}: {INVARIANTS[key]}" for key in broken(answer, INVARIANTS)),
    ]


def _empties(value: Any, path: str) -> Iterator[str]:
    """3: no element is null or empty, but for the list of cards. Our extension may hold nulls and empty lists."""
    if value is None or value in ("", [], {}):
        if path != "response.cards":
            yield f"3: {path} is null or empty"
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != EXTENSION:
                yield from _empties(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _empties(item, f"{path}[{number}]")


def _twice(values: Iterable[Any], says: str) -> list[str]:
    values = list(values)
    return [says] if len({str(value) for value in values}) != len(values) else []


def _card(card: dict[str, Any]) -> Iterator[str]:
    yield from (f"74: a card has no element {key}" for key in set(card) - _CARD)
    yield from _uuid(card.get("uuid"), "80: card")
    summary = card.get("summary")
    if not isinstance(summary, str) or not 0 < len(summary) < 140 or not summary.isprintable():
        yield "83: the summary is not one line of less than 140 characters"
    if not isinstance(card.get("detail"), str):
        yield "85: the detail is not a text"
    if card.get("indicator") not in INDICATORS:
        yield "88: the indicator is none of the three"
    yield from _source(card.get("source"))
    suggestions = card.get("suggestions", [])
    if suggestions and card.get("selectionBehavior") not in ("at-most-one", "any"):
        yield "93: suggestions without a selectionBehavior"
    if not suggestions and "selectionBehavior" in card:
        yield "96: a selectionBehavior without suggestions"
    yield from _twice([s.get("uuid") for s in suggestions], "118: two suggestions have one uuid")
    for suggestion in suggestions:
        yield from _suggestion(suggestion)
    if card.get("selectionBehavior") == "any":
        yield from _twice(_touched(suggestions), "95: any of the suggestions may be taken, and two change one order")
    yield from _reasons(card)
    for link in card.get("links", []):
        yield from _link(link)
    if EXTENSION not in card.get("extension", {}):
        yield "contract: a card lacks our extension"


def _uuid(value: Any, what: str) -> Iterator[str]:
    try:
        if str(UUID(value)) == value:
            return
    except (ValueError, AttributeError, TypeError):
        pass
    yield f"{what} has no uuid in its usual form"


def _source(source: Any) -> Iterator[str]:
    if not isinstance(source, dict) or not isinstance(source.get("label"), str):
        yield "105: the source has no label"
        return
    if not _is_absolute(source.get("url")):
        yield "107: the source has no absolute URL"
    topic = source.get("topic", {})
    if not all(isinstance(topic.get(key), str) for key in ("system", "code", "display")):
        yield "115: the source has no topic of system, code and display"
    elif not re.fullmatch(r"[a-z0-9-]{1,100}", topic["code"]):
        yield "contract: clients key overrides on topic.code, which must be short and plain"


def _suggestion(suggestion: dict[str, Any]) -> Iterator[str]:
    yield from _uuid(suggestion.get("uuid"), "119: suggestion")
    if not isinstance(suggestion.get("label"), str):
        yield "117: a suggestion has no label"
    if not suggestion.get("actions"):
        yield "124: a suggestion has no actions"
    for action in suggestion.get("actions", []):
        yield from _action(action)


def _action(action: dict[str, Any]) -> Iterator[str]:
    kind = action.get("type")
    if not isinstance(action.get("description"), str):
        yield "128: an action has no description"
    if kind == "delete":
        if "resource" in action:
            yield "133: a delete action holds a resource"
        if not _RELATIVE.match(str(action.get("resourceId"))):
            yield "134: a delete action has no resourceId of the form Type/id"
        return
    if kind not in _MODELS:
        yield "127: an action is neither create, update nor delete"
        return
    if "resourceId" in action:
        yield f"135: a {kind} action has a resourceId"
    yield from _resource(action.get("resource"), kind)


def _resource(resource: Any, kind: str) -> Iterator[str]:
    if not isinstance(resource, dict):
        yield "130: the resource of an action is not an object"
        return
    model = _MODELS[kind]
    if resource.get("resourceType") != model.__name__:
        yield f"130: {kind} of a {resource.get('resourceType')}"
        return
    if kind == "update" and not resource.get("id"):
        yield "132: an update does not say which order it is"
    if kind == "create" and "id" in resource:
        yield "131: a resource to be created has an id already"
    try:
        yield from _mistyped(resource, model.model_validate(resource), model.__name__)
    except Exception as error:
        yield f"130: the {kind} is not valid R4: {type(error).__name__} {str(error)[:200]}"
    yield from _references(resource, model.__name__)


def _mistyped(sent: Any, read: Any, path: str) -> Iterator[str]:
    """fhir.resources reads "5" as 5 and "true" as true; R4 JSON does not."""
    if isinstance(sent, dict):
        for key, item in sent.items():
            yield from _mistyped(item, getattr(read, key, None), f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(read, list):
        for item, item_read in zip(sent, read, strict=True):
            yield from _mistyped(item, item_read, path)
    elif isinstance(sent, str) and isinstance(read, (bool, int, Decimal)):
        yield f"130: {path} is written as text"


def _references(value: Any, path: str) -> Iterator[str]:
    """A reference to a resource of a type names one."""
    if isinstance(value, dict):
        if str(value.get("reference")).endswith("/"):
            yield f"130: {path}.reference names nothing"
        for key, item in value.items():
            yield from _references(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _references(item, path)


def _touched(suggestions: list[dict[str, Any]]) -> list[str]:
    """The orders that suggestions change or remove."""
    actions = [action for suggestion in suggestions for action in suggestion.get("actions", [])]
    touched = []
    for action in actions:
        if action.get("type") == "delete":
            touched.append(str(action.get("resourceId")))
        elif action.get("type") == "update" and isinstance(action.get("resource"), dict):
            touched.append(f"MedicationRequest/{action['resource'].get('id')}")
    return touched


def _reasons(card: dict[str, Any]) -> Iterator[str]:
    reasons = card.get("overrideReasons", [])
    if bool(reasons) != (card.get("indicator") != "info"):
        yield "contract: override reasons stand on interruptive cards, and only there"
    for reason in reasons:
        if not all(isinstance(reason.get(key), str) for key in ("system", "code", "display")):
            yield "100: an override reason lacks system, code or display"
    yield from _twice([reason.get("code") for reason in reasons], "98: an override reason stands twice")


def _link(link: dict[str, Any]) -> Iterator[str]:
    if not isinstance(link.get("label"), str):
        yield "138: a link has no label"
    if link.get("type") not in ("absolute", "smart"):
        yield "142: a link is neither absolute nor smart"
    if not _is_absolute(link.get("url")):
        yield "139: a link has no URL"
    if "appContext" in link and link.get("type") != "smart":
        yield "147: an absolute link has an appContext"


def _is_absolute(url: Any) -> bool:
    return isinstance(url, str) and urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).netloc)
