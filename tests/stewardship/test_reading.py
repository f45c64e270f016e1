"""The pages only read, for a bounded time and a bounded number of rows, and hold nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cds_service.stewardship.reading import NothingRecorded, Reader, TooMuch
from cds_service.store import tables
from cds_service.store.engines import StoreError
from cds_service.store.store import Store
from tests.store.build import invocation

Readers = Callable[..., Reader]
_CALLS = sa.select(tables.invocations.c.id)


@pytest.fixture
def reader(url: str) -> Iterator[Readers]:
    """Makes readers of the store, and closes them."""
    made: list[Reader] = []

    def make(**bounds: float) -> Reader:
        made.append(Reader(url, **bounds))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def _long(reader_url: str) -> sa.Select[tuple[int]]:
    """A statement that counts for hours."""
    if reader_url.startswith("sqlite"):
        number = sa.literal_column("n")
        rows = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
        return sa.select(sa.func.count(number)).select_from(rows.union_all(sa.select(rows.c.n + 1)))
    return sa.select(sa.func.count(sa.func.pg_sleep(3600)))


def test_a_statement_that_takes_too_long_is_ended_and_says_so(url: str, store: Store, reader: Readers) -> None:
    store.migrate()
    bounded, began = reader(seconds=0.3), time.monotonic()
    with pytest.raises(TooMuch, match=r"longer than 0\.3 s; choose a shorter period"), bounded.reading() as reading:
        reading.rows(_long(url))
    assert time.monotonic() - began < 20
    with bounded.reading() as reading:  # and the next is served
        assert reading.rows(_CALLS) == []


def test_all_statements_of_a_page_share_its_time(url: str, store: Store, reader: Readers) -> None:
    store.migrate()
    with reader(seconds=0.3).reading() as reading:
        time.sleep(0.4)
        with pytest.raises(TooMuch):
            reading.rows(_long(url))


def test_more_rows_than_the_bound_are_refused_and_never_cut_in_silence(store: Store, reader: Readers) -> None:
    store.write([invocation() for _ in range(4)])
    with reader(most_rows=4).reading() as reading:
        assert len(reading.rows(_CALLS)) == 4
    with pytest.raises(TooMuch, match="more than 3 rows"), reader(most_rows=3).reading() as reading:
        reading.rows(_CALLS)


def test_nothing_can_be_written(store: Store, reader: Readers) -> None:
    store.write([invocation()])
    with pytest.raises(StoreError), reader().reading() as reading:
        reading._connection.execute(sa.delete(tables.cards))
    with reader().reading() as reading:
        assert len(reading.rows(sa.select(tables.cards.c.uuid))) == 1


def test_who_reads_holds_no_writer_up(store: Store, reader: Readers) -> None:
    store.write([invocation()])
    with reader().reading() as reading:
        assert len(reading.rows(_CALLS)) == 1
        wrote = threading.Thread(target=lambda: store.write([invocation()]))
        wrote.start()
        wrote.join(20)
        assert not wrote.is_alive()
    with reader().reading() as reading:
        assert len(reading.rows(_CALLS)) == 2


def test_no_file_is_made_by_looking(tmp_path: Path) -> None:
    reader = Reader(f"sqlite:///{tmp_path / 'store.sqlite'}")
    with pytest.raises(NothingRecorded, match="nothing is recorded yet"), reader.reading():
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NothingRecorded, match="KETAMINE_CDS_STORE is off"), Reader(None).reading():
        pass


def test_a_store_that_is_away_is_said(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError), Reader(f"sqlite:///{tmp_path / 'store.sqlite'}").reading() as reading:
        reading.rows(_CALLS)
    assert (tmp_path / "store.sqlite").read_bytes().startswith(b"not a database")
