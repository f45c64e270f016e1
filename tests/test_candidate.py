"""A candidate policy in shadow: what it counts, what it loses, and that it costs no answer anything."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cds_service import candidate
from cds_service.candidate import MOST_BYTES_OF_ONE, OFF, Fetched, Pair, Policy, Remembering, Seen, Shadow, compare
from cds_service.fhir.source import Answer, NoSource
from cds_service.knowledge import Knowledge, load
from cds_service.store.records import Comparison
from tests.hooks.client import encoded
from tests.scenarios.build import NOW, hook_request
from tests.waiting import until

SOON = 10.0
OWNED = "owner: P&T, date: 2026-11-01, reason: a trial"
RATE = "rate-exceeds-protocol-max"
BELOW: dict[str, Any] = {"order": {"rate": "0.3 mg/kg/h"}, "patient": {"weight": "80 kg"}}
"""Clear under the shipped limit of 0.5 mg/kg/h, and a warning under one of 0.2."""


def overlay(folder: Path, text: str) -> str:
    file = folder / "candidate.yaml"
    file.write_text(f"site: Trial\n{text}", "utf-8")
    return str(file)


@pytest.fixture(scope="module")
def pair(knowledge: Knowledge, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The shipped protocol, and one with a lower limit and a rule switched off."""
    limit = f"limits: [{{limit: rate-warn, value: 0.2, {OWNED}}}]"
    switch = f"rules: [{{rule: monitoring-order-missing, off: true, {OWNED}}}]"
    file = overlay(tmp_path_factory.mktemp("site"), f"{limit}\n{switch}")
    changed = replace(load(overlay=file), valuesets=knowledge.valuesets)
    return Pair(Policy(knowledge, "live"), Policy(changed, "candidate"))


def seen(pair: Pair, scenario: dict[str, Any] = BELOW, **changes: Any) -> Seen:
    given: dict[str, Any] = {
        "client": "north",
        "policies": pair,
        "body": encoded(hook_request(scenario)),
        "hook": "order-sign",
        "signing": True,
        "now": NOW,
        "sends": None,
        "fetched": Fetched(),
    }
    return Seen(**given | changes)


class Sink:
    """Where counts go."""

    def __init__(self) -> None:
        self.records: list[Comparison] = []
        self.told: list[tuple[str, str]] = []

    def tell(self, client: str, what: str) -> None:
        self.told.append((client, what))

    def shadow(self, **given: Any) -> Shadow:
        return Shadow(self.records.append, told=self.tell, **given)


# What is counted --------------------------------------------------------------------------------------------------


def test_a_lower_limit_is_a_difference_of_its_rule_and_one_more_card_that_interrupts(pair: Pair) -> None:
    counts, changes = compare(seen(pair))
    assert (counts["calls"], counts["orders"]) == (1, 1)
    assert counts["interrupting_candidate"] == counts["interrupting_live"] + 1
    assert changes[RATE, "clear", None, "fired", "warning"] == 1


def test_a_rule_that_is_switched_off_says_so(pair: Pair, knowledge: Knowledge) -> None:
    _, changes = compare(seen(pair))
    (change,) = [each for each in changes if each[0] == "monitoring-order-missing"]
    assert change[3:] == (OFF, None)


def test_two_policies_that_are_alike_differ_in_nothing(pair: Pair) -> None:
    counts, changes = compare(seen(Pair(pair.live, replace(pair.live, digest="other"))))
    assert (counts["orders"], changes) == (1, {})
    assert counts["interrupting_candidate"] == counts["interrupting_live"]


def test_every_order_of_a_call_counts(pair: Pair) -> None:
    orders = [{"rate": "0.3 mg/kg/h"}, {"rate": "0.05 mg/kg/h"}]
    counts, _ = compare(seen(pair, {"orders": orders, "patient": {"weight": "80 kg"}}))
    assert counts["orders"] == 2


def test_what_was_fetched_for_the_answer_is_read_again_and_no_server_is_asked() -> None:
    class Asked(NoSource):
        def fetch(self, urls: Any) -> dict[str, Answer]:
            return {key: Answer() for key in urls}

    remembering = Remembering(Asked(), Fetched(None))
    assert remembering.fetch({"weight": "Observation?x"})["weight"].gap is None
    again = remembering.kept.fetch({"weight": "Observation?x", "more": "Observation?y"})
    assert (again["weight"].gap is None, again["more"].gap is None) == (True, False)


