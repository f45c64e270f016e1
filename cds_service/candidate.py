"""A candidate policy in shadow: calls that were answered are judged again, by both policies, and differences counted.

Nobody sees what the candidate says, and no answer waits for it. Both policies judge the request as it came, with what
was fetched for it then, without a deadline and without what clinicians overrode: two policies are compared, not two
moments. Counts and rules leave this module, and nothing else of a call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.util import Finalize
from queue import Empty, SimpleQueue
from uuid import uuid4

from cds_service.advise import Found, Opened, find, open_request, read_alike
from cds_service.cards import could_not_check
from cds_service.deadline import giving_way
from cds_service.fhir.source import Answer, Source
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from cds_service.rules.outcome import Outcome
from cds_service.says import Says
from cds_service.says import records as says
from cds_service.store.records import Comparison, Difference

log = logging.getLogger("ketamine_cds")

OFF = "switched-off"
"""The status of a rule that the policy has not, or has switched off."""
JUDGED, DROPPED, FAILED = "judged", "dropped", "failed"
"""What became of a call."""
MOST_CALLS = 200
"""That wait in a worker."""
MOST_BYTES = 8_000_000
"""Of the bodies and fetched pages that wait in a worker, together."""
MOST_BYTES_OF_ONE = 200_000
"""Of a body. Decoding holds the interpreter until it is done, and a call that came meanwhile would wait for it."""
_BYTES_OF_AN_ENTRY = 2_000
"""What a fetched resource is counted as."""
_LINGER = 0.05
"""Seconds that a call waits at least, so that its own answer has left."""
_EVERY = 10.0
"""Seconds after which counts go to the store."""
_BREATH = 0.0002
"""Seconds for which the interpreter is let go at each of some 160 steps: a call that comes finds it free, or waits
for one step (0.1 ms, rarely 2 ms), and not for the 5 ms after which Python takes it from a thread."""
_LOOK = 0.2
"""Seconds between two looks at whether the service ends."""
_PATIENCE = 2.0
"""Seconds for the thread to end."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A protocol as a site would run it, and its digest as the sign-off sheet has it."""

    knowledge: Knowledge
    digest: str


@dataclass(frozen=True, slots=True)
class Pair:
    """The policy that answers, and the one that runs beside it."""

    live: Policy
    candidate: Policy


@dataclass(frozen=True, slots=True)
class Seen:
    """An answered call: what it held, and what was fetched for it."""

    client: str
    policies: Pair
    body: bytes = field(repr=False)
    hook: str
    signing: bool
    now: datetime
    sends: frozenset[str] | None
    fetched: Fetched = field(repr=False)

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        pages = (page for each in self.fetched.answers.values() for page in each.pages)
        return len(self.body) + _BYTES_OF_AN_ENTRY * sum(len(page.items) for page in pages)


@dataclass(frozen=True, slots=True)
class Remembering:
    """A FHIR server whose answers are kept for who judges the call again."""

    source: Source
    kept: Fetched

    @property
    def why_not(self) -> Says | None:
        return self.source.why_not

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        answers = self.source.fetch(urls)
        self.kept.answers.update({urls[key]: each for key, each in answers.items()})
        return answers


@dataclass(slots=True)
class Fetched:
    """What was fetched for a call, by URL. What was not asked for then is missing; no server is asked again."""

    why_not: Says | None = says.NOT_SENT_NO_SERVER
    answers: dict[str, Answer] = field(default_factory=dict)

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        missing = Answer(gap=says.NOT_SENT_NO_SERVER)
        return {key: self.answers.get(url, missing) for key, url in urls.items()}


def remembering(source: Source) -> Remembering:
    return Remembering(source, Fetched(source.why_not))


# Judging ----------------------------------------------------------------------------------------------------------

Change = tuple[str, str, str | None, str, str | None]
"""A rule, its status and severity under the live policy, and under the candidate."""


