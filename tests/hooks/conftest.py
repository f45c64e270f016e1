"""What the tests of the wire share."""

import pytest

from cds_service.knowledge import Knowledge
from tests.hooks.client import Service


@pytest.fixture(scope="module")
def service(knowledge: Knowledge) -> Service:
    return Service(knowledge)
