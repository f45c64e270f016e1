"""An EHR around the console for its tests: another project's authorization server before the sandbox's charts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml
from flask import Flask

from cds_service import sandbox
from cds_service.console.app import create_console
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests.console.served import listening
from tests.servers.ports import unused_port
from tests.servers.smart_server import SmartServer, smart_server

CLIENT, APP = "the-ehr", "dose-gauge"
CLINICIAN, PHARMACIST, NOBODY = "clinician", "pharmacist", "nobody"
USERS = {CLINICIAN: ["wards"], PHARMACIST: ["pharmacy", "protocol-owners"], NOBODY: []}
LOGIN, LOGIN_SECRET = "console", "a client secret of the console at the provider"
PATIENT = "standard"


@dataclass(frozen=True)
class Ehr:
    """The running programs: the service with its client's entry, the console, the EHR's two servers."""

    service: str
    console: str
    server: SmartServer
    settings: Settings
    app: Flask = field(repr=False)

    @property
    def launch_url(self) -> str:
        return f"{self.console}/smart/{CLIENT}/launch"

    def launching(self, patient: str = PATIENT) -> str:
        """Where the EHR sends the browser when a clinician follows a card's link."""
        return f"{self.launch_url}?iss={self.server.fhir}&launch={self.server.launch(patient=patient)}"


@contextmanager
def ehr(
    knowledge: Knowledge, folder: Path, entry: dict[str, Any] | None = None, provider: int = 0, **others: Any
) -> Iterator[Ehr]:
    """All of them on this machine. `entry` changes the client's entry, `others` the settings.

    `provider` is the port of the EHR's two servers, where settings name it.
    """
    ports = {"port": unused_port(), "console_port": unused_port()}
    provider = provider or unused_port()
    console = f"http://127.0.0.1:{ports['console_port']}"
    given = {"id": CLIENT, "fhir_servers": [f"http://localhost:{provider}/fhir"], "smart": {"client_id": APP}}
    file = folder / "clients.yaml"
    file.write_text(yaml.safe_dump({"clients": [{**given, **(entry or {})}]}))
    settings = Settings(
        **{"store": "off", "sandbox": "loopback", "answer_deadline_ms": 0, "clients": str(file), **ports, **others}
    )
    common = {"grant_types": ["authorization_code"], "response_types": ["code"]}
    clients = [
        {
            **common,
            "client_id": APP,
            "token_endpoint_auth_method": "none",
            "redirect_uris": [f"{console}/smart/{CLIENT}/callback"],
        },
        {
            **common,
            "client_id": LOGIN,
            "client_secret": LOGIN_SECRET,
            "redirect_uris": [f"{console}/login/openid/callback"],
        },
    ]
    with ExitStack() as stack:
        stack.enter_context(listening(create_app(settings, knowledge), settings.port))
        (charts,) = sandbox.servers(settings)
        server = stack.enter_context(smart_server(charts, clients, USERS, provider))
        app = create_console(settings, knowledge)
        stack.enter_context(listening(app, settings.console_port))
        yield Ehr(settings.base_url, settings.console_url, server, settings, app)


class Browser:
    """A browser without scripts, which keeps its cookies by their paths."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, url: str, **given: Any) -> requests.Response:
        return self.session.get(url, timeout=60, **given)

    def post(self, url: str, **fields: str) -> requests.Response:
        return self.session.post(url, data=fields, timeout=60)

    def sign_in(self, url: str, user: str = CLINICIAN, **fields: str) -> requests.Response:
        """Follow `url` to the EHR's sign-in, sign in, and come back."""
        page = self.get(url)
        assert page.ok, page.text
        return self.post(form_of(page), user=user, **fields)

    def signed_in_at(self, url: str, user: str = CLINICIAN, **fields: str) -> str:
        """As `sign_in`, without the last step: the address at which the EHR sends the browser back."""
        answer = self.session.post(
            form_of(self.get(url)), data={"user": user, **fields}, timeout=60, allow_redirects=False
        )
        while not urlsplit(answer.headers["Location"]).path.endswith("/callback"):
            answer = self.get(answer.headers["Location"], allow_redirects=False)
        return str(answer.headers["Location"])


def form_of(page: requests.Response) -> str:
    """The address of the form on a page of the EHR's."""
    found = re.search(r'<form method="post" action="([^"]+)"', page.text)
    assert found is not None, page.text
    return requests.compat.urljoin(page.url, found[1])  # type: ignore[attr-defined,no-any-return]


def token_of(page: requests.Response) -> str:
    """The token of the forms on a page of the console."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]
