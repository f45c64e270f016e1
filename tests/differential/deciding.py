"""Which commit made an answer what it is: looked for between an earlier commit and this one, by halves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cds_service.protocol.parsing import parse_yaml
from tests.differential.checkouts import History, git
from tests.differential.compare import Difference, is_as_now


def decided_by(difference: Difference, earlier: str, commit: str, history: History) -> str:
    """The first commit after `earlier` that answers as `commit`, which answers as now; `earlier` does not.

    A merge only where none of what it merges answers so; the first that runs again where those before it do not.
    Where an answer came, went and came again, one of these.
    """
    low, chain = earlier, _chain(earlier, commit)
    while (middle := _middle(chain, difference, history)) is not None:
        if _is_as_now(chain[middle], difference, history):
            chain = chain[: middle + 1]
        else:
            low, chain = chain[middle], chain[middle + 1 :]
    for each in chain:  # one, or such as do not run before the last
        for merged in git("rev-list", "--parents", "-n1", each).split()[2:]:
            base = git("merge-base", merged, low)
            if _is_as_now(merged, difference, history) and not _is_as_now(base, difference, history):
                return decided_by(difference, base, merged, history)
    return chain[-1]


def _middle(chain: Sequence[str], difference: Difference, history: History) -> int | None:
    """The place of the commit nearest to the middle that runs on this request, the last one apart."""
    places = sorted(range(len(chain) - 1), key=lambda place: abs(2 * place - len(chain) + 2))
    return next((place for place in places if _runs(chain[place], difference, history)), None)


def scenarios_written_since(commit: str) -> Mapping[str, str]:
    """A scenario, as requests are named, -> the commit after this one that first wrote it in its file."""
    found: dict[str, str] = {}
    by = file = ""
    log = ("log", "-p", "--unified=0", "--reverse", "--topo-order", "--format=commit %H", f"{commit}..HEAD")
    for line in git(*log, "--", "*.yaml").splitlines():
        if line.startswith("commit "):
            by = line.removeprefix("commit ")
        elif line.startswith("+++ "):
            path = Path(line.removeprefix("+++ b/"))
            file = path.parent.name if path.stem == "scenarios" else path.stem
        elif name := re.match(r"\+- name: (.*)", line):
            found.setdefault(f"{file}: {_unquoted(name[1])}", by)
    return found


def _unquoted(name: str) -> str:
    return str(parse_yaml(f"name: {name}", "a scenario")["name"])


def _chain(earlier: str, commit: str) -> Sequence[str]:
    """From the first that `earlier` does not hold to `commit`, each the first parent of the next."""
    return git("rev-list", "--first-parent", "--reverse", f"{earlier}..{commit}").split()


def _runs(commit: str, difference: Difference, history: History) -> bool:
    """Whether it answers; that it failed is an answer only where that is the difference."""
    said = history.answers(commit)
    return said is not None and (difference.kind == "answer" or "failed" not in said[difference.name])


def _is_as_now(commit: str, difference: Difference, history: History) -> bool:
    said = history.answers(commit)
    return said is not None and is_as_now(said[difference.name], difference)
