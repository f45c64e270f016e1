"""The console as a client of the service: it fetches a chart as an EHR does, calls the hooks, gives feedback.

All of it goes over HTTP to the service's public routes, as any client's calls do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from cds_service import sandbox
from cds_service.cards.texts import ENGLISH
from cds_service.console.words import language, say
from cds_service.fhir import lenient
from cds_service.hooks import discovery
from cds_service.sandbox import charts
from cds_service.sandbox.caller import Failed, Service, Signer, UnreadableKey, Web
from cds_service.sandbox.records import FhirServer
from cds_service.sandbox.visit import USER, Visit
from cds_service.settings import PREFIX, SettingError, Settings

T = TypeVar("T")

_FRESH = 60.0
"""Seconds for which a chart that was fetched is shown and sent again: an order is judged at every key that is hit."""


@dataclass(frozen=True)
class Exchange:
    """One call: what was asked of which URL, and what was answered."""

    service: str
    url: str
    request: Mapping[str, Any]
    answer: Mapping[str, Any]
    is_signed: bool = False

    @property
    def asked(self) -> str:
        return pretty(self.request)

    @property
    def answered(self) -> str:
        return pretty(self.answer)

    @property
    def curl(self) -> str:
        """The call as one types it in a shell; a token is good once, so that its place is left open."""
        headers = "-H 'Content-Type: application/json'"
        if language() != ENGLISH:
            headers += f" -H 'Accept-Language: {language()}'"
        if self.is_signed:
            headers += ' -H "Authorization: Bearer $TOKEN"'
        return f"curl -sS {self.url} {headers} --data-binary @- <<'JSON'\n{self.asked}\nJSON"


def pretty(value: Any) -> str:
    return msgspec.json.format(lenient.encode(value), indent=2).decode()


def signer(settings: Settings) -> Signer | None:
    """With what the console signs its calls, as any client does; None where it has no key. Raises SettingError."""
    file, issuer = settings.console_key_file, settings.console_key_issuer
    if (file is None) != (issuer is None):
        raise SettingError(
            f"{PREFIX}CONSOLE_KEY_FILE and {PREFIX}CONSOLE_KEY_ISSUER go together: a token says whose it is"
        )
    try:
        return Signer.load(file, issuer) if file is not None and issuer is not None else None
    except UnreadableKey as error:
        raise SettingError(f"{PREFIX}CONSOLE_KEY_FILE cannot be used: {error}") from error


class Ehr:
    """The sandbox's EHR towards this service. Every method raises Failed where a server does not do its part."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._base = settings.base_url
        self._ca_bundle = settings.fhir_ca_bundle
        self._signer = signer(settings)
        self._fhir = next(iter(sandbox.servers(settings)), None)
        self._kept: dict[str, tuple[float, Any]] = {}
        self._clock = clock

    @property
    def patients(self) -> Sequence[charts.Patient]:
        """None where the sandbox is off."""
        return charts.patients() if self._fhir is not None else ()

    def visit(self, patient: str, hook: str, drafts: Sequence[Mapping[str, Any]]) -> Visit:
        """A call for a patient of the sandbox, ready to be made."""
        assert self._fhir is not None
        fhir = _Remembering(self._fhir, self._web(), self._fresh)
        asked = self._offered(hook)
        context = {"userId": USER, "patientId": patient}
        if encounter := self._fresh(f"encounter {patient}", lambda: fhir.encounter(patient)):
            context["encounterId"] = encounter
        templates = asked.get("prefetch") or {}
        return Visit(self._service(), fhir, str(asked["id"]), hook, templates, context, drafts, prefetches=True)

    def call(self, visit: Visit) -> Exchange:
        request, _ = visit.request()
        return self._called(visit.id, request)

    def send(self, request: Mapping[str, Any]) -> Exchange:
        """A request that somebody wrote, to the service of its hook."""
        hook = str(request.get("hook"))
        return self._called(str(self._offered(hook)["id"]), request)

    def tell(self, service: str, entry: Mapping[str, Any]) -> None:
        """What became of a card."""
        self._service().tell(service, entry)

    def _called(self, service: str, request: Mapping[str, Any]) -> Exchange:
        answer = self._service().call(service, request)
        url = f"{self._base}/cds-services/{service}"
        return Exchange(service, url, request, answer, is_signed=self._signer is not None)

    def _offered(self, hook: str) -> Mapping[str, Any]:
        listed = self._fresh("services", lambda: self._service().services())
        found = next((each for each in listed if each.get("hook") == hook), None)
        if found is None:
            known = ", ".join(each.hook for each in discovery.SERVICES)
            raise Failed(say("no-service-for-hook", known=known))
        return found

    def _service(self) -> Service:
        return Service(self._base, self._web(), self._signer)

    def _web(self) -> Web:
        """One for each call, since threads share no session. The service answers in the language of the page."""
        web = Web(self._ca_bundle)
        web.session.headers["Accept-Language"] = language()
        return web

    def _fresh(self, name: str, fetch: Callable[[], T]) -> T:
        known = self._kept.get(name)
        if known is None or self._clock() - known[0] > _FRESH:
            known = self._kept[name] = self._clock(), fetch()
        found: T = known[1]
        return found


class _Remembering(FhirServer):
    """A FHIR server whose answers for a patient are asked for once a minute."""

    def __init__(self, base: str, web: Web, fresh: Callable[[str, Callable[[], Any]], Any]) -> None:
        super().__init__(base, web)
        self._fresh = fresh

    def prefetch(self, templates: Mapping[str, str], context: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        def fetch() -> tuple[dict[str, Any], list[str]]:
            return FhirServer.prefetch(self, templates, context)

        found: tuple[dict[str, Any], list[str]] = self._fresh(f"prefetch {context.get('patientId')}", fetch)
        return found
