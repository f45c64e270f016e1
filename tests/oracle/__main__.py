"""`make oracle`: every case by every rule that CQL says, in our judgement and in foreign engines, as a table.

With words as arguments only the cases whose names hold them all, and no table is written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from cds_service.knowledge import load
from tests.oracle import apply, compare, explained, feeds, table
from tests.oracle.cases import Case
from tests.oracle.engines import ENGINES, why_not

_EVERY = 100
"""Cases between two lines that say how far it is."""


def main(words: Sequence[str]) -> int:
    """0: every difference is explained; 1: one is not, or an explanation is not needed; 3: it cannot run here."""
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 3
    knowledge, known, begun = load(), explained.differences(), time.monotonic()
    cases = [each for each in feeds.every(knowledge) if all(word in each.name for word in words)]
    print(f"{len(cases)} cases, judged by the service in {time.monotonic() - begun:.0f} s", file=sys.stderr)

    def ask(engine: str) -> compare.Comparison:
        asked = ((case, list(case.verdicts)) for case in cases)
        return compare.compare(asked, knowledge, known, engine, _progress(engine, len(cases)))

    with ThreadPoolExecutor(len(ENGINES)) as both:
        found = dict(zip(ENGINES, both.map(ask, ENGINES), strict=True))
    # The plan is applied when the engines have their memory back, and only where all is asked.
    applied = apply.apply(apply.cases(knowledge), knowledge, known) if not words else None
    run = table.run_of(found, applied, _counted(cases), time.monotonic() - begun)
    print("\n".join(table.lines(run, list(known.kinds))))
    wrong = [f"{engine}: {each}" for engine, one in found.items() for each in one.unexplained]
    if applied is not None:
        wrong += [f"{apply.NAME}: {each}" for each in applied.unexplained]
        table.write(run)
        used = set[explained.Use]().union(*(one.used for one in found.values()))
        wrong += [f"not needed: {each}" for each in explained.idle(known, used)]
    for each in wrong:
        print(f"- {each}")
    return int(bool(wrong))


def _progress(engine: str, of_all: int) -> Callable[[int, int], None]:
    begun = time.monotonic()

    def tell(done: int, asked: int) -> None:
        if done % _EVERY == 0 or done == of_all:
            took = time.monotonic() - begun
            print(f"{engine}: {done} of {of_all} cases, {asked} asked, {took:.0f} s", file=sys.stderr, flush=True)

    return tell


def _counted(cases: Sequence[Case]) -> dict[str, int]:
    return {name: sum(each.feed == name for each in cases) for name in feeds.FEEDS}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
