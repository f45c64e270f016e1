"""No call holds up others for long: between two places at which it gives way it works for some milliseconds at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest

from cds_service import bounds, collector
from cds_service.deadline import give_way, giving_way, in_stretches
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web import overload
from tests import hostile
from tests.bounded import asked_with
from tests.hooks.client import client

MOST_MILLISECONDS = 12
"""Of a processor. What one call of a decoder takes for some megabytes, and the end of a call, at which all that it read
is let go, cannot be cut."""
ROUNDS = 6
"""Of which the least counts, stretch by stretch: a machine that is busy makes some long, and none too short."""
BODIES: Mapping[str, bytes] = hostile.bodies(asked_with())
