"""`make oracle`: every scenario by every rule that CQL says, in our judgement and in foreign engines, as a table."""

from __future__ import annotations

import sys
import time

from cds_service.knowledge import load
from tests.oracle import cases, compare
from tests.oracle.engines import why_not


def main() -> int:
    """0: every difference is explained; 1: one is not, or an explanation is not needed; 3: it cannot run here."""
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 3
    knowledge, known = load(), compare.differences()
    every = [(case, list(case.verdicts)) for case in cases.of_scenarios(knowledge)]
    failed = False
    for engine in compare.ENGINES:
        begun = time.monotonic()
        found = compare.compare(every, knowledge, known, engine)
        failed |= _show(engine, found, known, time.monotonic() - begun, len(every))
    return int(failed)


def _show(engine: str, found: compare.Comparison, known: compare.Differences, seconds: float, cases_: int) -> bool:
    kinds = list(known.kinds)
    of_what = f"{found.verdicts.total()} verdicts of {len(found.verdicts)} rules in {cases_} cases"
    print(f"\n{engine}: {of_what}, {seconds:.0f} s")
    print(f"\n| rule | cases | {' | '.join(kinds)} |\n|---|---:|{'---:|' * len(kinds)}")
    for rule, count in found.verdicts.items():
        print(f"| `{rule}` | {count} | {' | '.join(str(found.explained[rule, kind] or '') for kind in kinds)} |")
    print(f"\n{found.explained.total()} differences are explained, {len(found.unexplained)} are not")
    for each in found.unexplained:
        print(f"- {each}")
    idle = [
        each
        for place, each in enumerate(known.explained)
        if place not in found.used and each.engine in (None, engine)
    ]
    for each in idle:
        print(f"- not needed: {each.kind} {each.rules or ''} {each.cases or ''}")
    return bool(found.unexplained or idle)


if __name__ == "__main__":
    sys.exit(main())
