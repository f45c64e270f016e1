"""The shapes that a CDS Hooks 2.0.1 response is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Indicator = Literal["info", "warning", "critical"]
EXTENSION = "io.github.ketamine-cds"


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of all parts: an element that is None is left out, never sent as null (requirement 3)."""


class Coding(Part, frozen=True, kw_only=True):
    system: str
    code: str
    display: str | None = None
    extension: Mapping[str, Any] | None = None


class Source(Part, frozen=True, kw_only=True):
    label: str
    url: str | None = None
    topic: Coding | None = None


class Action(Part, frozen=True, kw_only=True):
    type: Literal["create", "update", "delete"]
    description: str
    resource: Mapping[str, Any] | None = None
    resource_id: str | None = None


class Suggestion(Part, frozen=True, kw_only=True):
    label: str
    uuid: str
    actions: list[Action]


class Link(Part, frozen=True, kw_only=True):
    label: str
    url: str
    type: Literal["absolute", "smart"] = msgspec.field()
    app_context: str | None = None
    """What the client hands to the app that it launches; of type `smart` alone."""


class Card(Part, frozen=True, kw_only=True):
    """`summary` is under 140 characters (requirement 83); `detail` is GitHub Flavored Markdown (85)."""

    uuid: str
    summary: str
    indicator: Indicator = msgspec.field()
    source: Source
    detail: str | None = None
    suggestions: list[Suggestion] | None = None
    selection_behavior: Literal["at-most-one", "any"] | None = None
    override_reasons: list[Coding] | None = None
    links: list[Link] | None = None
    extension: Mapping[str, Any] | None = None


class Response(Part, frozen=True, kw_only=True):
    """`cards` is always there, also empty."""

    cards: list[Card]
    extension: Mapping[str, Any] | None = None
