"""The command demo-data: months of made-up activity, so that the stewardship pages have something to show."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from cds_service.commands.refused import Refused
from cds_service.knowledge import load
from cds_service.sandbox import demo
from cds_service.settings import load as load_settings
from cds_service.store import engines, retention, tables
from cds_service.store.engines import StoreError, shown, told
from cds_service.store.migrate import migrate
from cds_service.store.store import Store

MOST_DAYS = 366
FILE = "demo.sqlite"
"""In the state folder, where no store is named: the service's own store stays as it is."""


def run(days: int, url: str | None) -> int:
    """Write the activity, in place of what an earlier run wrote. Refused where the store holds anything else."""
    if not 1 <= days <= MOST_DAYS:
        raise Refused(f"--days {days}: expected is a number from 1 to {MOST_DAYS}")
    settings = load_settings()
    try:
        store = Store(url or f"sqlite:///{settings.state_folder / FILE}")
    except StoreError as error:
        raise Refused(f"--store cannot be used: {error}") from error
    drawn, now = demo.lots(), datetime.now(UTC)
    _refuse_others(store, set(drawn.clients))
    retention.prune(store.url, now + timedelta(days=MOST_DAYS))
    knowledge = load(settings.base_url, settings.overlay, settings.valuesets, settings.protocols)
    calls = answers = 0
    try:
        for invocations, said in demo.activity(knowledge, days, now, drawn):
            store.write(invocations)
            answers += store.add_feedback(said)
            calls += len(invocations)
    finally:
        store.close()
    print(f"{calls} made-up calls and {answers} answers of {days} days are in {shown(store.url)}")
    if url is None:
        print(f"KETAMINE_CDS_STORE={sqlite_url(store)} ketamine-cds serve shows them", file=sys.stderr)
    return 0


def sqlite_url(store: Store) -> str:
    return f"sqlite:///{store.url.database}"


def _refuse_others(store: Store, clients: set[str]) -> None:
    """Whatever another client did is real, and would be mixed with what is made up. Raises Refused."""
    migrate(store.url)
    engine = engines.engine(store.url, engines.UPKEEP)
    try:
        with told(shown(store.url)), engine.connect() as connection:
            for table in (tables.invocations, tables.feedback):
                query = sa.select(table.c.client).where(table.c.client.not_in(sorted(clients))).limit(1)
                if connection.execute(query).first() is not None:
                    raise Refused(
                        f"{shown(store.url)} holds what was really recorded, and nothing made up belongs beside it; "
                        "name a store of its own with --store sqlite:////FOLDER/demo.sqlite"
                    )
    finally:
        engine.dispose()
