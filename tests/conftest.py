"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from cds_service.advise import Knowledge, load

# A machine that is busy with something else makes no property false.
settings.register_profile("ketamine-cds", deadline=None)
settings.load_profile("ketamine-cds")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the research material and sandbox patients, which is not part of this repository."""
    folder = Path(os.environ.get("KETAMINE_TEST_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; point KETAMINE_TEST_SHARED at the folder with the research material")
    return folder


@pytest.fixture(scope="session")
def knowledge() -> Knowledge:
    """Protocol, codes and words, loaded once."""
    return load()