@dataclass(slots=True)
class Tally:
    """What was counted of one client and its policies, and of which moments: that of the last call, and when it began
    (monotonic)."""

    at: datetime
    since: float
    counts: Counter[str] = field(default_factory=Counter)
    """By the fields of `Comparison`."""
    changes: Counter[Change] = field(default_factory=Counter)


def compare(seen: Seen) -> tuple[Counter[str], Counter[Change]]:
    """Judge a call by both policies: the counts of it, and what differs, by orders. Raises what judging raises."""
    live, candidate = seen.policies.live.knowledge, seen.policies.candidate.knowledge
    read = _open(seen, live)
    was = _judge(seen, read, live)
    if not read_alike(live, candidate, seen.now):
        read = _open(seen, candidate)
    now = _judge(seen, read, candidate)
    before, after = _by_order(was), _by_order(now)
    orders = before.keys() & after.keys()
    counts = {
        "calls": 1,
        "orders": len(orders),
        "interrupting_live": _interrupting(was),
        "interrupting_candidate": _interrupting(now),
    }
    return Counter(counts), Counter(each for order in orders for each in _changes(before[order], after[order]))


def _open(seen: Seen, knowledge: Knowledge) -> Opened | None:
    """The request anew, so that nothing is shared with the answer that went out."""
    return open_request(parse(seen.body, seen.hook), knowledge, seen.fetched, seen.now, sends=seen.sends)


def _judge(seen: Seen, read: Opened | None, knowledge: Knowledge) -> Found | None:
    if read is None:
        return None
    return find(read, seen.signing, knowledge, seen.now, sends=seen.sends)


def _by_order(found: Found | None) -> dict[str, Mapping[str, Outcome]]:
    """Order -> rule -> how it ended."""
    judged = found.judged if found is not None else ()
    return {each.order: {outcome.rule.id: outcome for outcome in each.outcomes} for each in judged}


def _changes(before: Mapping[str, Outcome], after: Mapping[str, Outcome]) -> Sequence[Change]:
    ended = ((rule, *_ended(before.get(rule)), *_ended(after.get(rule))) for rule in {**before, **after})
    return [change for change in ended if change[1:3] != change[3:]]


def _ended(outcome: Outcome | None) -> tuple[str, str | None]:
    return (OFF, None) if outcome is None else (outcome.status, outcome.severity)


def _interrupting(found: Found | None) -> int:
    cards = found.cards if found is not None else ()
    return sum(card.severity != "info" and card.topic != could_not_check.TOPIC for card in cards)


# Beside the answers -----------------------------------------------------------------------------------------------


