"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from cds_service.knowledge import Knowledge, load
from cds_service.settings import Settings
from tests import charts
from tests.conformance.watch import watching
from tests.promise import watching as watching_the_promise
from tests.quiet_logs import looked_through
from tests.sandbox.figures import (  # noqa: F401 - hooks
    pytest_addoption,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

# A machine that is busy with something else makes no property false. The same examples every time, so that a change
# is judged by its own faults; KETAMINE_TEST_PROPERTY_EXAMPLES asks for many and for new ones.
searching = "KETAMINE_TEST_PROPERTY_EXAMPLES" in os.environ
settings.register_profile("ketamine-cds", deadline=None, derandomize=not searching, print_blob=searching)
settings.load_profile("ketamine-cds")


@pytest.fixture(scope="session")
def knowledge() -> Knowledge:
    """Protocol, codes and words, loaded once."""
    return load()


@pytest.fixture(scope="session", autouse=True)
def _invariants_of_every_response() -> Iterator[None]:
    with watching():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_answer_without_a_card_is_silent() -> Iterator[None]:
    with watching_the_promise() as watch:
        yield
    assert watch.broken == []
    assert watch.keys == []


@pytest.fixture(scope="session", autouse=True)
def _no_answer_is_late() -> Iterator[None]:
    """A busy machine makes no answer wrong: a test has a deadline only where it sets another than the default."""
    default, seconds = Settings().answer_deadline_ms, Settings.answer_seconds.fget
    given = property(lambda self: None if self.answer_deadline_ms == default else seconds(self))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settings, "answer_seconds", given)
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_a_patient_in_any_log() -> Iterator[None]:
    """Over the whole suite; the names are those of the sandbox patients."""
    names = {name for file in charts.files() for name in charts.label(file).split("_") if len(name) > 3}
    with looked_through(names):
        yield
