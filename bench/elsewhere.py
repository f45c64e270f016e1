"""What another commit of this repository answers and costs, by the interpreter and the packages of this one.

python -P bench/elsewhere.py cards|cost runs in a checkout, which PYTHONPATH names. It imports nothing of `bench`, as
it would find that of the checkout, and alone knows by which names a checkout is called.
"""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
TOPIC = "could-not-check"

Answering = Callable[[bytes, str, datetime], Any]
"""(body, hook, now) -> the response."""


@contextmanager
def checkout(name: str) -> Iterator[Path]:
    """A folder that has one, as it is; or that of a commit, for as long as the context lasts.

    Raises subprocess.CalledProcessError where there is no such commit.
    """
    if Path(name).is_dir():
        yield Path(name).resolve()
        return
    packed = subprocess.run(["git", "archive", name], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def _started(folder: Path, what: str) -> subprocess.Popen[bytes]:
    plain = {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-P", str(Path(__file__).resolve()), what]
    return subprocess.Popen(command, cwd=folder, env=plain, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def cards(folder: Path, asked: Iterable[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """What a checkout says to each (moment, request): "said", how bad what could not be checked is, and "cards"."""
    from cds_service.fhir import lenient

    process = _started(folder, "cards")
    out, _ = process.communicate(b"\n".join(lenient.encode([moment, body]) for moment, body in asked))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return [json.loads(line) for line in out.splitlines()]


class Costs:
    """A process of a checkout that measures calls of order-sign, in turn with others if need be."""

    def __init__(self, folder: Path, bodies: Sequence[bytes], now: datetime) -> None:
        self._process = _started(folder, "cost")
        self._write(json.dumps({"now": now.isoformat(), "bodies": len(bodies)}).encode(), *bodies)
        self.rules: int = self._read()

    def __enter__(self) -> Costs:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def lap(self, order: Sequence[int]) -> list[float]:
        """Seconds of a processor from the bytes of each body to those of its answer, one after the other."""
        self._write(json.dumps(list(order)).encode())
        seconds: list[float] = self._read()
        return seconds

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def _write(self, *lines: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.writelines(line + b"\n" for line in lines)
        self._process.stdin.flush()


# In the checkout ------------------------------------------------------------------------------------------------


def _loaded() -> tuple[Answering, int]:
    """What answers, and the number of its rules."""
    from cds_service.advise import advise
    from cds_service.hooks.request import parse
    from cds_service.knowledge import load

    try:
        from cds_service.fhir.source import NoSource
    except ModuleNotFoundError:  # a checkout from before 2026-11-29
        from cds_service.fhir.client import NoSource  # type: ignore[attr-defined,no-redef,assignment,unused-ignore]

    knowledge, source = load(), NoSource()

    def answer(body: bytes, hook: str, now: datetime) -> Any:
        return advise(parse(body, hook), hook == "order-sign", knowledge, source, now)

    return answer, len(knowledge.protocol.rules)


def _say_cards(answer: Answering, lines: IO[bytes]) -> None:
    from cds_service.hooks.errors import PreconditionFailed

    for line in lines:
        moment, body = json.loads(line)
        try:
            now = datetime.fromisoformat(moment).astimezone(UTC)
            found = answer(json.dumps(body).encode(), body["hook"], now).cards
        except PreconditionFailed:
            found = []
        said = [card.indicator for card in found if card.source.topic and card.source.topic.code == TOPIC]
        print(json.dumps({"said": said[0] if said else "none", "cards": [card.indicator for card in found]}))


def _say_cost(answer: Answering, lines: IO[bytes]) -> None:
    from cds_service.hooks.response import encode

    head = json.loads(next(lines))
    now = datetime.fromisoformat(head["now"]).astimezone(UTC)
    bodies = [next(lines) for _ in range(head["bodies"])]
    gc.collect()  # as in a worker of the service
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    for line in lines:
        found = []
        for number in json.loads(line):
            begun = time.thread_time()
            encode(answer(bodies[number], "order-sign", now))
            found.append(time.thread_time() - begun)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    answering, number_of_rules = _loaded()
    if sys.argv[1] == "cards":
        _say_cards(answering, sys.stdin.buffer)
    else:
        print(number_of_rules, flush=True)
        _say_cost(answering, sys.stdin.buffer)
