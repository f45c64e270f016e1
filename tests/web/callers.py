"""Clients with keys and entries of their own, and the service that they call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests.hooks.client import encoded
from tests.hooks.tokens import PUBLIC_URL, Signer, jwks
from tests.scenarios.build import NOW, hook_request

SIGN = "/cds-services/ketamine-order-sign"
JSON = "application/json"
ORDER = {"order": {"rate": "1.2 mg/kg/h"}, "patient": {"weight": "80 kg"}}


def settings_of(folder: Path, *entries: dict[str, Any], **settings: Any) -> Settings:
    """The settings of a service with these clients, each signing with the keys of its own file."""
    (folder / "clients.yaml").write_text(json.dumps({"clients": list(entries)}), "utf-8")
    made = {
        "auth": "required",
        "clients": str(folder / "clients.yaml"),
        "public_url": PUBLIC_URL,
        "state_dir": str(folder / "state"),
        **settings,
    }
    return Settings(**made)


def service(knowledge: Knowledge, folder: Path, *entries: dict[str, Any], **settings: Any) -> FlaskClient:
    """A service with these clients."""
    return create_app(settings_of(folder, *entries, **settings), knowledge, clock=lambda: NOW).test_client()


class Caller:
    """A client with keys and an entry of its own."""

    def __init__(self, folder: Path, name: str, **entry: Any) -> None:
        self.signer = Signer()
        self.issuer = f"https://{name}.example.org"
        (folder / f"{name}.json").write_bytes(jwks(self.signer))
        self.entry = {"id": name, "issuers": [self.issuer], "jwks_file": f"{name}.json", **entry}

    def headers(self, path: str = SIGN, **more: str) -> dict[str, str]:
        token = self.signer.token(NOW, iss=self.issuer, aud=PUBLIC_URL + path)
        return {"Authorization": f"Bearer {token}", **more}

    def sign(self, http: FlaskClient, request: dict[str, Any] | None = None, **more: str) -> TestResponse:
        return http.post(
            SIGN, data=encoded(request or hook_request(ORDER)), content_type=JSON, headers=self.headers(**more)
        )
