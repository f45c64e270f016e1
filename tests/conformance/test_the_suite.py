"""The suite itself: pointed at a URL it finds what is wrong there, so that what passes means something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from jwt.algorithms import ECAlgorithm

from docs import conformance
from tests.conformance.conftest import REPORT, URL
from tests.conformance.signing import KEY
from tests.conformance.wrong import absent, served, trusting, wrong

MET_BY_ANYTHING = {
    # Freedoms of a service; tests of others would see what is wrong with the use of them.
    "11", "12", "14", "28", "35", "60", "76", "82", "84", "94", "99", "104", "106", "140", "145", "148", "210", "220",
    "120", "122", "113", *(row.id for row in conformance.requirements() if row.id.startswith("library-")),
}  # fmt: skip
OF_TOKENS = {"176", "177", "195", "199", "200", "201", "203", "205"}
NEEDS_OUR_SERVER = {"34", "61"}
"""A service elsewhere may not be allowed to ask the suite's FHIR server, which is then skipped."""


def _failed(app: Flask, folder: Path, **environment: str) -> set[str]:
    """The requirements of which a test failed by itself, not because there was nothing to look at."""
    report = folder / "report.jsonl"
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("KETAMINE_TEST_CONF", "PYTEST"))
    }
    with served(app) as base:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        subprocess.run(
            command + [str(Path(__file__).parent / name) for name in conformance.PARTS],
            cwd=conformance.ROOT,
            env=plain | {URL: base, REPORT: str(report)} | environment,
            capture_output=True,
            timeout=300,
        )
    ended: dict[str, set[str]] = defaultdict(set)
    for line in map(json.loads, report.read_text("utf-8").splitlines()):
        for each in line["requirements"]:
            ended[each].add(f"{line['outcome']} in {line['when']}")
    return {each for each, outcomes in ended.items() if "failed in call" in outcomes}


def test_what_is_wrong_is_found_at_any_url(tmp_path: Path) -> None:
    """Each requirement with a test, but for freedoms, is seen to be broken by one of two services that break it."""
    found = set()
    for app in (wrong(), absent()):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        found |= _failed(app, folder)
    tested = {row.id for row in conformance.requirements() if not row.why_not}
    assert tested - found - MET_BY_ANYTHING - OF_TOKENS - NEEDS_OUR_SERVER == set()


def test_a_service_that_believes_any_token_is_found(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    written = {**ECAlgorithm.to_jwk(key, as_dict=True), "kid": "k", "alg": "ES384"}
    (tmp_path / "key.json").write_text(json.dumps(written), "utf-8")
    found = _failed(trusting(), tmp_path, **{KEY: str(tmp_path / "key.json")})
    assert found >= OF_TOKENS - {"199", "205"}, "what accepts any token accepts the right ones too"


@pytest.mark.parametrize("change", [{"why_not": "a reason"}, {"id": "1000"}])
def test_a_requirement_needs_a_test_or_a_reason_and_not_both(change: dict[str, str]) -> None:
    row = conformance.Requirement(
        **{"id": "4", "level": "SHALL", "binds": "service", "says": "x", "why_not": ""} | change
    )
    with pytest.raises(conformance.Untested):
        list(conformance._lines([row], {"4": [conformance.Ended("t", "passed", "")]}))


def test_where_nobody_answers_the_run_ends_with_one_sentence() -> None:
    url = "http://127.0.0.1:1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, str(Path(__file__).parent / "test_discovery.py")],
        cwd=conformance.ROOT,
        env=dict(os.environ) | {URL: url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert f"nothing answers at {url} (ConnectionError): is the service started, and the URL right?" in done.stdout
    assert "ERROR" not in done.stdout


def test_each_change_of_version_3_is_done_or_says_why_not_and_names_a_test_that_exists() -> None:
    for row in conformance.version_3():
        assert row.here in ("done", "not used", "not ours"), row.change
        assert row.how, row.change
        file, _, name = row.test.partition("::")
        assert row.test == "" or f"def {name}(" in (conformance.ROOT / file).read_text("utf-8"), row.test
        assert row.test or row.here == "not ours", row.change
