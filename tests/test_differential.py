"""What differs between two commits is told by rule, and followed to the commit that decided it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from tests.differential import checkouts
from tests.differential.checkouts import History
from tests.differential.compare import Difference, briefly, differences, is_as_now
from tests.differential.deciding import decided_by, scenarios_written_since

ORDER = "MedicationRequest/o1"


def answer(status: str, offers: tuple[str, ...] = (), words: str = "") -> dict[str, Any]:
    verdict = [status, "warning", "warn"] if status == "fired" else [status, None, None]
    rule = {"verdict": verdict, "offers": [[each, []] for each in offers], "words": [words]}
    return {"rules": {f"{ORDER} bp-missing": rule}, "response": words}


def found(before: dict[str, Any], now: dict[str, Any], words: bool = False) -> list[tuple[str, str, str]]:
    return [(each.rule, each.kind, briefly(each)) for each in differences("a", before, now, words)]


def test_a_verdict_or_an_offer_that_is_not_the_same_is_told_by_its_rule() -> None:
    told = found(answer("fired"), answer("could-not-tell"))
    assert told == [("bp-missing", "verdict", "warning (warn) → could-not-tell")]
    told = found(answer("fired", ("change",)), answer("fired"))
    assert told == [("bp-missing", "offers", "offers change → nothing")]
    assert found(answer("clear"), {"rules": {}, "response": ""})[0][2] == "clear → not judged"


def test_words_count_only_where_they_are_asked_for() -> None:
    before, now = answer("clear", words="a"), answer("clear", words="b")
    assert found(before, now) == []
    assert [kind for _, kind, _ in found(before, now, words=True)] == ["words", "response"]


def test_a_commit_that_failed_on_a_request_differs_from_one_that_answered() -> None:
    (difference,) = differences("a", {"failed": "KeyError"}, answer("clear"), words=False)
    assert briefly(difference) == "answer KeyError → answered"
    assert is_as_now(answer("fired"), difference)
    assert not is_as_now({"failed": "KeyError"}, difference)


# The commits between ---------------------------------------------------------------------------------------------


class Answers:
    """In the place of History: each commit answers as its file `answer` says."""

    def answers(self, commit: str) -> dict[str, Any] | None:
        said = checkouts.git("show", f"{commit}:answer")
        if said == "does not run":
            return None
        return {"a": {"failed": "NameError"} if said == "fails" else answer(said)}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(checkouts, "ROOT", tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "nobody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "nobody@example.org")
    checkouts.git("init", "--quiet", "--initial-branch=main")
    return tmp_path


def commit(repository: Path, says: str, **files: str) -> str:
    for name, content in files.items():
        (repository / name.replace("_yaml", ".yaml")).write_text(content)
    checkouts.git("add", ".")
    checkouts.git("commit", "--quiet", "--allow-empty", "-m", says)
    return checkouts.git("rev-parse", "HEAD")


def changed(before: str, now: str) -> Difference:
    (difference,) = differences("a", answer(before), answer(now), words=False)
    return difference


def decided(earlier: str, head: str) -> str:
    return decided_by(changed("clear", "fired"), earlier, head, cast(History, Answers()))


def test_a_difference_is_followed_to_the_commit_that_made_it(repository: Path) -> None:
    earlier = commit(repository, "first", answer="clear")
    others = [commit(repository, f"other {each}") for each in range(3)]
    decider = commit(repository, "decides", answer="fired")
    assert decided(earlier, decider) == decider
    head = [commit(repository, f"later {each}") for each in range(4)][-1]
    assert decided(earlier, head) == decided(others[0], head) == decider


def test_a_difference_is_followed_into_what_was_merged(repository: Path) -> None:
    earlier = commit(repository, "first", answer="clear")
    checkouts.git("checkout", "--quiet", "-b", "side")
    commit(repository, "nothing yet")
    decider = commit(repository, "decides", answer="fired")
    commit(repository, "more")
    checkouts.git("checkout", "--quiet", "main")
    commit(repository, "beside", other="")
    checkouts.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert decided(earlier, commit(repository, "last")) == decider


@pytest.mark.parametrize("broken", ["does not run", "fails"])
def test_commits_that_do_not_run_are_passed_over(broken: str, repository: Path) -> None:
    earlier = commit(repository, "first", answer="clear")
    checkouts.git("checkout", "--quiet", "-b", "side")
    decider = commit(repository, "decides", answer="fired")
    checkouts.git("checkout", "--quiet", "main")
    commit(repository, "breaks", answer=broken)
    checkouts.git("merge", "--quiet", "--strategy=ours", "-m", "merge", "side")
    commit(repository, "still broken", other="")
    mends = commit(repository, "mends", answer="fired")
    assert decided(earlier, commit(repository, "last")) == decider
    assert decided(decider + "~1", mends) == decider


def test_the_commit_that_wrote_a_scenario_is_found_by_its_name(repository: Path) -> None:
    earlier = commit(repository, "first", cards_yaml="- name: An old one\n")
    writer = commit(repository, "writes", cards_yaml="- name: An old one\n- name: 'A new one: quoted'\n")
    commit(repository, "later", cards_yaml="- name: 'A new one: quoted'\n  order: {}\n")
    assert scenarios_written_since(earlier) == {"cards: A new one: quoted": writer}


def test_a_commit_that_there_is_not_is_refused(repository: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        checkouts.git("rev-parse", "--verify", "no-such-commit")
