"""What is loaded is taken out of garbage collection for a while, and afterwards all is as it was."""

from __future__ import annotations

import gc

import pytest

from cds_service.collector import settled


def test_what_is_loaded_is_not_gone_through_while_orders_are_judged() -> None:
    before = gc.get_threshold()
    loaded = [{"limit": number} for number in range(1_000)]
    with settled():
        assert gc.get_freeze_count() > len(loaded)
        assert gc.get_threshold()[0] > before[0]
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)


def test_all_is_as_it_was_where_judging_failed() -> None:
    before = gc.get_threshold()
    with pytest.raises(OSError, match="disk"), settled():
        raise OSError("disk")
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)
