"""`make burden`: how often ordinary, right orders get cards, and how often these interrupt, as a table.

`--each` also names each order that is interrupted, and the rules that interrupt it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from cds_service.cards.model import EXTENSION, Card
from cds_service.knowledge import Knowledge, load
from tests.burden.orders import CLIENTS, of_client, ordinary
from tests.scenarios.judged import judge

Answers = Mapping[str, Sequence[Card]]
"""Name of an order -> its cards."""


@dataclass(frozen=True, slots=True)
class Burden:
    """What the orders of one client get. Counts are of orders."""

    orders: int
    without_card: int
    interrupted: int
    critical: int
    unchecked: int
    unchecked_interrupts: int
    cards: float
    """For each order."""
    words: tuple[int, int]
    """Of a card's detail: median and most."""

    @property
    def share(self) -> float:
        """The part of the orders that is interrupted."""
        return self.interrupted / self.orders


def answers(client: str, knowledge: Knowledge) -> Answers:
    return {name: judge(of_client(each, client), knowledge).response.cards for name, each in ordinary()}


def burden(cards_of: Answers) -> Burden:
    cards = [card for each in cards_of.values() for card in each]
    words = [words_of(card) for card in cards] or [0]
    return Burden(
        orders=len(cards_of),
        without_card=sum(not each for each in cards_of.values()),
        interrupted=sum(any(map(interrupts, each)) for each in cards_of.values()),
        critical=sum(any(card.indicator == "critical" for card in each) for each in cards_of.values()),
        unchecked=sum(any(_unchecked(card) for card in each) for each in cards_of.values()),
        unchecked_interrupts=sum(
            any(_unchecked(card) and interrupts(card) for card in each) for each in cards_of.values()
        ),
        cards=len(cards) / len(cards_of),
        words=(round(median(words)), max(words)),
    )


def interrupts(card: Card) -> bool:
    return card.indicator != "info"


def words_of(card: Card) -> int:
    """The words of a card's detail."""
    return len((card.detail or "").split())


def _unchecked(card: Card) -> bool:
    return card.source.topic is not None and card.source.topic.code == "could-not-check"


def blame(cards_of: Answers) -> Counter[str]:
    """Rule -> the orders that it interrupts; a card that stands for several rules blames those of its severity."""
    rules: Counter[str] = Counter()
    for each in cards_of.values():
        rules.update({rule for card in each if interrupts(card) for rule in _rules(card)})
    return rules


def _rules(card: Card) -> Iterable[str]:
    rules = [r["id"] for r in (card.extension or {})[EXTENSION]["rules"] if r["severity"] != "info"]
    return rules or ["could-not-check"]


def main(each: bool = False) -> None:
    knowledge = load()
    print(
        "| what the client sends | orders | no card | interrupted | of these critical | could not check (interrupts)"
        " | cards an order | words a card, median (most) |"
    )
    print("|---|---|---|---|---|---|---|---|")
    blamed = {}
    for client in CLIENTS:
        cards_of = answers(client, knowledge)
        b, blamed[client] = burden(cards_of), blame(cards_of)
        print(
            f"| {client} | {b.orders} | {b.without_card} | {b.interrupted} ({b.share:.0%}) | {b.critical} "
            f"| {b.unchecked} ({b.unchecked_interrupts}) | {b.cards:.2f} | {b.words[0]} ({b.words[1]}) |"
        )
        if each:
            for name, cards in cards_of.items():
                if interrupting := [card.summary for card in cards if interrupts(card)]:
                    print(f"    {name}: {' | '.join(interrupting)}")
    for client, rules in blamed.items():
        print(f"{client}: " + (", ".join(f"{rule} {count}" for rule, count in rules.most_common()) or "nothing"))


if __name__ == "__main__":
    main("--each" in sys.argv[1:])
