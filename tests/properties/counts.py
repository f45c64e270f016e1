"""How many examples a property is tried on."""

import os

from hypothesis import settings

LEAST = int(os.environ.get("KETAMINE_TEST_PROPERTY_EXAMPLES", "0"))
"""At least so many for every property: a normal run is short, a night is long."""
MOST = int(os.environ.get("KETAMINE_TEST_MOST_EXAMPLES", "1000000000"))
"""At most so many: `make quick` tries a few."""


def examples(usual: int) -> settings:
    """`usual` many, within what the environment asks for."""
    return settings(max_examples=min(max(usual, LEAST), MOST))
