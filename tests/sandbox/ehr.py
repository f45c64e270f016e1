"""A FHIR server with the service beside it, as an EHR uses the two; and the patients that are loaded into it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import requests
from flask.testing import FlaskClient

from cds_service import gather
from cds_service.advise import explain
from cds_service.chart.chart import Chart
from cds_service.fhir.client import FhirServers
from cds_service.fhir.records import Prefetched, Records
from cds_service.fhir.source import Limits
from cds_service.hooks.request import HookRequest, parse
from cds_service.knowledge import Knowledge
from cds_service.sandbox import charts
from cds_service.sandbox.caller import Web
from cds_service.sandbox.records import FhirServer
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests.hooks.client import encoded
from tests.hooks.conformance import decoded, faults
from tests.said import said
from tests.sandbox.figures import count
from tests.sandbox.plain import FHIR_JSON, Plain, PlainChart, Resource, read_chart
from tests.scenarios.build import medication_request
from tests.servers.ketamine_patients import on_an_infusion
from tests.servers.local import LocalServer, Received, Reply, local_server

PATIENCE_MS = 60_000
"""The deadline of the searches: a busy machine makes no server wrong."""
MOST_FOUND = 20
"""Patients of a server that is given."""
BODY_WEIGHT = "29463-7"
INSTANCE = "0f0f0f0f-1111-4222-8333-444444444444"
TAG = {"system": "urn:ketamine-cds:tests", "code": "written-by-a-test"}
"""On each resource that is written, so that one can find what a run that was killed has left."""


@dataclass
class Ehr:
    """One server. `base` is where the service asks; `plain` asks for itself, and writes."""

    name: str
    plain: Plain
    knowledge: Knowledge
    now: datetime
    base: str = ""
    token: str | None = None
    found: list[PlainChart] = field(default_factory=list)
    """Patients that were there, or of the thirteen public ones."""
    own: list[PlainChart] = field(default_factory=list)
    """Patients of this project, where it may write."""

    def __post_init__(self) -> None:
        self.base = self.base or self.plain.base
        self.token = self.token or self.plain.token
        settings = Settings(fhir_servers=(self.base,), fhir_deadline_ms=PATIENCE_MS, answer_deadline_ms=0)
        self._http: FlaskClient = create_app(settings, self.knowledge, clock=lambda: self.now).test_client()
        self._servers = FhirServers([self.base], Limits(deadline=PATIENCE_MS / 1000))

    @property
    def charts(self) -> list[PlainChart]:
        return [*self.own, *self.found]

    @property
    def weight_codes(self) -> frozenset[str]:
        sets = ("obs_weight_measured", "obs_weight_stated", "obs_weight_estimated")
        return frozenset(code for name in sets for code in self.knowledge.valuesets.codes(name, "http://loinc.org"))

    def seen_through(self, window: LocalServer, token: str | None = None) -> Ehr:
        """The same server, asked by the service through a window."""
        return Ehr(self.name, self.plain, self.knowledge, self.now, window.base, token, self.found, self.own)

    # What the service is asked ------------------------------------------------------------------------------------

    def request(self, hook: str, chart: PlainChart, *drafts: Resource, **more: Any) -> dict[str, Any]:
        """A hook request without a prefetch, unless `more` has one."""
        context: dict[str, Any] = {"userId": "Practitioner/1", "patientId": chart.patient}
        if chart.encounter:
            context["encounterId"] = chart.encounter
        if hook != "patient-view":
            entries = [{"resource": each} for each in drafts]
            context["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        if hook == "order-select":
            context["selections"] = [f"MedicationRequest/{each['id']}" for each in drafts]
        made = {"hook": hook, "hookInstance": INSTANCE, "fhirServer": self.base, "context": context, **more}
        if self.token:
            access = {"access_token": self.token, "token_type": "Bearer", "expires_in": 300}
            made["fhirAuthorization"] = access | {"scope": "patient/*.read", "subject": "ketamine-cds"}
        return made

    def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, which must be one of CDS Hooks."""
        count(self.name, "calls")
        answer = self._http.post(
            f"/cds-services/ketamine-{request['hook']}", data=encoded(request), content_type="application/json"
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = decoded(answer.data)
        assert faults(found) == []
        return found

    def prefetch(self, chart: PlainChart) -> dict[str, Any]:
        """What an EHR sends that fills the templates as CDS Hooks has it, all pages of each."""
        templates = {query.key: query.template for query in self.knowledge.queries}
        context = self.request("patient-view", chart)["context"]
        given, _ = FhirServer(self.base, Web(), self.token).prefetch(templates, context)
        return given

    def facts(self, request: Mapping[str, Any]) -> dict[str, str | None]:
        """All facts that a rule found for the request, with the resource that says it."""
        sent = parse(encoded(request), str(request["hook"]))
        judged, _ = explain(sent, request["hook"] == "order-sign", self.knowledge, self._source(sent), self.now)
        return {said(fact.says): fact.reference for each in judged for o in each.outcomes for fact in o.facts}

    def read(self, chart: PlainChart) -> tuple[Records, Chart]:
        """The patient's records and chart as the service fetches them where nothing is prefetched."""
        sent = parse(encoded(self.request("patient-view", chart)), "patient-view")
        records = Records(chart.patient)
        gather.fetch_missing(sent, records, Prefetched(), self.knowledge, self._source(sent))
        tolerance, queries = timedelta(minutes=5), self.knowledge.queries
        read = Chart(records, self.knowledge.valuesets, self.now, tolerance, queries, chart.encounter)
        return records, read

    def _source(self, request: HookRequest) -> Any:
        return self._servers.source(request.fhir_server, request.access_token)

    def close(self) -> None:
        self._servers.close()


def ordered(chart: PlainChart, **order: Any) -> Resource:
    """A draft in the words of the scenarios."""
    return medication_request({"id": "draft-1", "for": "24 h"} | order | {"subject": f"Patient/{chart.patient}"}, 1)


# Patients ----------------------------------------------------------------------------------------------------------


def found_by_search(plain: Plain) -> list[str]:
    """The ids of patients who have a weight; of any, where nobody has one."""
    weights = plain.search("Observation", most_pages=3, code=f"http://loinc.org|{BODY_WEIGHT}", _count="100")
    weighed = [str(each.get("subject", {}).get("reference", "")) for each in weights]
    ids = dict.fromkeys(each.removeprefix("Patient/") for each in weighed if each.startswith("Patient/"))
    if ids:
        return list(ids)
    return [str(each["id"]) for each in plain.search("Patient", most_pages=1, _count=str(MOST_FOUND))]


def own_patients(now: datetime) -> list[Resource]:
    """A transaction for each patient of the sandbox EHR, and for one whose heart failure stands on a later page."""
    all_of_them = charts.resources_at(now).values()
    by_patient = {each.id: [r for r in all_of_them if _whose(r) == each.id] for each in charts.patients()}
    return [*(_transaction(mine) for mine in by_patient.values()), on_an_infusion(now)]


def _whose(resource: Resource) -> str:
    if resource["resourceType"] == "Patient":
        return str(resource["id"])
    reference: str = resource[charts.WHOSE[resource["resourceType"]]]["reference"]
    return reference.removeprefix("Patient/")


def _transaction(resources: Iterable[Resource]) -> Resource:
    """The resources with ids that the server gives: nothing that is there is written over."""
    resources = list(resources)
    urls = {f"{r['resourceType']}/{r['id']}": f"urn:uuid:{uuid5(NAMESPACE_URL, str(r['id']))}" for r in resources}

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: placed(item) for name, item in value.items()}
        if isinstance(value, list):
            return [placed(item) for item in value]
        return urls.get(value, value) if isinstance(value, str) else value

    entries = [
        {
            "fullUrl": urls[f"{each['resourceType']}/{each['id']}"],
            "resource": {name: placed(value) for name, value in each.items() if name != "id"},
            "request": {"method": "POST", "url": each["resourceType"]},
        }
        for each in resources
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def load(plain: Plain, transaction: Resource) -> list[str]:
    """Write what a transaction holds; the references of what was written, the patient's first."""
    tagged = [{**e, "resource": {**e["resource"], "meta": {"tag": [TAG]}}} for e in transaction["entry"]]
    answer = plain.write("POST", "", {**transaction, "entry": tagged})
    # Kind/id/_history/version, relative or absolute.
    places = [str(each["response"]["location"]).partition("/_history/")[0] for each in answer["entry"]]
    written = ["/".join(each.rsplit("/", 2)[-2:]) for each in places]
    return sorted(written, key=lambda each: not each.startswith("Patient/"))


def loaded(plain: Plain, transaction: Resource, knowledge: Knowledge) -> tuple[list[str], PlainChart]:
    """(what was written, the patient's chart as plain queries find it)."""
    written = load(plain, transaction)
    return written, read_chart(plain, written[0].removeprefix("Patient/"), knowledge.queries)


def clean_up(plain: Plain, written: Sequence[str]) -> None:
    """Delete what was written, the last first, so that nothing refers to what is gone."""
    for reference in reversed(written):
        plain.write("DELETE", reference)
    left = [each for each in written if plain.read(each) is not None]
    assert left == []


# Windows -----------------------------------------------------------------------------------------------------------

Asking = Callable[[str], str | None]
"""From the path that was asked for to the one that is asked upstream; None: it is refused."""
_REFUSED = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-supported"}]}'


@contextmanager
def window(upstream: Plain, asking: Asking = lambda path: path, wants: str | None = None) -> Iterator[LocalServer]:
    """The server as seen at another address: each request is recorded, and a token may be wanted."""

    def script(request: Received) -> Reply:
        if wants is not None and request.headers.get("authorization") != f"Bearer {wants}":
            return Reply(_REFUSED.replace(b"not-supported", b"login"), 401)
        path = asking(request.path.removeprefix("/fhir"))
        if path is None:
            return Reply(_REFUSED, 400)
        headers = {"Accept": FHIR_JSON} | ({"Authorization": f"Bearer {upstream.token}"} if upstream.token else {})
        answer = requests.get(upstream.base + path, headers=headers, timeout=PATIENCE_MS / 1000)
        here = f"http://{request.headers['host']}/fhir"
        return Reply(answer.content.replace(upstream.base.encode(), here.encode()), answer.status_code)

    with local_server(script) as server:
        yield server


def without(*names: str) -> Asking:
    """As a server that passes over these search parameters."""
    pattern = re.compile(rf"(?<=[?&])({'|'.join(names)})=[^&]*&?")
    return lambda path: pattern.sub("", path).rstrip("?&")


def refusing(name: str) -> Asking:
    """As a server that answers 400 to a search with this parameter."""
    return lambda path: None if re.search(rf"[?&]{name}=", path) else path
