"""A small EHR to try the service with: synthetic patients on a FHIR R4 server that reads, searches, updates."""

from __future__ import annotations

from cds_service.settings import Settings

PATH = "/sandbox/fhir"
"""Where its FHIR server lies, below the URL of the service."""


def servers(settings: Settings) -> list[str]:
    """The base URL of the sandbox's FHIR server, which the service may then ask; nothing where it is off."""
    return [settings.base_url + PATH] if settings.has_sandbox else []
