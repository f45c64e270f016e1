"""What is replayed and how, what is known of a replay that is not finished, and what a worker judges with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec

from cds_service import collector, signature
from cds_service.errors import CdsError
from cds_service.retrospect import exports
from cds_service.retrospect.gathering import Found
from cds_service.retrospect.judging import AsOf, Policy, Study
from cds_service.retrospect.policies import Codes, Named, load_all
from cds_service.store import keys
from cds_service.store.keys import Key

Engine = Literal["local", "spark"]


class Stopped(CdsError):
    """A replay did not come to its end, or may not begin."""


@dataclass(frozen=True)
class Plan:
    """What is replayed, and how; workers get it as JSON."""

    source: str
    out: str
    policies: list[Named]
    codes: Codes
    as_of: AsOf
    now: datetime
    workers: int = 1
    engine: Engine = "local"
    master: str | None = None
    """Of a Spark cluster; None: as many processes of this machine as there are `workers`."""
    since: datetime | None = None
    until: datetime | None = None
    key_file: str | None = None

    @property
    def work(self) -> Path:
        return Path(self.out) / "work"

    @property
    def outcomes(self) -> Path:
        return Path(self.out) / "outcomes.parquet"

    def digest(self, files: Sequence[Path], loaded: Sequence[str]) -> str:
        """Of everything on which the outcomes rest: another one is another replay. `loaded`: of each policy."""
        stands = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        given: list[Any] = [
            version("ketamine-cds"),
            self.as_of,
            str(self.since),
            str(self.until),
            self.policies,
            loaded,
        ]
        given += [self.now.isoformat()] if self.as_of == "now" else []
        return hashlib.sha256(msgspec.json.encode([given, stands], enc_hook=asdict)).hexdigest()


class State(msgspec.Struct):
    """What `work` says of itself, so that a replay can go on."""

    digest: str
    policies: list[str] = []
    """The digest of each policy as it was loaded when the replay began."""
    found: Found | None = None
    places: dict[str, str] = {}
    types: list[str] = []
    notes: list[str] = []


def digests(policies: Sequence[Policy]) -> list[str]:
    return [signature.digest(policy.knowledge) for policy in policies]


def encoded(plan: Plan) -> bytes:
    """For a worker."""
    return msgspec.json.encode(plan, enc_hook=asdict)


def study_for(plan: bytes) -> tuple[Plan, Study]:
    """In a worker: what it judges with."""
    read = msgspec.json.decode(plan, type=Plan)
    study = study_of(read, load_all(read.policies, read.codes))
    collector.settle()
    return read, study


def study_of(plan: Plan, policies: Sequence[Policy]) -> Study:
    """All that judging needs. Raises UnusableKey, and Stopped where a policy is not what the command loaded."""
    state = msgspec.json.decode((plan.work / exports.UNFINISHED).read_bytes(), type=State)
    if state.policies != digests(policies):
        raise Stopped("a policy was changed while the replay ran; begin anew, in another folder")
    return Study(
        policies=policies,
        key=key_of(plan),
        as_of=plan.as_of,
        now=plan.now,
        places=state.places,
        exported=frozenset(state.types),
        since=plan.since,
        until=plan.until,
    )


def key_of(plan: Plan) -> Key:
    """The site's key, by which it can find an order again; else one that is thrown away with `work`."""
    if plan.key_file is not None:
        return keys.read(plan.key_file)
    file = plan.work / "key"
    if not file.exists():
        made = file.with_suffix(".part")
        made.touch(mode=0o600)
        made.write_bytes(os.urandom(48).hex().encode())
        made.rename(file)
    return Key(bytes.fromhex(file.read_text()))
