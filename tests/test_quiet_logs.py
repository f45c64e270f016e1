"""The look through the suite's logs would see what must not stand there."""

from __future__ import annotations

import logging

import pytest

from tests.quiet_logs import looked_through


@pytest.mark.parametrize(
    "said",
    ["asked Patient/p1", "GET /Observation?patient=p1", "token eyJhbGciOiJFUzM4NCJ9.e30", "Bearer a", "Kuhlman came"],
)
def test_what_tells_of_a_patient_is_seen(said: str) -> None:
    logger = logging.getLogger("somebody")
    logger.propagate = False  # the look through this suite's own logs would see it too
    with pytest.raises(AssertionError, match="somebody"), looked_through({"Kuhlman"}, ["somebody"]):
        logger.error(said)


def test_what_does_not_is_let_pass() -> None:
    with looked_through({"Kuhlman"}):
        logging.getLogger("ketamine_cds").error("the check failed: KeyError at rules/judge.py:12")
