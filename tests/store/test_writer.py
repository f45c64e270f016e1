"""The audit's queue: it never makes anyone wait, loses nothing it need not lose, and counts what it loses."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import pytest

from cds_service.store.engines import StoreError, Unavailable
from cds_service.store.records import Invocation
from cds_service.store.writer import Writer
from tests.store.build import invocation
from tests.waiting import SOON, until


class Sink:
    """A store whose behaviour a test chooses, and what arrived in it."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = threading.Event()
        self.open.set()
        self.away = False
        self.refuses: set[str] = set()

    def write(self, records: Sequence[Invocation]) -> None:
        self.open.wait(SOON)
        if self.away:
            raise Unavailable("away")
        if any(record.id in self.refuses for record in records):
            raise StoreError("refused")
        self.batches.append([record.id for record in records])

    @property
    def ids(self) -> list[str]:
        return [each for batch in self.batches for each in batch]


def test_records_arrive_in_their_order_and_in_batches() -> None:
    sink = Sink()
    writer = Writer(sink.write, batch=10)
    sent = [invocation() for _ in range(95)]
    for record in sent:
        writer.put(record)
    writer.close()
    assert sink.ids == [record.id for record in sent]
    assert max(map(len, sink.batches)) <= 10
    assert len(sink.batches) < 30
    assert (writer.written, writer.dropped, writer.waiting) == (95, 0, 0)


def test_a_store_that_hangs_makes_nobody_wait_and_what_finds_no_room_is_counted() -> None:
    sink, lost = Sink(), []
    sink.open.clear()
    writer = Writer(sink.write, capacity=100, batch=10, lost=lost.append)
    began = time.monotonic()
    for _ in range(1_000):
        writer.put(invocation())
    assert time.monotonic() - began < SOON / 2, "the store hangs for as long as that, and longer"
    assert writer.dropped >= 1_000 - 100 - 10
    assert sum(lost) == writer.dropped
    sink.open.set()
    writer.close()
    assert writer.written + writer.dropped == 1_000
    assert len(sink.ids) == writer.written >= 100


def test_a_record_on_its_way_from_the_queue_to_the_store_still_waits() -> None:
    """Else a store would be said to hold all while its last record is in the writer's hands."""
    sink, seen = Sink(), []

    class Watched(SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            taken = super().get(block, timeout)
            seen.append(writer.waiting)
            return taken

    writer = Writer(sink.write)
    writer._queue = Watched()
    writer.put(invocation())
    until(lambda: writer.waiting == 0)
    assert (seen, len(sink.ids)) == ([1], 1)
    writer.close()


def test_what_is_put_while_the_writer_ends_is_written_or_counted() -> None:
    """Its thread may have looked for the last time when a record comes that is not too late yet."""
    for _ in range(20):
        sink, counted = Sink(), threading.Event()
        writer = Writer(sink.write)
        writer.put(invocation())

        def putting(writer: Writer[Invocation] = writer, counted: threading.Event = counted) -> None:
            for _ in range(300):
                writer.put(invocation())
            counted.set()

        thread = threading.Thread(target=putting)
        thread.start()
        writer.close()
        assert counted.wait(SOON)
        thread.join(SOON)
        assert len(sink.ids) == writer.written
        assert writer.written + writer.dropped == 301


def test_while_the_store_is_away_records_wait_and_arrive_once_it_is_back() -> None:
    sink = Sink()
    sink.away = True
    writer = Writer(sink.write)
    for _ in range(20):
        writer.put(invocation())
    time.sleep(0.3)
    assert (writer.waiting, writer.dropped) == (20, 0)
    sink.away = False
    until(lambda: writer.written == 20)
    writer.close()
    assert len(set(sink.ids)) == 20


def test_a_record_that_the_store_refuses_takes_no_other_with_it() -> None:
    sink = Sink()
    sent = [invocation() for _ in range(9)]
    sink.refuses = {sent[0].id, sent[4].id, sent[8].id}
    writer = Writer(sink.write)
    for record in sent:
        writer.put(record)
    writer.close()
    assert sorted(sink.ids) == sorted({record.id for record in sent} - sink.refuses)
    assert (writer.written, writer.dropped) == (6, 3)


def test_at_the_end_patience_has_an_end_and_the_rest_is_counted() -> None:
    sink = Sink()
    sink.away = True
    writer = Writer(sink.write, patience=0.3)
    for _ in range(5):
        writer.put(invocation())
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 30, "the store stays away for ever"
    assert (writer.written, writer.dropped) == (0, 5)


def test_after_the_end_nothing_is_taken_and_it_is_counted() -> None:
    writer = Writer(Sink().write)
    writer.close()
    writer.close()
    writer.put(invocation())
    assert (writer.waiting, writer.dropped) == (0, 1)


_ENDS_BY_ITSELF = """
import multiprocessing, sys
from cds_service.store.writer import Writer
from tests.store.build import invocation
from tests.waiting import SOON, until

def work():
    writer = Writer(lambda records: open(sys.argv[1], "a").write("x" * len(records)))
    for _ in range(7):
        writer.put(invocation())

if sys.argv[2] == "child":
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
else:
    work()
"""


@pytest.mark.parametrize("where", ["here", "child"])
def test_a_process_that_ends_writes_what_is_waiting(where: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A worker is a child made by multiprocessing, where atexit does not run."""
    file = tmp_path_factory.mktemp("end") / "written"
    subprocess.run([sys.executable, "-c", _ENDS_BY_ITSELF, str(file), where], check=True, timeout=60)
    assert file.read_text() == "x" * 7
