"""Requests that are made to cost much, and `make hostile`: what each takes, and an ordinary order beside it.

python -m tests.hostile [--rounds 12] [FILE …]: over HTTP; requests of one's own as files. A process of its own
sends them. Orders go alone and beside one in turn, so that a machine that changes its pace changes it for both.
Those beside it come at moments spread over the whole time that it takes, from its first byte on. They go to one
worker, and to a service of two, which take new connections as they are free. Ends with 1 where an answer is no 200
or 400, or takes half a second, or the median order takes twice as long beside it as alone in a service of two
workers, or three times as long in the same worker.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from bench import client, servers
from cds_service.commands.examples import AS_OF, moved, read

Json = dict[str, Any]
EXAMPLE = Path(__file__).parents[1] / "examples" / "ward-infusion-over-the-limit.json"
SECONDS = 0.5
BESIDE = {1: 3.0, 2: 2.0}
"""Workers, and how many times its quiet time an ordinary order may take."""
_PATIENCE = 60.0
_WARM = 20
"""Orders before anything is measured."""
_SETTLES = 0.02
"""Seconds after a request: what it has left to do and to let go is no load of the order alone."""
_SPREAD = 0.9
"""Of the time that a request takes, the part in which orders are sent beside it."""
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_HOLE = "A NUMBER"
ENDLESS = frozenset({"25 instructions in many words", "300 other orders in many words"})
"""Only the deadline ends the reading of these."""
READ_TO_THE_END = "5,000 other medicines"
"""Of this one nothing is left out: it is within all bounds."""


def bodies(asked: Json) -> dict[str, bytes]:
    """Bodies that once held a worker for seconds or gave answers of megabytes, and neighbours of theirs, each made of
    the request of one order."""
    return {name: make(copy.deepcopy(asked)) for name, make in _kinds()}


def _order(asked: Json) -> Json:
    order: Json = asked["context"]["draftOrders"]["entry"][0]["resource"]
    return order


def _entries(asked: Json, query: str, resources: list[Json]) -> bytes:
    asked["prefetch"][query] = {"resourceType": "Bundle", "entry": [{"resource": each} for each in resources]}
    return _ENCODER.encode(asked)


def _kinds() -> Iterator[tuple[str, Callable[[Json], bytes]]]:
    for element in ("frequency", "period", "count", "duration"):
        for number in ("1e-9999999", "-1e999999999999", "1e-999999999999"):
            yield f"{element} {number}", _number(number, "timing", "repeat", element)
    yield "a dose of 100,000 digits", _number("9" * 100_000, "doseAndRate", 0, "doseQuantity", "value")
    yield "10,000 codings", _codings
    yield "5,000 contained by reference", _contained
    yield "5,000 instructions", _instructions
    yield "a unit of 60,000 backslashes", _backslashes
    yield "a megabyte of words", _words
    yield "25 instructions in many words", _wordy
    yield "300 other orders in many words", _wordy_others
    yield "5,000 weights without a date", _weights
    yield READ_TO_THE_END, _medicines
    yield "2,000 drafts of ketamine", _drafts
    yield "12,000 levels", _levels
    yield "15 MB of empty entries", _empty
    yield "4 MB of opening brackets", lambda asked: _ENCODER.encode(asked)[:-1] + b',"x":' + b"[" * 4_000_000


def _number(text: str, *place: str | int) -> Callable[[Json], bytes]:
    def make(asked: Json) -> bytes:
        value: Any = _order(asked)["dosageInstruction"][0]
        for part in place[:-1]:
            value = (
                value.setdefault(part, {} if part != "doseAndRate" else [{}]) if isinstance(part, str) else value[0]
            )
        value[place[-1]] = _HOLE
        if place[-1] == "value":
            value["unit"] = "mg"
        return _ENCODER.encode(asked).replace(f'"{_HOLE}"'.encode(), text.encode())

    return make


def _codings(asked: Json) -> bytes:
    _order(asked)["medicationCodeableConcept"]["coding"] *= 10_000
    return _ENCODER.encode(asked)


def _contained(asked: Json) -> bytes:
    order = _order(asked)
    del order["medicationCodeableConcept"]
    references = [{"itemReference": {"reference": f"#i{number}"}} for number in range(5_000)]
    contained = [{"resourceType": "Substance", "id": f"i{number}"} for number in range(5_000)]
    contained.insert(0, {"resourceType": "Medication", "id": "m", "ingredient": references})
    order.update(contained=contained, medicationReference={"reference": "#m"})
    return _ENCODER.encode(asked)


def _instructions(asked: Json) -> bytes:
    _order(asked)["dosageInstruction"] *= 5_000
    return _ENCODER.encode(asked)


def _backslashes(asked: Json) -> bytes:
    asked["prefetch"]["bodySize"]["entry"][0]["resource"]["valueQuantity"] = {"value": 70, "unit": "\\" * 60_000}
    return _ENCODER.encode(asked)


def _words(asked: Json) -> bytes:
    _order(asked)["dosageInstruction"][0]["text"] = "0.5 mg/kg/h or ketamine 1-2 ½ mg " * 30_000
    return _ENCODER.encode(asked)


def _in_words(order: Json, number: int) -> Json:
    """An instruction that takes longest to read: as long as one may be, and unlike every other."""
    words = f"{number} 0.5 mg/kg/h or ketamine 1-2 ½ mg vial in 5 min x 3 mg " * 400
    return order["dosageInstruction"][0] | {"text": words[:20_000]}


def _wordy(asked: Json) -> bytes:
    order = _order(asked)
    order["dosageInstruction"] = [_in_words(order, number) for number in range(25)]
    return _ENCODER.encode(asked)


def _wordy_others(asked: Json) -> bytes:
    order = _order(asked)
    others = [
        order | {"id": f"m{i}", "status": "active", "dosageInstruction": [_in_words(order, i)]} for i in range(300)
    ]
    return _entries(asked, "medications", others)


def _weights(asked: Json) -> bytes:
    first = asked["prefetch"]["bodySize"]["entry"][0]["resource"]
    first.pop("effectiveDateTime", None)
    weights = [first | {"id": f"w{i}", "valueQuantity": {"value": 40 + i / 100, "code": "kg"}} for i in range(5_000)]
    return _entries(asked, "bodySize", weights)


def _medicines(asked: Json) -> bytes:
    taken = [
        _order(asked) | {"id": f"m{i}", "status": "active", "medicationCodeableConcept": {"text": f"lorazepam {i}"}}
        for i in range(5_000)
    ]
    return _entries(asked, "medications", taken)


def _drafts(asked: Json) -> bytes:
    order = _order(asked)
    drafts = [{"resource": order | {"id": f"d{number}"}} for number in range(2_000)]
    asked["context"]["draftOrders"]["entry"] = drafts
    return _ENCODER.encode(asked)


def _levels(asked: Json) -> bytes:
    _order(asked)["extension"] = [_HOLE]
    deep = b'{"extension":[' * 12_000 + b"]}" * 12_000
    return _ENCODER.encode(asked).replace(f'"{_HOLE}"'.encode(), deep)


def _empty(asked: Json) -> bytes:
    return _ENCODER.encode(asked).replace(b'"entry":[', b'"entry":[' + b"{}," * 5_000_000, 1)


# Over HTTP ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What one kind of request did. Times in seconds."""

    status: int
    size: int
    best: float
    """Of its rounds the quickest: a machine that is busy makes some long, and none too short."""
    alone: float
    """Median of ordinary orders alone: each the second of two, just before one beside it."""
    beside: float
    """Median of those that were sent while it was in progress."""
    worst: float
    """Of these, the longest."""

    @property
    def times(self) -> float:
        return self.beside / self.alone


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="how often each is sent with an order beside it (12)")
    parser.add_argument("--only", default="", help="words of a kind: only those that have them")
    parser.add_argument("files", nargs="*", type=Path, help="more requests")
    given = parser.parse_args(arguments)
    ordinary = moved(read(str(EXAMPLE)), datetime.now(UTC) - AS_OF)
    order = _ENCODER.encode(ordinary)
    kinds = {"(an ordinary order)": order} | bodies(ordinary) | {file.name: file.read_bytes() for file in given.files}
    kinds = {name: body for name, body in kinds.items() if given.only in name}
    bad = 0
    with ExitStack() as stack:
        line = stack.enter_context(_sender(kinds))
        ports = [_served(stack, workers) for workers in BESIDE]
        client.prepare()
        for port in ports:
            alone = [_post(port, order)[2] for _ in range(2 * _WARM)][_WARM:]
            print(f"An ordinary order alone takes {1000 * statistics.median(alone):.1f} ms.")
        print("\n| request | bytes | status | answer, bytes | ms | beside it, same worker | beside it, two workers |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name, body in kinds.items():
            seen = [look(line, name, port, order, given.rounds) for port in ports]
            is_slow = any(each.times >= most for each, most in zip(seen, BESIDE.values(), strict=True))
            is_bad = seen[0].status not in (200, 400) or seen[0].best >= SECONDS or is_slow
            bad += is_bad and body is not order
            figures = f"{len(body)} | {seen[0].status} | {seen[0].size} | {1000 * seen[0].best:.0f}"
            beside = " | ".join(
                f"{each.times:.1f}x ({1000 * each.beside:.0f} for {1000 * each.alone:.0f} ms, at most "
                f"{1000 * each.worst:.0f})"
                for each in seen
            )
            print(f"| {name} | {figures} | {beside}{' OVER' if is_bad else ''} |", flush=True)
    return 1 if bad else 0


def _served(stack: ExitStack, workers: int) -> int:
    """The port of a service."""
    folder = stack.enter_context(TemporaryDirectory())
    server = stack.enter_context(servers.service(workers, state_dir=folder, log_level="ERROR"))
    return server.port


def look(line: Connection, name: str, port: int, order: bytes, rounds: int) -> Seen:
    """Let the other process send a request so often, each time with an ordinary order some moments behind it."""
    answers = [_answer(line, name, port, lambda: None) for _ in range(3)]
    takes = min(taken for _, _, taken in answers)
    alone, beside = [], []

    def send_beside(moment: float) -> None:
        time.sleep(moment)
        beside.append(_post(port, order)[2])

    for number in range(rounds):
        time.sleep(_SETTLES)
        alone.append([_post(port, order)[2] for _ in range(2)][-1])
        moment = takes * _SPREAD * number / rounds
        answers.append(_answer(line, name, port, partial(send_beside, moment)))
    status, size, _ = answers[0]
    best = min(taken for _, _, taken in answers)
    return Seen(status, size, best, statistics.median(alone), statistics.median(beside), max(beside))


def _answer(line: Connection, name: str, port: int, meanwhile: Callable[[], None]) -> tuple[int, int, float]:
    """What a request is answered that the other process sends; `meanwhile` begins as it does."""
    line.send((name, port))
    line.recv()
    meanwhile()
    answer: tuple[int, int, float] = line.recv()
    return answer


@contextmanager
def _sender(kinds: dict[str, bytes]) -> Iterator[Connection]:
    """The line to a process that sends requests: where this one did, orders would wait for it here, not there."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, kinds), daemon=True)
    process.start()
    theirs.close()
    with closing(ours):
        yield ours
    process.join()


def _send(line: Connection, kinds: dict[str, bytes]) -> None:
    client.prepare()
    with closing(line):
        while True:
            try:
                name, port = line.recv()
            except EOFError:
                return
            line.send(None)
            line.send(_post(port, kinds[name]))


def _post(port: int, body: bytes) -> tuple[int, int, float]:
    """(status, size of the answer, seconds)."""
    begun = time.perf_counter()
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        connection.request("POST", "/cds-services/ketamine-order-sign", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, len(answer.read()), time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
