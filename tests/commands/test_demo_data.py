"""Made-up activity is what it says: made up, of the service's own answers, and never beside what is real."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from cds_service import cli
from cds_service.knowledge import Knowledge
from cds_service.sandbox import charts, demo
from cds_service.sandbox.demo import Lots
from cds_service.store.records import Feedback, Invocation
from cds_service.store.store import Store
from tests.store.build import invocation

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
DAYS = 12
Made = tuple[list[Invocation], list[Feedback]]


@pytest.fixture(scope="module")
def few() -> Lots:
    """Of all orders and patients some, so that little is judged."""
    drawn = demo.lots()
    orders = dict(list(drawn.orders.items())[:4])
    patients = {name: drawn.patients[name] for name in ("standard", "uncontrolled-pressure")}
    trial = replace(drawn.trial, days=4)
    return replace(drawn, orders=orders, patients=patients, trial=trial)


@pytest.fixture(scope="module")
def made(knowledge: Knowledge, few: Lots) -> Made:
    days = list(demo.activity(knowledge, DAYS, NOW, few))
    assert len(days) == DAYS
    return [each for day, _ in days for each in day], [each for _, said in days for each in said]


def test_what_is_drawn_by_lot_names_patients_orders_and_rules_that_there_are(knowledge: Knowledge) -> None:
    drawn = demo.lots()
    assert {*drawn.patients, drawn.fault.patient} <= {each.id for each in charts.patients()}
    assert set(drawn.answers) <= {"critical", "warning", "info"} | set(knowledge.by_rule)
    assert {drawn.trial.client, drawn.fault.client} <= set(drawn.clients)
    assert len(drawn.calls.hours) == 24
    assert all(client.startswith("demo-") for client in drawn.clients)


def test_the_records_are_those_that_the_service_would_write(made: Made) -> None:
    calls, _ = made
    assert len(calls) > 100
    assert {call.service for call in calls} >= {"ketamine-order-select", "ketamine-order-sign"}
    uuids = [card.uuid for call in calls for card in call.cards]
    assert len(set(uuids)) == len(uuids) > 50
    for call in calls:
        assert {each.card for each in call.findings if each.card} == {card.uuid for card in call.cards}
        assert call.patient is None


def test_the_calls_lie_in_the_days_until_now_and_more_on_weekdays(made: Made) -> None:
    calls, _ = made
    assert all(NOW - timedelta(days=DAYS, minutes=5) <= call.at <= NOW for call in calls)
    on = Counter(call.at.weekday() >= 5 for call in calls)
    days = {call.at.date() for call in calls}
    weekends = sum(day.weekday() >= 5 for day in days)
    assert on[False] / (len(days) - weekends) > on[True] / weekends


def test_feedback_is_on_signed_cards_that_somebody_saw(made: Made) -> None:
    calls, said = made
    signed = {card.uuid: call for call in calls for card in call.cards if call.service == "ketamine-order-sign"}
    assert len(said) > 20
    for each in said:
        call = signed[each.card]
        assert not call.shadow
        assert (each.client, each.service) == (call.client, call.service)
        assert each.received_at > call.at
        assert bool(each.suggestions) == (each.outcome == "accepted")


def test_a_trial_in_shadow_mode_comes_first(made: Made, few: Lots) -> None:
    shadow = [call for call in made[0] if call.shadow]
    assert {call.client for call in shadow} == {few.trial.client}
    assert max(call.at for call in shadow) < NOW - timedelta(days=DAYS - few.trial.days)


def test_the_same_seed_gives_the_same_months(knowledge: Knowledge, few: Lots, made: Made) -> None:
    again = list(demo.activity(knowledge, DAYS, NOW, few))
    assert [each for _, said in again for each in said] == made[1]
    first = made[0][0].cards
    assert next(each.cards for day, _ in again for each in day) == first


@pytest.fixture
def quick(few: Lots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "lots", lambda: few)


@pytest.mark.usefixtures("quick")
def test_the_command_writes_a_store_and_writes_it_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'demo.sqlite'}"
    assert cli.main(["demo-data", "--days", "2", "--store", url]) == 0
    first = capsys.readouterr().out
    assert "made-up calls" in first
    assert cli.main(["demo-data", "--days", "2", "--store", url]) == 0
    assert _calls(url) == int(capsys.readouterr().out.split()[0])


@pytest.mark.usefixtures("quick")
def test_a_store_that_holds_what_is_real_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    store = Store(url)
    store.write([invocation()])
    store.close()
    assert cli.main(["demo-data", "--store", url]) == cli.BAD_INPUT
    assert "really recorded" in capsys.readouterr().err
    assert _calls(url) == 1


@pytest.mark.usefixtures("quick")
def test_without_a_store_it_is_a_file_of_its_own_and_says_how_to_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KETAMINE_CDS_STATE_DIR", str(tmp_path))
    assert cli.main(["demo-data", "--days", "1"]) == 0
    assert (tmp_path / "demo.sqlite").is_file()
    assert not (tmp_path / "store.sqlite").exists()
    assert f"KETAMINE_CDS_STORE=sqlite:///{tmp_path}/demo.sqlite" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--days", "0"], ["--days", "367"], ["--store", "mysql://x"]])
def test_what_cannot_be_done_is_said_in_a_line(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo-data", *given]) == cli.BAD_INPUT
    assert len(capsys.readouterr().err.splitlines()) == 1


def _calls(url: str) -> int:
    from cds_service.store import engines, retention

    return sum(each["record"] == "invocation" for each in retention.export(engines.url_of(url)))
