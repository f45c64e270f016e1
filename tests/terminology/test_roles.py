"""The value sets by which charts and orders are read are data: one for each role, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.folders import COMMON
from cds_service.terminology import roles, valuesets
from cds_service.terminology.roles import RoleError
from cds_service.terminology.valueset import ValueSetError

SHIPPED = (COMMON / "roles.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("height:", "heigth:", "unknown field `heigth`"),
        ("diluent: rx_diluents", "", "missing required field `diluent`"),
        ("diluent: rx_diluents", "diluent: [", "cannot be read"),
    ],
)
def test_a_role_missing_or_unknown_stops_the_start(before: str, after: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "roles.yaml").write_text(SHIPPED.replace(before, after))
    with pytest.raises(RoleError, match=says):
        roles.read(tmp_path / "roles.yaml")


def test_a_role_without_its_value_set_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("valuesets", "vocabularies"):
        (tmp_path / part).symlink_to(COMMON / part)
    (tmp_path / "roles.yaml").write_text(SHIPPED.replace("rx_diluents", "rx_dilutents"))
    monkeypatch.setattr(valuesets, "COMMON", tmp_path)
    with pytest.raises(ValueSetError, match="no value set rx_dilutents; did you mean rx_diluents"):
        valuesets.load()
