"""A fact that several rules name is looked for once in a case, and once for all orders if it is of the patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import pytest

from cds_service.knowledge import Knowledge
from cds_service.protocol import model
from cds_service.protocol.references import clauses_of
from cds_service.rules.case import Case
from cds_service.rules.clauses import verdict
from cds_service.rules.judged import judged
from tests.rules.build import cases

ILL = {
    "blood pressure": "190/110",
    "problems": ["2776000 Delirium", "58214004 Schizophrenia"],
    "medicines": [{"drug": "7052 morphine"}],
}


def evaluations(monkeypatch: pytest.MonkeyPatch, judging: list[Case]) -> Counter[tuple[bytes, int]]:
    """How often each clause was evaluated, by what it says and by the order; 0 for what is of the patient."""
    seen: Counter[tuple[bytes, int]] = Counter()
    numbers: dict[str, int] = {}

    def counted(way: verdict.Evaluation) -> verdict.Evaluation:
        def evaluated(clause: Any, case: Case, since: datetime | None) -> verdict.Verdict:
            shared = clause.__dict__.get(verdict._SHARED)
            if since is None and shared is not None:
                number = numbers.setdefault(case.order.reference, len(numbers) + 1)
                seen[msgspec.json.encode(clause), 0 if shared.of_patient else number] += 1
            return way(clause, case, since)

        return evaluated

    monkeypatch.setattr(verdict, "_WAYS", {kind: counted(way) for kind, way in verdict._WAYS.items()})
    for case in judging:
        judged(case)
    return seen


def test_what_is_shared_is_evaluated_once(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = [{"id": "a", "rate": "0.2 mg/kg/h"}, {"id": "b", "rate": "0.3 mg/kg/h"}]
    found = cases({"patient": ILL, "orders": orders}, knowledge)
    memory: dict[Any, Any] = {}
    again = [replace(each, _of_patient=memory) for each in found]
    seen = evaluations(monkeypatch, again)
    assert len(again) == 2
    assert len(seen) > 20
    assert set(seen.values()) == {1}


def test_only_what_says_the_same_is_shared(knowledge: Knowledge) -> None:
    by_mark: dict[Any, set[bytes]] = {}
    for clause in clauses_of(knowledge.protocol):
        mark = clause.__dict__.get(verdict._SHARED)
        if mark is not None:
            by_mark.setdefault(mark, set()).add(msgspec.json.encode(clause))
    assert len(by_mark) > 50
    assert {len(said) for said in by_mark.values()} == {1}
    of_order = [m for m, said in by_mark.items() if not m.of_patient for each in said if b'"order"' in each]
    assert of_order
    assert not any(isinstance(c, model.AmountIs) and c.__dict__[verdict._SHARED].of_patient
                   for c in clauses_of(knowledge.protocol) if verdict._SHARED in c.__dict__)  # fmt: skip
