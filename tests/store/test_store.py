"""What goes into the store comes out of it, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from cds_service.store import engines, retention
from cds_service.store.engines import StoreError, Unavailable
from cds_service.store.migrate import HEAD, migrate, version
from cds_service.store.records import Invocation, UsedFact
from cds_service.store.store import Store
from cds_service.store.tables import metadata, used_facts
from tests.servers.ports import unused_port
from tests.servers.postgres import Postgres
from tests.store.build import NOW, ORDER, comparison, difference, feedback, finding, invocation

CARD = "11111111-1111-4111-8111-111111111111"


def _exported(url: str) -> list[dict[str, Any]]:
    return list(retention.export(engines.url_of(url)))


def _feedback(url: str) -> list[dict[str, Any]]:
    return [record for record in _exported(url) if record["record"] == "feedback"]


# Migrations ------------------------------------------------------------------------------------------------------


def test_an_empty_store_is_migrated_once(url: str) -> None:
    assert migrate(engines.url_of(url)) == "nothing"
    assert migrate(engines.url_of(url)) == HEAD


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "cds_service.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_migrations_make_the_tables_that_the_code_uses(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    migrate(engines.url_of(url))
    engine = engines.engine(engines.url_of(url), engines.UPKEEP)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_of_many_that_migrate_at_once_one_does_and_all_go_on(url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        before = list(pool.map(lambda _: migrate(engines.url_of(url)), range(8)))
    assert set(before) <= {"nothing", HEAD}
    engine = engines.engine(engines.url_of(url), engines.UPKEEP)
    assert version(engine) == HEAD
    engine.dispose()


def test_a_store_of_a_newer_version_is_left_alone(url: str) -> None:
    migrate(engines.url_of(url))
    engine = engines.engine(engines.url_of(url), engines.UPKEEP)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="newer version"):
        migrate(engines.url_of(url))


@pytest.mark.parametrize("text", ["mysql://x/y", "sqlite://", "sqlite:///", "nonsense", "postgresql://u:s3cret@:x/y"])
def test_a_url_that_cannot_be_used_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(StoreError) as refused:
        engines.url_of(text)
    assert "s3cret" not in str(refused.value)


def test_the_file_and_its_folder_are_their_owners_alone(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state' / 'store.sqlite'}")
    store.write([invocation()])
    store.close()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "state", *tmp_path.glob("state/*")]}
    assert modes["state"] == 0o700
    assert {mode for name, mode in modes.items() if name != "state"} == {0o600}


# Invocations -----------------------------------------------------------------------------------------------------


def test_an_invocation_is_kept_as_it_was(store: Store, url: str) -> None:
    written = invocation(CARD, at=NOW.astimezone(timezone(timedelta(hours=5, minutes=30))))
    store.write([written])
    (record,) = _exported(url)
    assert record["at"] == NOW
    assert record["at"].utcoffset() == timedelta(0)
    expected = {name: getattr(written, name) for name in written.__struct_fields__}
    assert {name: record[name] for name in expected if name not in ("cards", "findings")} == {
        name: value for name, value in expected.items() if name not in ("cards", "findings")
    }
    assert record["cards"] == [
        {"uuid": CARD, "topic": "rate-exceeds-protocol-max", "indicator": "warning", "order_key": ORDER}
    ]
    (found,) = record["findings"]
    assert (found["rule"], found["figure"], found["card_uuid"]) == ("rate-exceeds-protocol-max", "4/5", CARD)
    assert found["dose_amounts"] == [[None, None, "56", "4/5", None]]


def test_an_invocation_without_cards_is_kept(store: Store, url: str) -> None:
    store.write([invocation(cards=[], findings=[])])
    assert [record["cards"] for record in _exported(url)] == [[]]


def test_of_a_batch_with_a_record_that_cannot_be_written_nothing_is(store: Store, url: str) -> None:
    with pytest.raises(StoreError) as refused:
        store.write([invocation(), invocation(service=None), invocation()])
    assert ORDER not in str(refused.value)
    assert _exported(url) == []


def test_a_comparison_is_kept_as_it_was_beside_calls_and_written_twice_it_is_there_once(
    store: Store, url: str
) -> None:
    written = comparison(
        difference(orders=3), difference(was="fired", was_severity="warning", becomes="switched-off")
    )
    store.write([written, invocation(CARD)])
    store.write([written])
    (record,) = [each for each in _exported(url) if each["record"] == "comparison"]
    plain = {name: getattr(written, name) for name in written.__struct_fields__ if name != "differences"}
    assert {name: record[name] for name in plain} == plain
    assert [each["orders"] for each in record["differences"]] == [3, 1]
    assert record["differences"][1]["was"] == "fired"


# Feedback --------------------------------------------------------------------------------------------------------


def test_feedback_is_kept_as_it_was_sent(store: Store, url: str) -> None:
    suggestion = str(uuid4())
    store.write([invocation(CARD)])
    entry = feedback(CARD, outcome="accepted", suggestions=[suggestion], reasons=[], commented=True)
    assert store.add_feedback([entry]) == 1
    (record,) = _feedback(url)
    assert record["card_uuid"] == CARD
    assert (record["outcome"], record["sent_at"], record["received_at"]) == ("accepted", entry.sent_at, NOW)
    assert (record["suggestions"], record["reasons"], record["commented"]) == ([suggestion], [], True)
    assert record["card_known"] is True


def test_feedback_that_is_repeated_is_kept_once(store: Store, url: str) -> None:
    entry = feedback(CARD)
    assert store.add_feedback([entry, entry]) == 1
    assert store.add_feedback([feedback(CARD, received_at=NOW + timedelta(hours=1))]) == 0
    assert [record["received_at"] for record in _feedback(url)] == [NOW]


@pytest.mark.parametrize(
    "other", [{"outcome": "accepted"}, {"sent_at": "2026-11-22T10:00:01Z"}, {"reasons": []}, {"client": "b"}]
)
def test_another_act_on_the_same_card_is_kept_too(other: dict[str, Any], store: Store, url: str) -> None:
    assert store.add_feedback([feedback(CARD)]) + store.add_feedback([feedback(CARD, **other)]) == 2
    assert len(_feedback(url)) == 2


def test_feedback_on_an_unknown_card_is_kept_and_marked_until_the_card_is_recorded(store: Store, url: str) -> None:
    store.add_feedback([feedback(CARD), feedback(str(uuid4()))])
    assert [record["card_known"] for record in _feedback(url)] == [False, False]
    store.write([invocation(CARD)])
    assert {record["card_uuid"]: record["card_known"] for record in _feedback(url)}[CARD] is True
    assert sum(record["card_known"] for record in _feedback(url)) == 1


def test_much_feedback_in_one_request_is_kept(store: Store, url: str) -> None:
    entries = [feedback(str(uuid4())) for _ in range(1_200)]
    store.write([invocation(entry.card) for entry in entries[:600]])
    assert store.add_feedback(entries) == 1_200
    assert sum(record["card_known"] for record in _feedback(url)) == 600


def test_feedback_from_many_threads_and_records_between_them_all_arrive(store: Store, url: str) -> None:
    def one(number: int) -> int:
        store.write([invocation()])
        return store.add_feedback([feedback(str(uuid4()))])

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(80))) == 80
    assert len(_exported(url)) == 160


# Overrides -------------------------------------------------------------------------------------------------------


def _overridden(store: Store, orders: Sequence[str] = (ORDER,), client: str = "anonymous") -> list[str]:
    found = store.overrides(orders, client, NOW - timedelta(hours=24))
    return [override.finding.rule for override in found]


def test_an_override_with_a_reason_is_found_by_the_order(store: Store) -> None:
    store.write([invocation(CARD, findings=[finding(CARD), finding(CARD, "e" * 32, rule="other")])])
    store.add_feedback([feedback(CARD)])
    (override,) = store.overrides([ORDER], "anonymous", NOW - timedelta(hours=24))
    assert override.received_at == NOW
    assert override.finding == finding(CARD)
    assert _overridden(store, [ORDER, "e" * 32]) == ["rate-exceeds-protocol-max", "other"]


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        ({}, True),
        ({"reasons": [], "commented": True}, True),
        ({"reasons": []}, False),
        ({"outcome": "accepted"}, False),
        ({"client": "another"}, False),
        ({"received_at": NOW - timedelta(hours=24)}, True),
        ({"received_at": NOW - timedelta(hours=24, seconds=1)}, False),
        ({"card": "22222222-2222-4222-8222-222222222222"}, False),
    ],
)
def test_only_an_override_with_a_reason_by_the_same_client_in_time_counts(
    entry: dict[str, Any], counts: bool, store: Store
) -> None:
    store.write([invocation(CARD, at=NOW - timedelta(hours=30))])
    store.add_feedback([feedback(**{"card": CARD} | entry)])
    assert bool(_overridden(store)) is counts


@pytest.mark.parametrize("changes", [{"client": "another"}, {"shadow": True}, {"at": NOW + timedelta(seconds=1)}])
def test_a_card_of_another_client_or_that_was_not_sent_yet_does_not_count(
    changes: dict[str, Any], store: Store
) -> None:
    store.write([invocation(CARD, **changes)])
    store.add_feedback([feedback(CARD)])
    assert _overridden(store) == []


def test_of_two_cards_with_one_identifier_the_newest_that_was_seen_counts(store: Store) -> None:
    """A client that calls twice with one hook instance gets the same identifiers."""
    for number, tier in enumerate(("earliest", "seen", "later")):
        at = NOW + timedelta(minutes=number - 1)
        store.write([invocation(CARD, at=at, findings=[finding(CARD, tier=tier)])])
    store.add_feedback([feedback(CARD)])
    found = store.overrides([ORDER], "anonymous", NOW - timedelta(hours=24))
    assert [override.finding.tier for override in found] == ["seen"]


# Prune and export ------------------------------------------------------------------------------------------------


def test_prune_deletes_what_is_older_in_batches_and_nothing_else(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 7)
    old = NOW - timedelta(days=400)
    store.write([_with_facts(at=old) for _ in range(20)] + [_with_facts(CARD)])
    store.add_feedback([feedback(str(uuid4()), received_at=old) for _ in range(7)] + [feedback(CARD)])
    store.write([comparison(at=old) for _ in range(8)] + [comparison()])
    assert retention.prune(engines.url_of(url), NOW - timedelta(days=365)) == (20, 7)
    assert [record["record"] for record in _exported(url)] == ["invocation", "feedback", "comparison"]
    assert retention.prune(engines.url_of(url), NOW - timedelta(days=365)) == (0, 0)
    engine = engines.engine(engines.url_of(url), engines.UPKEEP)
    with engine.connect() as connection:
        assert [connection.execute(sa.select(sa.func.count()).select_from(t)).scalar() for t in
                metadata.sorted_tables] == [1] * len(metadata.sorted_tables)  # fmt: skip
    engine.dispose()


def _with_facts(card: str | None = None, days: int = 36_500, **changes: Any) -> Invocation:
    """A call whose finding keeps a fact for so many days, by default for all that a test sees."""
    card = card or str(uuid4())
    fact = UsedFact(kind="weight", value="70", unit="kg", age_minutes=90, until=NOW + timedelta(days=days))
    return invocation(card, findings=[finding(card, used=[fact])], **changes)


def test_facts_come_back_as_they_were_until_their_time_is_over(store: Store, url: str) -> None:
    store.write([_with_facts(CARD)])
    (record,) = _exported(url)
    (fact,) = record["used"]
    assert (fact["finding"], fact["kind"], fact["value"], fact["unit"]) == (0, "weight", "70", "kg")
    assert (fact["age_minutes"], fact["codes"]) == (90, [])
    assert fact["until"] == NOW + timedelta(days=36_500)


def test_facts_are_deleted_by_a_later_write_and_by_prune(store: Store, url: str) -> None:
    store.write([_with_facts(days=7), _with_facts(days=9), _with_facts(days=11)])
    assert _facts(url) == 3
    store.write([invocation(at=NOW + timedelta(days=8))])
    assert _facts(url) == 2
    retention.prune(engines.url_of(url), NOW - timedelta(days=1), NOW + timedelta(days=10))
    assert _facts(url) == 1
    assert len(_exported(url)) == 4


def _facts(url: str) -> int:
    """How many are in the store, shown or not."""
    engine = engines.engine(engines.url_of(url), engines.UPKEEP)
    with engine.connect() as connection:
        count: int = connection.execute(sa.select(sa.func.count()).select_from(used_facts)).scalar_one()
    engine.dispose()
    return count


def test_export_gives_every_record_once_oldest_first_across_batches(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many of one moment: what is told apart by its id alone must not be lost where a batch ends."""
    monkeypatch.setattr(retention, "BATCH", 4)
    records = [invocation(at=NOW + timedelta(minutes=number // 5)) for number in range(14)]
    store.write(records)
    store.add_feedback([feedback(str(uuid4()), received_at=NOW) for _ in range(9)])
    exported = _exported(url)
    found = [record for record in exported if record["record"] == "invocation"]
    assert sorted(record["id"] for record in found) == sorted(record.id for record in records)
    assert [record["at"] for record in found] == sorted(record["at"] for record in found)
    assert len(exported) == 23
    late = list(retention.export(engines.url_of(url), NOW + timedelta(minutes=2)))
    assert len(late) == 4


# A store that is away --------------------------------------------------------------------------------------------


def test_a_store_that_is_away_says_so_and_is_used_once_it_is_back(postgres: Postgres) -> None:
    url = postgres.database()
    postgres.stop()
    try:
        store = Store(url)
        assert not store.reachable()
        with pytest.raises(StoreError):
            store.add_feedback([feedback(CARD)])
    finally:
        postgres.start()
    assert store.reachable()
    assert store.add_feedback([feedback(CARD)]) == 1
    postgres.stop()
    postgres.start()
    assert store.add_feedback([feedback(CARD, outcome="accepted")]) == 1, "a lost connection is replaced"
    store.close()


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    store = Store(f"postgresql://cds:s3cret@127.0.0.1:{unused_port()}/cds")
    with pytest.raises(Unavailable) as away:
        store.write([invocation()])
    assert "s3cret" not in str(away.value)
    store.close()


def test_a_locked_file_is_unavailable_for_writing_and_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "store.sqlite"
    monkeypatch.setattr(engines, "FEEDBACK", engines.Purpose(waits_ms=100, durable=True))
    store = Store(f"sqlite:///{file}")
    store.write([invocation(CARD)])
    store.add_feedback([feedback(CARD)])
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        store.add_feedback([feedback(str(uuid4()))])
    assert _overridden(store) == ["rate-exceeds-protocol-max"]
    other.execute("ROLLBACK")
    other.close()
    assert store.add_feedback([feedback(str(uuid4()))]) == 1
    store.close()


def test_a_file_that_is_no_database_is_set_aside_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, content = tmp_path / "store.sqlite", b"this is no database, and long enough to be looked at\n" * 40
    file.write_bytes(content)
    store = Store(f"sqlite:///{file}")
    store.write([invocation(CARD)])
    store.close()
    (aside,) = tmp_path.glob("store.sqlite.broken-*")
    assert aside.read_bytes() == content
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert str(file) in line
    assert "file is not a database" in line
    assert len(_exported(f"sqlite:///{file}")) == 1
