"""A Bulk Data export fetched into a folder: asked for, awaited, its files streamed, and its job deleted.

Everything that is not finished stands in one small file of the folder, so that the same command goes on after it was
stopped: with the job that the server has, and with the files that are not whole. A file is fetched whole or not at
all; a link that has run out is asked for anew; a job that the server no longer has is begun again from nothing, since
files of two moments are no export.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlencode, urljoin

import msgspec

from cds_service.fhir import lenient
from cds_service.retrospect.backend import (
    LONGEST_WAIT,
    MOST_BYTES,
    SHORTEST_WAIT,
    Answer,
    BrokenOff,
    Failed,
    Server,
    Stream,
    host,
)
from cds_service.retrospect.exports import UNFINISHED_EXPORT
from cds_service.sandbox.caller import dicts

DONE = "export.json"
"""What a finished export says of itself."""
OF_NOBODY = ("Medication", "Location")
"""Types of what belongs to no patient: some servers give them out with the patients, some refuse to."""
ATTEMPTS = 5
"""At one file, and at one question that a server answers with its own failure."""
MOST_JOBS = 3
MOST_FILES = 20_000
_MOST_OUTCOMES = 100
_GONE = (404, 410)
_BUSY = (429, 500, 502, 503, 504)
Told = Callable[[str], None]
"""Told in a sentence how far it is."""


@dataclass(frozen=True)
class Asked:
    """What is asked for: `of` is Patient, Group/ID, or nothing for all that the server has."""

    base: str
    of: str
    types: Sequence[str]
    since: str | None = None

    @property
    def url(self) -> str:
        return self.url_of(self.types)

    @property
    def of_patients(self) -> list[str]:
        """The types of what belongs to a patient."""
        return [kind for kind in self.types if kind not in OF_NOBODY]

    def url_of(self, types: Sequence[str]) -> str:
        given = {"_outputFormat": "application/fhir+ndjson", "_type": ",".join(types)}
        given |= {"_since": self.since} if self.since else {}
        return f"{self.base}/{f'{self.of}/' if self.of else ''}$export?{urlencode(given, safe=',')}"


@dataclass(frozen=True)
class Bounds:
    """How long the server may take for all of it, and how much it may send."""

    seconds: float
    bytes: int


class State(msgspec.Struct):
    """What is kept of an export that is not finished."""

    url: str
    job: str | None = None


class _File(msgspec.Struct, rename="camel"):
    type: str
    url: str
    count: int | None = None


class _Manifest(msgspec.Struct, rename="camel"):
    output: list[_File]
    error: list[_File] = []
    requires_access_token: bool = True
    transaction_time: str | None = None


class Fetched(msgspec.Struct):
    """What came of it."""

    server: str
    of: str
    at: str | None
    """The moment of the chart, as the server names it."""
    lines: dict[str, int] = {}
    """By type."""
    notes: list[str] = []


class _NoJob(Exception):
    """The server no longer has the export."""


class _NoLink(Exception):
    """A link that the manifest named leads to nothing any more."""


def fetch(asked: Asked, folder: Path, server: Server, bounds: Bounds, told: Told) -> Fetched:
    """Fetch the export into the folder, or what of it is not there yet. Raises Failed."""
    state = _state(asked, folder)
    fetching = _Fetching(asked, server, folder, state, time.monotonic() + bounds.seconds, bounds.bytes, told)
    if (folder / DONE).exists():  # it was stopped in its last moment
        return fetching.finish(msgspec.json.decode((folder / DONE).read_bytes(), type=Fetched))
    for _ in range(MOST_JOBS):
        try:
            made = fetching.run(Fetched(asked.base, asked.of or "system", None))
        except _NoJob:
            told(f"{host(asked.base)} no longer has the export; it is asked for anew, from the beginning")
            fetching.forget()
            continue
        made.notes += [f"no file came for {kind}" for kind in asked.types if kind not in made.lines]
        _keep(folder / DONE, msgspec.json.format(msgspec.json.encode(made), indent=1))
        return fetching.finish(made)
    raise Failed(f"{host(asked.base)} lost its export {MOST_JOBS} times")


def _state(asked: Asked, folder: Path) -> State:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / UNFINISHED_EXPORT
    if file.exists():
        state = msgspec.json.decode(file.read_bytes(), type=State)
        if state.url != asked.url:
            raise Failed(f"{folder} holds an unfinished export of something else; choose another folder with --into")
        return state
    if any(each.suffix != ".part" for each in folder.iterdir()):
        raise Failed(f"{folder} is not empty; choose another folder with --into")
    state = State(asked.url)
    _keep(file, msgspec.json.encode(state))
    return state


def _keep(file: Path, content: bytes) -> None:
    made = file.with_suffix(".part")
    made.touch(mode=0o600)
    made.write_bytes(content)
    made.rename(file)


class _Fetching:
    """One run of the command."""

    def __init__(
        self, asked: Asked, server: Server, folder: Path, state: State, until: float, most_bytes: int, told: Told
    ) -> None:
        self.asked, self.server, self.folder, self.state, self.told = asked, server, folder, state, told
        self._until = until
        self._left = most_bytes - sum(each.stat().st_size for each in folder.glob("*.ndjson"))
        self._most = most_bytes

    def run(self, made: Fetched) -> Fetched:
        """Raises Failed, _NoJob."""
        if self.state.job is None:
            self.state.job = self._begin()
            _keep(self.folder / UNFINISHED_EXPORT, msgspec.json.encode(self.state))
        manifest = self._manifest()
        made.at = manifest.transaction_time
        names = _names(manifest)
        for number, name in enumerate(names):
            self.told(f"fetching {name} ({number + 1} of {len(names)})")
            if not (self.folder / name).exists():
                manifest = self._file(manifest, number, name)
            lines = _lines(self.folder / name)
            kind, said = manifest.output[number].type, manifest.output[number].count
            made.lines[kind] = made.lines.get(kind, 0) + lines
            if said is not None and said != lines:
                made.notes.append(f"{name} has {lines} lines, and the server says {said}")
        made.notes += self._errors(manifest)
        return made

    def forget(self) -> None:
        """Nothing of the job that is lost may stand beside files of the next."""
        for each in (*self.folder.glob("*.ndjson"), *self.folder.glob("*.part")):
            each.unlink()
        self._left = self._most
        self.state.job = None
        _keep(self.folder / UNFINISHED_EXPORT, msgspec.json.encode(self.state))

    def finish(self, made: Fetched) -> Fetched:
        """The server need not keep the files any longer; nothing is lost here where it keeps them."""
        self._delete()
        (self.folder / UNFINISHED_EXPORT).unlink()
        return made

    def _delete(self) -> None:
        assert self.state.job is not None
        try:
            answer = self.server.ask("DELETE", self.state.job)
        except Failed as error:
            self.told(f"the export was not deleted on the server: {error}")
            return
        if answer.status not in (200, 202, 204, *_GONE):
            self.told(f"the export was not deleted on the server, which answered {answer.says}")

    def _begin(self) -> str:
        """The address of a new job."""
        answer = self._patiently("GET", self.asked.url, Prefer="respond-async")
        if answer.status == 400 and self.asked.of and self.asked.of_patients != list(self.asked.types):
            self.told(f"the server does not give {' and '.join(OF_NOBODY)} with patients; asked for without")
            url = self.asked.url_of(self.asked.of_patients)
            answer = self._patiently("GET", url, Prefer="respond-async")
        job = answer.headers.get("Content-Location")
        if answer.status != 202 or not job:
            raise Failed(f"{host(self.state.url)} did not begin an export, but answered {answer.says}")
        self.told("the server prepares the export")
        return urljoin(self.state.url, job)

    def _manifest(self) -> _Manifest:
        """Wait for the job, as often and as slowly as the server wants it."""
        assert self.state.job is not None
        wait, said = SHORTEST_WAIT, ""
        while True:
            answer = self._patiently("GET", self.state.job)
            if answer.status in _GONE:
                raise _NoJob
            if answer.status == 200:
                return _read(answer, self.state.job)
            if answer.status != 202:
                self._refused(answer)
            progress = answer.headers.get("X-Progress", "")[:100]
            if progress != said:
                self.told(f"the server prepares the export: {progress}")
                said = progress
            wait = min(2 * wait, LONGEST_WAIT)
            self._wait(wait if answer.wait is None else answer.wait)

    def _refused(self, answer: Answer) -> NoReturn:
        """Raises Failed. A job that has failed for good is not asked for again."""
        host_name = host(self.state.job)
        if _is_said_by_fhir(answer):
            self.forget()
        raise Failed(f"{host_name} answered {answer.says} instead of its export")

    def _patiently(self, method: str, url: str, **headers: str) -> Answer:
        """Asked again where the server is busy or fails, after the time that it names. Raises Failed."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self.server.ask(method, url, **headers)
            except BrokenOff:
                if attempt == ATTEMPTS:
                    raise
                self._wait(2.0**attempt)
                continue
            if answer.status not in _BUSY or attempt == ATTEMPTS or _is_said_by_fhir(answer):
                return answer
            self._wait(2.0**attempt if answer.wait is None else answer.wait)
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, seconds: float) -> None:
        seconds = max(SHORTEST_WAIT, seconds)
        if time.monotonic() + seconds > self._until:
            raise Failed(
                f"{host(self.state.url)} has not finished in the time that --hours gives it; the same command goes on"
            )
        time.sleep(seconds)

    def _file(self, manifest: _Manifest, number: int, name: str) -> _Manifest:
        """Fetch one file; the manifest may be a newer one afterwards, with other links. Raises Failed, _NoJob."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._stream(manifest, number, name)
            except _NoLink:
                newer = self._manifest()
                if _names(newer) != _names(manifest):
                    raise _NoJob from None
                manifest = newer
                self._wait(attempt - 1)
            except BrokenOff as error:
                if attempt == ATTEMPTS:
                    raise Failed(f"{error}, {ATTEMPTS} times; the same command goes on") from None
                self._wait(2.0**attempt)
            else:
                return manifest
        raise Failed(f"{host(manifest.output[number].url)} does not give out {name}; the same command goes on")

    def _stream(self, manifest: _Manifest, number: int, name: str) -> None:
        file = manifest.output[number]
        status, _, pieces = self._opened(manifest, file)
        if status in (401, 403, *_GONE):
            raise _NoLink
        if status != 200:
            raise BrokenOff(f"{host(file.url)} answered {status} instead of {name}")
        made = (self.folder / name).with_suffix(".part")
        made.unlink(missing_ok=True)
        made.touch(mode=0o600)
        left, last = self._left, b"\n"
        with made.open("wb") as target:
            for piece in pieces:
                left -= len(piece)
                if left < 0:
                    raise Failed(f"{host(file.url)} sends more than --gigabytes allows")
                if time.monotonic() > self._until:
                    self._wait(0)
                target.write(piece)
                last = piece[-1:] or last
            if last != b"\n":
                target.write(b"\n")  # so that the next file does not begin in its last line
        self._left = left
        made.rename(self.folder / name)

    def _opened(self, manifest: _Manifest, file: _File) -> Stream:
        return self.server.stream(urljoin(self.state.job or "", file.url), manifest.requires_access_token)

    def _errors(self, manifest: _Manifest) -> Iterator[str]:
        """What the server could not export, by the codes of its outcomes: their words may name somebody."""
        found: Counter[str] = Counter()
        for file in manifest.error[:_MOST_OUTCOMES]:
            try:
                found.update(_issues(self._opened(manifest, file).pieces))
            except BrokenOff:
                found["not readable"] += 1
        if found:
            yield "the server says that it could not export everything: " + ", ".join(
                f"{count} {code}" for code, count in sorted(found.items())
            )


def _issues(pieces: Iterator[bytes]) -> Iterator[str]:
    """The codes of a file of outcomes, as far as it is read."""
    text = bytearray()
    for piece in pieces:
        text += piece
        if len(text) > MOST_BYTES:
            break
    for line in bytes(text).splitlines():
        try:
            outcome = lenient.untyped(line)
        except lenient.UNREADABLE:
            yield "not readable"
            continue
        for issue in dicts(outcome.get("issue") if isinstance(outcome, dict) else None):
            if issue.get("severity") in ("error", "fatal"):
                yield str(issue.get("code"))[:40]


def _is_said_by_fhir(answer: Answer) -> bool:
    """Whether a 500 is the end of the job: an outcome that says so, and no busy server."""
    body = answer.body
    return answer.status == 500 and isinstance(body, dict) and body.get("resourceType") == "OperationOutcome"


def _read(answer: Answer, url: str) -> _Manifest:
    try:
        made = msgspec.convert(answer.body, _Manifest)
    except msgspec.ValidationError:
        raise Failed(f"{host(url)} gave no manifest of an export") from None
    if len(made.output) > MOST_FILES:
        raise Failed(f"{host(url)} names more than {MOST_FILES} files")
    return made


def _names(manifest: _Manifest) -> list[str]:
    """A name for each file of the manifest: its type and its number among those of the type."""
    seen: Counter[str] = Counter()
    names = []
    for file in manifest.output:
        if not file.type.isascii() or not file.type.isalpha():
            raise Failed("the manifest names a type that is none")
        seen[file.type] += 1
        names.append(f"{file.type}-{seen[file.type]:04}.ndjson")
    return names


def _lines(file: Path) -> int:
    """Lines that are not empty."""
    with file.open("rb") as opened:
        return sum(1 for line in opened if line.strip())
