"""What this commit answers otherwise than an earlier one, and which commit decided it.

python -m tests.differential COMMIT|FOLDER [--generated N] [--only TEXT] [--words] [--each]

Every scenario, the sandbox patients and generated orders are asked of both, with the interpreter and the packages
of this one; for every rule the verdict (fired with severity and tier, clear, could not tell) and what is offered, to
the number, are compared. Each difference is followed through the commits between to the one that made it; that of
a scenario which the earlier commit has not, to the commit that wrote the scenario.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.elsewhere import ROOT, checkout
from tests.differential.asked import Asked, requests
from tests.differential.checkouts import History, answers, git, scenario_names
from tests.differential.compare import Difference, briefly, differences, is_as_now
from tests.differential.deciding import decided_by, scenarios_written_since

NEW = "scenarios since then"


def main(arguments: Sequence[str] | None = None) -> int:
    """0: the same answers; 1: others; 2: there is no such commit."""
    description, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m tests.differential",
        description=description,
        epilog=rest.rpartition("\n\n")[2],
    )
    parser.add_argument("commit", help="an earlier commit of this repository, or a folder that has one checked out")
    parser.add_argument("--generated", type=int, default=500, help="generated orders in charts of each kind (500)")
    parser.add_argument("--only", default="", help="only requests of whose kind or name this is a part")
    parser.add_argument("--words", action="store_true", help="compare what is said as well, and the bytes sent")
    parser.add_argument("--each", action="store_true", help="name each request that differs")
    given = parser.parse_args(arguments)
    asked = [each for each in requests(given.generated) if given.only in f"{each.feed}: {each.name}"]
    try:
        with checkout(given.commit) as folder, ThreadPoolExecutor(2) as both:
            names = scenario_names(folder)
            before, now = both.map(answers, (folder, ROOT), (asked, asked))
    except subprocess.CalledProcessError:
        print(f"{given.commit} is neither a folder nor a commit that runs here", file=sys.stderr)
        return 2
    feeds = {each.name: each.feed if each.feed != "scenarios" or each.name in names else NEW for each in asked}
    found = [each for name in feeds for each in differences(name, before[name], now[name], given.words)]
    print("\n".join(_counted(feeds, found)))
    if found:
        decided = {} if Path(given.commit).is_dir() else _decided(given.commit, asked, feeds, found)
        print("\n".join(_listed(found, decided, given.each)))
    return int(bool(found))


def _decided(
    commit: str, asked: Iterable[Asked], feeds: Mapping[str, str], found: Sequence[Difference]
) -> Mapping[Difference, str]:
    """Each difference -> the commit that made it; none where that is in the working tree alone."""
    written = scenarios_written_since(commit)
    decided = {each: written[each.name] for each in found if feeds[each.name] == NEW and each.name in written}
    left = [each for each in found if each not in decided]
    if not left:
        return decided
    names = {each.name for each in left}
    history = History([each for each in asked if each.name in names])
    head, base = git("rev-parse", "HEAD"), git("rev-parse", commit)
    committed = history.answers(head) or {}
    committed_ones = [each for each in left if is_as_now(committed.get(each.name), each)]
    return decided | {each: decided_by(each, base, head, history) for each in committed_ones}


def _counted(feeds: Mapping[str, str], found: Iterable[Difference]) -> Iterator[str]:
    asked, kinds = Counter(feeds.values()), Counter((feeds[each.name], each.kind) for each in found)
    differ = Counter(feeds[name] for name in {each.name for each in found})
    yield "| asked | requests | of these differ | differences of rules |"
    yield "|---|---:|---:|---|"
    for feed, count in asked.items():
        of_feed = ", ".join(f"{n} {kind}" for (each, kind), n in sorted(kinds.items()) if each == feed)
        yield f"| {feed} | {count:,} | {differ[feed]:,} | {of_feed or 'none'} |"


def _listed(found: Iterable[Difference], decided: Mapping[Difference, str], is_each: bool) -> Iterator[str]:
    """Grouped by commit, the newest last."""
    yield from (
        "",
        "| commit | what it decided | rules, with how many answers | first of them |",
        "|---|---|---|---|",
    )
    groups: dict[str, list[Difference]] = {}
    for each in found:
        groups.setdefault(decided.get(each, ""), []).append(each)
    order = [*git("rev-list", "--topo-order", "--reverse", "HEAD").split(), ""]
    for commit in (each for each in order if each in groups):
        subject = git("log", "-1", "--format=%h | %s", commit) if commit else " | "
        of_rules = Counter(f"`{each.rule}` {briefly(each)}" for each in groups[commit])
        rules = "; ".join(f"{rule} ({count})" for rule, count in of_rules.items())
        yield f"| {subject} | {rules} | {groups[commit][0].name} |"
        if is_each:
            yield from (f"| | | `{each.rule}` {briefly(each)} | {each.name} |" for each in groups[commit])


if __name__ == "__main__":
    sys.exit(main())
