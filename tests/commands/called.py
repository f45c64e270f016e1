"""The command line as a user calls it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from cds_service import knowledge
from tests.hooks.client import encoded
from tests.scenarios.build import hook_request

BAD_INPUT = 3
loaded_once = functools.cache(knowledge.load)


def request_file(folder: Path, scenario: dict[str, Any], **other: Any) -> Path:
    path = folder / "request.json"
    path.write_bytes(encoded(hook_request(scenario) | other))
    return path
