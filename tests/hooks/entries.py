"""Files of clients as an operator writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web import tenants
from cds_service.web.tenants import Tenants
from tests.scenarios.build import NOW

OPEN: dict[str, Any] = {"id": "open"}


def written(folder: Path, *entries: Any) -> Path:
    path = folder / "clients.yaml"
    path.write_text(json.dumps({"clients": entries}), "utf-8")
    return path


def loaded(folder: Path, knowledge: Knowledge, *entries: Any, **settings: Any) -> Tenants:
    made = Settings(
        **{
            "clients": str(written(folder, *entries)),
            "auth": "required",
            "state_dir": str(folder / "state"),
            **settings,
        }
    )
    return tenants.load(made, knowledge, lambda: NOW)
