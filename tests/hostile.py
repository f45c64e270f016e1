"""Requests that are made to cost much, and `make hostile`: what each takes, and an ordinary order beside it.

python -m tests.hostile [--rounds 9] [FILE …]: over HTTP; requests of one's own as files. The ordinary order goes to
the same worker, and to a service of two workers, which take new connections as they are free. Ends with 1 where an
answer is no 200 or 400 or takes half a second, or an ordinary order takes twice its quiet time beside it in a service
of two workers, or three times in the same worker.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from bench import servers
from cds_service.commands.examples import AS_OF, moved, read

Json = dict[str, Any]
EXAMPLE = Path(__file__).parents[1] / "examples" / "ward-infusion-over-the-limit.json"
SECONDS = 0.5
BESIDE = {1: 3.0, 2: 2.0}
"""Workers, and how many times its quiet time an ordinary order may take."""
_PATIENCE = 60.0
_QUIET = 30
"""Ordinary orders before anything else, for their quiet time."""
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_HOLE = "A NUMBER"
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


# Over HTTP --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What one kind of request did. Times in seconds."""

    status: int
    size: int
    best: float
    """Of its rounds the quickest: a machine that is busy makes some long, and none too short."""
    beside: float
    """Median of ordinary orders that were sent while it was in progress."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often each is sent (9)")
    parser.add_argument("files", nargs="*", type=Path, help="more requests")
    given = parser.parse_args(arguments)
    ordinary = moved(read(str(EXAMPLE)), datetime.now(UTC) - AS_OF)
    kinds = {"(an ordinary order)": _ENCODER.encode(ordinary)} | bodies(ordinary)
    kinds |= {file.name: file.read_bytes() for file in given.files}
    bad = 0
    with ExitStack() as stack:
        ports = [_served(stack, workers) for workers in BESIDE]
        order = kinds["(an ordinary order)"]
        quiet = [statistics.median([_post(port, order)[2] for _ in range(_QUIET)][_QUIET // 3 :]) for port in ports]
        print(f"An ordinary order takes {' ms, or '.join(f'{1000 * each:.1f}' for each in quiet)} ms.\n")
        print("| request | bytes | status | answer, bytes | ms | beside it, same worker | beside it, two workers |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name, body in kinds.items():
            seen = [look(port, body, order, given.rounds) for port in ports]
            times = [each.beside / alone for each, alone in zip(seen, quiet, strict=True)]
            is_slow = any(found >= most for found, most in zip(times, BESIDE.values(), strict=True))
            is_bad = seen[0].status not in (200, 400) or seen[0].best >= SECONDS or is_slow
            bad += is_bad and body is not order
            figures = f"{len(body)} | {seen[0].status} | {seen[0].size} | {1000 * seen[0].best:.0f}"
            beside = " | ".join(f"{each:.1f}x" for each in times)
            print(f"| {name} | {figures} | {beside}{' OVER' if is_bad else ''} |", flush=True)
    return 1 if bad else 0


def _served(stack: ExitStack, workers: int) -> int:
    """The port of a service."""
    folder = stack.enter_context(TemporaryDirectory())
    server = stack.enter_context(servers.service(workers, state_dir=folder, log_level="ERROR"))
    return server.port


def look(port: int, body: bytes, order: bytes, rounds: int) -> Seen:
    """Send `body` so often, each time with an ordinary order right behind it."""
    alone = [_post(port, body) for _ in range(3)]
    beside = []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(rounds):
            hostile = pool.submit(_post, port, body)
            time.sleep(0.005 + len(body) / 1e9)
            beside.append(_post(port, order)[2])
            alone.append(hostile.result())
    status, size, _ = alone[0]
    return Seen(status, size, min(taken for _, _, taken in alone), statistics.median(beside))


def _post(port: int, body: bytes) -> tuple[int, int, float]:
    """(status, size of the answer, seconds)."""
    begun = time.perf_counter()
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        connection.request("POST", "/cds-services/ketamine-order-sign", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, len(answer.read()), time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
