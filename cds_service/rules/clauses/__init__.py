"""Clauses of the protocol over one case, in three values: it holds, it does not, or it cannot be told and why."""

from cds_service.rules.clauses import amounts, measured, medicines, ordered, recorded
from cds_service.rules.clauses.verdict import QUESTION, SETTING, Verdict, evaluate

__all__ = [
    "QUESTION",
    "SETTING",
    "Verdict",
    "amounts",
    "evaluate",
    "measured",
    "medicines",
    "ordered",
    "recorded",
]
