"""The twelve FHIRPath invariants of CDS Hooks (HL7/cds-hooks, input/fsh/invariants), in words of our own.

Nine of requests and responses, three of feedback; each holds where its expression gives true, or nothing to judge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import fhirpathpy

REQUEST = {
    "cds-r-1": "fhirAuthorization.exists() implies fhirServer.exists()",
    "cds-r-2": "fhirAuthorization.where(scope.contains('patient/')).all(patient.exists())",
}
RESPONSE = {
    "cds-resp-1": "cards.where(selectionBehavior = 'at-most-one')"
    ".all(suggestions.where(isRecommended = true).count() < 2)",
    "cds-resp-2": "cards.suggestions.actions.where(type = 'delete').all(resourceId.exists() and resource.empty())",
    "cds-resp-3": "cards.links.where(type != 'smart').all(appContext.empty())",
    "cds-resp-4": "cards.overrideReasons.all(display.exists())",
    "cds-resp-5": "cards.suggestions.actions.all(description.exists())",
    "cds-resp-6": "cards.where(suggestions.exists()).all(selectionBehavior.exists())",
    "cds-resp-7": "cards.suggestions.where(actionSelectionBehavior.exists())"
    ".all(actionSelectionBehavior in ('all' | 'any' | 'at-most-one'))",
}
FEEDBACK = {
    "cds-fb-1": "feedback.all(outcome in ('accepted' | 'overridden'))",
    "cds-fb-2": "feedback.where(outcome = 'accepted').all(acceptedSuggestions.exists())",
    "cds-fb-3": "feedback.overrideReason.all(reason.exists() or userComment.exists())",
}
VIOLATIONS: Mapping[str, Any] = {
    # For each, the smallest element that breaks it: a card, or the whole of a request or of a feedback.
    "cds-r-1": {"fhirAuthorization": {"access_token": "t"}},
    "cds-r-2": {"fhirServer": "https://x.org", "fhirAuthorization": {"scope": "patient/Observation.read"}},
    "cds-resp-1": {"selectionBehavior": "at-most-one", "suggestions": [{"isRecommended": True}] * 2},
    "cds-resp-2": {"suggestions": [{"actions": [{"type": "delete", "resource": {"resourceType": "Basic"}}]}]},
    "cds-resp-3": {"links": [{"type": "absolute", "appContext": "x"}]},
    "cds-resp-4": {"overrideReasons": [{"system": "s", "code": "c"}]},
    "cds-resp-5": {"suggestions": [{"actions": [{"type": "create"}]}]},
    "cds-resp-6": {"suggestions": [{"label": "a"}]},
    "cds-resp-7": {"suggestions": [{"actionSelectionBehavior": "some"}]},
    "cds-fb-1": {"feedback": [{"outcome": "ignored"}]},
    "cds-fb-2": {"feedback": [{"outcome": "accepted"}]},
    "cds-fb-3": {"feedback": [{"outcome": "overridden", "overrideReason": {"other": 1}}]},
}
_COMPILED: dict[str, Callable[[Any], list[Any]]] = {
    key: fhirpathpy.compile(path) for key, path in {**REQUEST, **RESPONSE, **FEEDBACK}.items()
}


def broken(value: Any, invariants: Mapping[str, str]) -> list[str]:
    """Those of `invariants` that do not hold of a request, a response or a feedback."""
    return [key for key in invariants if _COMPILED[key](value) not in ([True], [])]


def plain(value: Any) -> Any:
    """JSON values only: the FHIRPath engine knows no exact decimals."""
    return json.loads(json.dumps(value, default=float))