class Shadow:
    """Takes answered calls from any thread, never blocks and never raises; one thread of its own judges them.

    It judges only while no call is in progress, and stands still as soon as one comes. What finds the queue full is
    dropped and counted, and so is what still waits at the end.
    """

    def __init__(
        self,
        put: Callable[[Comparison], None],
        rest: Callable[[float], bool] = lambda seconds: True,
        told: Callable[[str, str], None] = lambda client, what: None,
        most_calls: int = MOST_CALLS,
        most_bytes: int = MOST_BYTES,
        every: float = _EVERY,
    ) -> None:
        """`put` hands counts to the store. `rest` waits, at most so many seconds, until no call is in progress, and
        says whether none is. `told` is given a client and what became of a call of it."""
        self._put, self._rest, self._told = put, rest, told
        self._most_calls, self._most_bytes, self._every = most_calls, most_bytes, every
        self._queue: SimpleQueue[tuple[float, int, Seen] | None] = SimpleQueue()
        self._count = self._bytes = 0
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._finalize: Finalize | None = None

    @property
    def waiting(self) -> int:
        """Calls that are not judged yet."""
        return self._count

    def take(self, seen: Seen) -> None:
        """Hand over an answered call."""
        size = seen.size
        with self._lock:
            has_room = self._count < self._most_calls and self._bytes + size <= self._most_bytes
            is_taken = has_room and len(seen.body) <= MOST_BYTES_OF_ONE and not self._ending.is_set()
            if is_taken:
                self._count, self._bytes = self._count + 1, self._bytes + size
                self._wake((time.monotonic(), size, seen))
        if not is_taken:
            self._lose(seen, DROPPED)

    def close(self) -> None:
        """End, and hand over what was counted. Runs by itself when the process ends, before the writer's end."""
        with self._lock:
            if self._ending.is_set():
                return
            self._ending.set()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_PATIENCE)
        while not self._queue.empty():
            if (left := self._queue.get()) is not None:
                self._lose(left[2], DROPPED)
        self._hand_over(float("inf"))
        if self._finalize is not None:
            self._finalize.cancel()

    def _wake(self, taken: tuple[float, int, Seen] | None = None) -> None:
        """Give the thread a call, or a reason to look at the counts; with the lock."""
        self._queue.put(taken)
        if self._thread is not None:
            return
        # Runs at the end of a worker process too, where atexit does not; before the writer's, which has 10.
        self._finalize = Finalize(None, self.close, exitpriority=20)
        self._thread = threading.Thread(target=self._run, name="candidate", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            taken = self._next(self._every if self._tallies else None)
            if taken is not None:
                arrived, size, seen = taken
                self._ending.wait(max(0.0, arrived + _LINGER - time.monotonic()))
                self._compare(seen)
                with self._lock:
                    self._count, self._bytes = self._count - 1, self._bytes - size
            self._hand_over(time.monotonic() - self._every)

    def _next(self, seconds: float | None) -> tuple[float, int, Seen] | None:
        """The next call; None where none came in time, or there is something else to do."""
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return None

    def _compare(self, seen: Seen) -> None:
        try:
            self._give_way()
            with giving_way(self._give_way):
                counts, changes = compare(seen)
        except _Ended:
            self._lose(seen, DROPPED)
        except Exception as error:  # nothing of the request may be said, and the next one is to be judged
            log.error("a candidate policy could not judge a call: %s", type(error).__name__)
            self._lose(seen, FAILED)
        else:
            self._told(seen.client, JUDGED)
            with self._lock:
                tally = self._tally(seen)
                tally.counts += counts
                tally.changes += changes

    def _give_way(self) -> None:
        """Calls that came meanwhile go first."""
        time.sleep(_BREATH)
        while not (self._rest(_LOOK) or self._ending.is_set()):
            pass
        if self._ending.is_set():
            raise _Ended

    def _lose(self, seen: Seen, what: str) -> None:
        self._told(seen.client, what)
        with self._lock:
            is_first = not self._tallies
            self._tally(seen).counts[what] += 1
            if is_first and not self._ending.is_set():
                self._wake()

    def _tally(self, seen: Seen) -> Tally:
        key = (seen.client, seen.policies.live.digest, seen.policies.candidate.digest)
        tally = self._tallies.setdefault(key, Tally(seen.now, time.monotonic()))
        tally.at = max(tally.at, seen.now)
        return tally

    def _hand_over(self, until: float) -> None:
        """Give the store what was begun to be counted until then (monotonic)."""
        with self._lock:
            keys = [key for key, tally in self._tallies.items() if tally.since <= until]
            taken = [(key, self._tallies.pop(key)) for key in keys]
        for (client, live, candidate), tally in taken:
            self._put(_record(client, live, candidate, tally))


class _Ended(Exception):
    """The service ends while a call is judged."""


def _record(client: str, live: str, candidate: str, tally: Tally) -> Comparison:
    counts = {name: tally.counts[name] for name in _COUNTS}
    differences = [Difference(*change, orders) for change, orders in sorted(tally.changes.items(), key=str)]
    return Comparison(
        id=str(uuid4()),
        at=tally.at,
        client=client,
        live=live,
        candidate=candidate,
        differences=differences,
        **counts,
    )


_COUNTS = ("calls", "orders", DROPPED, FAILED, "interrupting_live", "interrupting_candidate")
