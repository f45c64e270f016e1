"""What the SMART app keeps and shows of a patient, whatever the FHIR server answers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import pytest
from flask import Flask, render_template

from cds_service import bounds
from cds_service.console.app import create_console
from cds_service.console.bedside import Bedside, Visit
from cds_service.console.form import Fields
from cds_service.console.oauth import AuthorizationServer, Door, Endpoints, NotSignedIn, Registration
from cds_service.console.shelf import Shelf
from cds_service.console.smart import _App
from cds_service.hooks.clients import Client, SmartApp
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from tests.console.pages import NOW, text_of_html
from tests.servers.local import LocalServer, Received, Reply, local_server

DOSE = Fields(product="ketamine", route="iv", rate="0.2 mg/kg/h", duration="24 h", reason="pain")
EMPTY = {"resourceType": "Bundle", "type": "searchset", "entry": []}
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def _bedside(knowledge: Knowledge, server: LocalServer, **entry: Any) -> Bedside:
    client = Client(id="ehr", fhir_servers=[server.base], smart=SmartApp(client_id="x"), **entry)
    return Bedside(client, knowledge, Settings(), lambda: NOW)


def _visit(server: LocalServer, patient: str = "p1") -> Visit:
    return Visit(server.base, patient, None, "the-token", "cookie", "csrf", time.monotonic() + 60)


def _reply(content: Mapping[str, Any], status: int = 200) -> Reply:
    return Reply(json.dumps(content).encode(), status)


def test_what_the_server_does_not_give_is_said_and_nothing_is_taken_for_absent(knowledge: Knowledge) -> None:
    with local_server(_reply({"resourceType": "OperationOutcome", "issue": []}, 403)) as server:
        view = _bedside(knowledge, server).view(_visit(server), DOSE)
    assert view.banner.unread == {"weight", "vitals", "allergies", "problems"}
    assert view.cards is not None
    assert any("403" in (card.detail or "") for card in view.cards)
    assert not any(gauge.actual for gauge in view.gauges if "/kg" not in gauge.unit)


def test_a_chart_is_read_once_a_minute_and_what_failed_again_at_once(knowledge: Knowledge) -> None:
    fails = [True]

    def answer(request: Received) -> Reply:
        if fails[0] and "/Condition" in request.path:
            return _reply({}, 500)
        return _reply({"resourceType": "Patient", "id": "p1"} if "/Patient/" in request.path else EMPTY)

    with local_server(answer) as server:
        bedside, visit = _bedside(knowledge, server), _visit(server)
        assert "problems" in bedside.view(visit, DOSE).banner.unread
        asked, fails[0] = len(server.received), False
        assert "problems" not in bedside.view(visit, DOSE).banner.unread
        assert [each.path.partition("?")[0] for each in server.received[asked:]] == ["/fhir/Condition"]
        bedside.view(visit, DOSE)
        assert len(server.received) == asked + 1
        bedside.view(visit, DOSE, anew=True)
        assert len(server.received) > asked + 2
    assert {each.headers["authorization"] for each in server.received} == {"Bearer the-token"}
    assert {each.method for each in server.received} == {"GET"}


def test_a_next_page_elsewhere_is_not_asked_for_and_said(knowledge: Knowledge) -> None:
    with local_server(_reply(EMPTY)) as foreign:

        def answer(request: Received) -> Reply:
            link = {"link": [{"relation": "next", "url": f"{foreign.base}/Observation"}]}
            return _reply(EMPTY | (link if "/Observation" in request.path else {}))

        with local_server(answer) as server:
            view = _bedside(knowledge, server).view(_visit(server), DOSE)
        assert "weight" in view.banner.unread
        assert foreign.received == []


def test_another_patient_than_that_of_the_launch_is_not_shown(knowledge: Knowledge) -> None:
    other = {"resourceType": "Patient", "id": "p2", "name": [{"family": "Other"}], "birthDate": "1950-01-01"}
    with local_server(lambda request: _reply(other if "/Patient/" in request.path else EMPTY)) as server:
        view = _bedside(knowledge, server).view(_visit(server), DOSE)
    assert (view.banner.name, view.banner.age) == ("no name", "age not known")


def test_markup_of_a_chart_is_shown_as_text(knowledge: Knowledge) -> None:
    patient = {"resourceType": "Patient", "id": "p1", "name": [{"text": MARKUP}], "gender": "female"}
    problem = {
        "resourceType": "Condition",
        "id": "c1",
        "subject": {"reference": "Patient/p1"},
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "code": {"text": MARKUP},
    }

    def answer(request: Received) -> Reply:
        if "/Patient/" in request.path:
            return _reply(patient)
        return _reply({**EMPTY, "entry": [{"resource": problem}]} if "/Condition" in request.path else EMPTY)

    with local_server(answer) as server:
        page = _page(knowledge, _bedside(knowledge, server), _visit(server))
    assert MARKUP in text_of_html(page)
    assert "<script>" not in page
    assert "<img src=x" not in page


def _page(knowledge: Knowledge, bedside: Bedside, visit: Visit, prefers: str = "en") -> str:
    app = create_console(Settings(store="off"), knowledge, lambda: NOW)
    with app.test_request_context("/smart/ehr/patient/x", headers={"Accept-Language": prefers}):
        return render_template(
            "smart.html",
            desk=bedside.view(visit, DOSE),
            choices=bedside.choices,
            here="/smart/ehr/patient/x",
            csrf_token=lambda: visit.csrf,
            protocol=knowledge.protocol,
        )


def test_the_cards_are_in_the_language_of_the_client(knowledge: Knowledge) -> None:
    with local_server(_reply(EMPTY)) as server:
        view = _bedside(knowledge, server, language="de").view(_visit(server), DOSE)
    assert view.language == "de"


@pytest.mark.parametrize(("entry", "of_cards"), [({}, "de"), ({"language": "en"}, "en")])
def test_the_page_is_in_the_language_of_the_browser_and_so_are_the_cards_unless_the_client_has_one(
    knowledge: Knowledge, entry: dict[str, str], of_cards: str
) -> None:
    with local_server(_reply(EMPTY)) as server:
        page = _page(knowledge, _bedside(knowledge, server, **entry), _visit(server), "de-CH")
    text = text_of_html(page)
    assert '<html lang="de">' in page
    assert re.findall(r'<article class="card \w+" lang="(\w+)"', page) == [of_cards] * page.count("<article")
    assert page.count("<article")
    assert "Dosisskala und Dosisrechner" in text
    assert "Akte gelesen um 15:30 Neu lesen" in text
    assert "ohne Namen Geschlecht nicht bekannt, Alter nicht bekannt" in text
    assert "Was das Protokoll sagt" in text


def test_a_failure_is_a_card_and_leaves_no_gauge_of_an_older_dose(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("Lindqvist")

    monkeypatch.setattr("cds_service.advise.read", fails)
    with local_server(_reply(EMPTY)) as server:
        view = _bedside(knowledge, server).view(_visit(server), DOSE)
    assert view.cards is not None
    assert [card.summary for card in view.cards] == [
        "Could not check: the ketamine service failed. This order was not checked."
    ]
    assert not view.gauges
    assert "the SMART app failed: RuntimeError at " in caplog.text
    assert "Lindqvist" not in caplog.text


# What is kept -------------------------------------------------------------------------------------------------------


def test_a_shelf_keeps_each_thing_for_its_time_and_gives_it_out_once() -> None:
    now = [0.0]
    shelf: Shelf[str] = Shelf(2, lambda: now[0])
    name = shelf.put("a", 10)
    assert (shelf.get(name), shelf.get("other"), shelf.get("")) == ("a", None, None)
    assert (shelf.take(name), shelf.take(name)) == ("a", None)
    name, now[0] = shelf.put("b", 10), 10.0
    assert (shelf.get(name), shelf.take(name)) == (None, None)


def _survive(shelf: Shelf[Any], most: int) -> list[bool]:
    """Whether the first is there when as many are held as may be, and with one more."""
    first = shelf.put("first", 60)
    for _ in range(most - 1):
        shelf.put("more", 60)
    at = shelf.get(first) is not None
    shelf.put("one more", 60)
    return [at, shelf.get(first) is not None]


def test_so_many_patients_are_open_and_with_one_more_the_oldest_is_closed(knowledge: Knowledge) -> None:
    with local_server(_reply(EMPTY)) as server:
        app = _App(Client(id="ehr"), _bedside(knowledge, server), {}, Door("/", False))
    assert _survive(app.visits, bounds.VISITS) == [True, False]


def test_so_many_charts_are_remembered_and_with_one_more_the_oldest_is_read_anew(knowledge: Knowledge) -> None:
    with local_server(_reply(EMPTY)) as server:
        bedside, visits = _bedside(knowledge, server), [_visit(server) for _ in range(bounds.CHARTS + 1)]
        for visit in visits[:-1]:
            bedside.view(visit, Fields())
        asked = len(server.received)
        bedside.view(visits[0], Fields())
        assert len(server.received) == asked
        bedside.view(visits[-1], Fields())
        asked = len(server.received)
        bedside.view(visits[0], Fields())
        assert len(server.received) > asked


def test_a_server_that_does_not_say_where_it_is_is_not_asked_at_each_click() -> None:
    with local_server(Reply(b"", 500)) as server:
        asked = AuthorizationServer(f"{server.base}/x", [], Registration("x", None, "https://console.example/back"))
        for _ in range(3):
            with pytest.raises(NotSignedIn, match="answered 500"):
                asked.endpoints()
        assert len(server.received) == 1


class _Server(AuthorizationServer):
    """One that only says where it is."""

    def __init__(self) -> None:
        pass

    def endpoints(self) -> Endpoints:
        return Endpoints("https://id.example/auth", "https://id.example/token", None, None, False, frozenset())

    def url(self, endpoints: Endpoints, state: str, verifier: str, scope: str, more: Mapping[str, str]) -> str:
        return f"{endpoints.authorization}?state={state}"

    def token(self, begun: Any, code: str) -> dict[str, Any]:
        return {"access_token": "a"}


def test_so_many_sign_ins_are_waited_for_and_with_one_more_the_oldest_is_given_up() -> None:
    app, door, server = Flask(__name__), Door("/back", False), _Server()

    def begun() -> tuple[str, str]:
        with app.test_request_context("/"):
            answer = door.begin(server, "launch")
        return answer.headers["Location"].partition("state=")[2], answer.headers["Set-Cookie"].partition(";")[0]

    def ends(state: str, cookie: str) -> bool:
        with app.test_request_context(f"/back?code=c&state={state}", headers={"Cookie": cookie}):
            return door.end()[1] == {"access_token": "a"}

    first, second, *_ = [begun() for _ in range(bounds.LAUNCHES)]
    assert ends(*first)
    begun()
    begun()
    with pytest.raises(NotSignedIn, match="began in this browser in the last minutes"):
        ends(*second)
