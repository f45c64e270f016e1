"""How many examples a property is tried on."""

import os

from hypothesis import settings

MORE = int(os.environ.get("KETAMINE_TEST_PROPERTY_EXAMPLES", "0"))
"""At least so many for every property: a normal run is short, a night is long."""


def examples(usual: int) -> settings:
    """`usual` many, or KETAMINE_TEST_PROPERTY_EXAMPLES where that is more."""
    return settings(max_examples=max(usual, MORE))
