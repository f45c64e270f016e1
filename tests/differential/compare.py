"""Where two answers to one request differ: a rule's verdict, or what is offered, or only what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("verdict", "offers")
WORDS = "words"


@dataclass(frozen=True, eq=False)
class Difference:
    name: str
    """Of the request."""
    place: str
    """The order and the rule; empty where it is the whole answer."""
    kind: str
    before: Any
    now: Any

    @property
    def rule(self) -> str:
        return self.place.rpartition(" ")[2]


def differences(name: str, before: Mapping[str, Any], now: Mapping[str, Any], words: bool) -> Iterator[Difference]:
    """At most one for each rule, and one for the response where `words` are compared as well."""
    if "failed" in before or "failed" in now:
        if before != now:
            yield Difference(name, "", "answer", before.get("failed", "answered"), now.get("failed", "answered"))
        return
    for place in sorted(before["rules"].keys() | now["rules"].keys()):
        one, other = before["rules"].get(place, {}), now["rules"].get(place, {})
        for kind in (*KINDS, WORDS) if words else KINDS:
            if one.get(kind) != other.get(kind):
                yield Difference(name, place, kind, one.get(kind), other.get(kind))
                break
    if words and before["response"] != now["response"]:
        yield Difference(name, "", "response", before["response"], now["response"])


def is_as_now(answer: Mapping[str, Any] | None, difference: Difference) -> bool:
    """Whether another answer to the same request has what stands there now."""
    if answer is None:
        return False
    if "failed" in answer or not difference.place:
        return difference.now == answer.get(
            "failed", answer.get("response") if difference.kind == "response" else "answered"
        )
    return bool(answer["rules"].get(difference.place, {}).get(difference.kind) == difference.now)


def briefly(difference: Difference) -> str:
    """The change in a few words: the verdicts, or the kinds of what is offered."""
    if difference.kind == "offers":
        kinds = [
            " + ".join(each[0] for each in offers or ()) or "nothing"
            for offers in (difference.before, difference.now)
        ]
        return f"offers {kinds[0]} → {kinds[1]}" if kinds[0] != kinds[1] else f"offers other numbers ({kinds[0]})"
    if difference.kind == "verdict":
        return " → ".join(_verdict(each) for each in (difference.before, difference.now))
    if difference.kind == "answer":
        return f"answer {difference.before} → {difference.now}"
    return difference.kind


def _verdict(verdict: list[str | None] | None) -> str:
    if verdict is None:
        return "not judged"
    status, severity, tier = verdict
    return f"{severity} ({tier})" if status == "fired" else str(status)
