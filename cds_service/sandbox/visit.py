"""One call of a CDS service as the EHR prepares it, and what becomes of the drafts when a suggestion is accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from cds_service.hooks.request import VIEWING
from cds_service.sandbox.caller import Service, dicts
from cds_service.sandbox.records import FhirServer

USER = "Practitioner/simulated"


@dataclass(frozen=True)
class Visit:
    """One call as the EHR prepares it: whose chart, which drafts, and the CDS service."""

    service: Service
    fhir: FhirServer
    id: str
    hook: str
    templates: Mapping[str, str]
    context: Mapping[str, Any]
    drafts: Sequence[Mapping[str, Any]]
    prefetches: bool

    def request(self) -> tuple[dict[str, Any], list[str]]:
        """(the hook request, why parts of the prefetch are missing)."""
        context = dict(self.context)
        if self.hook != VIEWING:
            entries = [{"resource": each} for each in self.drafts]
            context["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        if self.hook == "order-select":
            context["selections"] = [f"{each['resourceType']}/{each.get('id')}" for each in self.drafts]
        made: dict[str, Any] = {
            "hook": self.hook,
            "hookInstance": str(uuid4()),
            "fhirServer": self.fhir.base,
            "context": context,
        }
        if self.fhir.token:
            authorization = {"token_type": "Bearer", "expires_in": 300, "scope": "patient/*.read", "subject": USER}
            made["fhirAuthorization"] = {"access_token": self.fhir.token, **authorization}
        if not self.prefetches:
            return made, []
        made["prefetch"], left_out = self.fhir.prefetch(self.templates, context)
        return made, left_out


def drafts_in(content: Any) -> list[dict[str, Any]]:
    """The orders of a resource, a Bundle, or a whole hook request."""
    if isinstance(content, dict) and isinstance(content.get("context"), dict):
        content = content["context"].get("draftOrders")
    if isinstance(content, dict) and content.get("resourceType") == "Bundle":
        found = [each.get("resource") for each in dicts(content.get("entry"))]
    else:
        found = [content]
    return [each for each in found if isinstance(each, dict) and isinstance(each.get("resourceType"), str)]


def after(action: Mapping[str, Any], drafts: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The drafts after one action."""
    resource, kind = action.get("resource"), action.get("type")
    if kind == "create" and isinstance(resource, dict):
        return [*drafts, {"id": f"simulated-{uuid4().hex[:12]}", **resource}]
    if kind == "update" and isinstance(resource, dict):
        return [resource if _is_named(each, resource.get("id")) else each for each in drafts]
    if kind == "delete":
        gone = action.get("resourceId") or (resource or {}).get("id")
        return [each for each in drafts if not _is_named(each, gone)]
    return drafts


def _is_named(draft: Mapping[str, Any], name: Any) -> bool:
    return isinstance(name, str) and draft.get("id") == name.rpartition("/")[2]