# Beside the answers -----------------------------------------------------------------------------------------------


def test_calls_are_counted_together_by_client_and_nothing_of_a_single_one_is_kept(pair: Pair) -> None:
    sink = Sink()
    shadow = sink.shadow()
    for _ in range(3):
        shadow.take(seen(pair))
    shadow.take(seen(pair, client="south"))
    until(lambda: len(sink.told) == 4)
    shadow.close()
    north, south = sorted(sink.records, key=lambda each: each.client)
    assert (north.calls, north.orders, north.dropped, north.failed, south.calls) == (3, 3, 0, 0, 1)
    assert (north.live, north.candidate, north.at) == ("live", "candidate", NOW)
    assert {(each.rule, each.becomes, each.orders) for each in north.differences} >= {(RATE, "fired", 3)}


def test_counts_go_to_the_store_without_another_call(pair: Pair) -> None:
    sink = Sink()
    shadow = sink.shadow(every=0.1)
    shadow.take(seen(pair))
    until(lambda: bool(sink.records))
    shadow.close()
    assert len(sink.records) == 1


def test_a_call_that_is_dropped_is_counted_without_another_one(pair: Pair) -> None:
    sink = Sink()
    shadow = sink.shadow(every=0.1)
    shadow.take(seen(pair, body=b" " * (MOST_BYTES_OF_ONE + 1)))
    until(lambda: bool(sink.records))
    shadow.close()
    assert [(each.calls, each.dropped) for each in sink.records] == [(0, 1)]


def test_what_finds_the_queue_full_is_dropped_and_counted_and_nobody_waits(pair: Pair) -> None:
    sink, open_ = Sink(), threading.Event()
    shadow = sink.shadow(rest=lambda seconds: open_.wait(0.01), most_calls=5)
    for _ in range(100):  # a call that waited would wait for `open_`
        shadow.take(seen(pair))
    assert [what for _, what in sink.told].count("dropped") >= 94
    open_.set()
    until(lambda: len(sink.told) == 100)
    shadow.close()
    assert sum(each.calls + each.dropped for each in sink.records) == 100


def test_bytes_that_wait_have_a_bound_and_a_large_body_is_not_taken(pair: Pair) -> None:
    sink, size = Sink(), seen(pair).size
    shadow = sink.shadow(rest=lambda seconds: False, most_bytes=2 * size)
    for _ in range(3):
        shadow.take(seen(pair))
    assert sink.told == [("north", "dropped")]
    shadow.close()
    large = sink.shadow()
    large.take(seen(pair, body=b" " * (MOST_BYTES_OF_ONE + 1)))
    large.close()
    assert sink.records[-1].dropped == 1


def test_nothing_is_judged_while_a_call_is_in_progress(pair: Pair) -> None:
    sink, quiet = Sink(), threading.Event()
    shadow = sink.shadow(rest=lambda seconds: quiet.wait(0.01))
    shadow.take(seen(pair))
    time.sleep(0.3)
    assert sink.told == []
    quiet.set()
    until(lambda: sink.told == [("north", "judged")])
    shadow.close()


def test_a_call_that_cannot_be_judged_is_counted_and_the_next_one_is_judged(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Sink()
    shadow = sink.shadow()
    shadow.take(seen(pair, body=b'{"patient": "Mrs Example"'))
    shadow.take(seen(pair))
    until(lambda: len(sink.told) == 2)
    shadow.close()
    (record,) = sink.records
    assert (record.failed, record.calls) == (1, 1)
    assert "Example" not in caplog.text


def test_at_the_end_what_waits_is_dropped_and_the_counts_are_handed_over(pair: Pair) -> None:
    sink = Sink()
    shadow = sink.shadow(rest=lambda seconds: False)
    for _ in range(4):
        shadow.take(seen(pair))
    began = time.monotonic()
    shadow.close()
    shadow.close()
    shadow.take(seen(pair))
    assert time.monotonic() - began < candidate._PATIENCE + 30, "its call in hand waits for ever"
    assert [each.dropped for each in sink.records] == [4]
