"""What the tests of terminology share."""

import pytest

from cds_service.terminology import valuesets
from cds_service.terminology.valuesets import ValueSets


@pytest.fixture(scope="package")
def sets() -> ValueSets:
    """The shipped value sets, without a site's."""
    return valuesets.load()
