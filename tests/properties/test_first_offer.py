"""The first offer of any response, taken: no warning about the dose is left, and no dose and no maximum is higher.

The suite tries some orders, `make offers` ten thousand. Every scenario is tried too (tests/scenarios).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cds_service.advise import Advice, advice
from cds_service.fhir.source import NoSource
from tests.properties.asking import knowledge, parsed
from tests.properties.counts import examples
from tests.properties.drafts import Asked, orders_as_they_may_come
from tests.scenarios import first_offer
from tests.scenarios.build import NOW

_RATES = ["0.05 mg/kg/h", "0.2 mg/kg/h", "0.4 mg/kg/h", "20 mg/h", "60 mg/h"]


@st.composite
def _charts(draw: st.DrawFn) -> dict[str, Any]:
    """What may bind a dose beside its own rules: the liver, harm that an infusion did, and one that runs."""
    chart: dict[str, Any] = {}
    if draw(st.booleans()):
        chart["problems"] = ["19943007 Cirrhosis of liver"]
    if draw(st.booleans()):
        ended = draw(st.sampled_from(["30 minutes ago", "2 hours ago", "4 hours ago"]))
        rate = draw(st.sampled_from(_RATES))
        chart["given"] = [{"status": "stopped", "rate": rate, "when": "12 hours ago", "ended": ended}]
        chart["symptoms"] = [f"dizziness, {ended}"]
    elif draw(st.booleans()):
        chart["running"] = {"rate": draw(st.sampled_from(_RATES)), "order": draw(st.sampled_from(["o1", "other"]))}
        chart["symptoms"] = draw(st.sampled_from([[], ["dizziness"], ["hallucinations"]]))
    return chart


def _ask(request: Mapping[str, Any]) -> Advice:
    return advice(parsed(request), request["hook"] == "order-sign", knowledge(), NoSource(), NOW)


@examples(300)
@given(asked=orders_as_they_may_come(), chart=_charts())
def test_the_first_offer_leaves_no_warning_of_the_dose_and_raises_nothing(
    asked: Asked, chart: dict[str, Any]
) -> None:
    request = Asked(asked.orders, {**asked.patient, **chart}, asked.hook).request()
    assert first_offer.faults(request, _ask(request), _ask) == []
