"""A peer: HealthChain's CDS Hooks service with one card that is always the same, in an environment of its own.

It reads the request by its models, and judges nothing: what it takes is what such a framework costs.
"""

from __future__ import annotations

from healthchain.gateway import CDSHooksService, HealthChainAPI
from healthchain.models import CDSRequest, CDSResponse
from healthchain.models.responses.cdsresponse import Card, Source

_CARDS = CDSResponse(cards=[Card(summary="A card", indicator="info", source=Source(label="HealthChain"))])
_service = CDSHooksService()


@_service.hook("order-sign", id="one-card")  # type: ignore[untyped-decorator]  # typed where it is installed
def one_card(request: CDSRequest) -> CDSResponse:
    return _CARDS


app = HealthChainAPI()
app.register_service(_service)
