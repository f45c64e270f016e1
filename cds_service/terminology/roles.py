"""The value sets by which charts and orders are read, each by what it is taken for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from cds_service.errors import UNREADABLE, ConfigurationError


class RoleError(ConfigurationError):
    """The file of roles cannot be used; the service does not start with it."""


class Roles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Role -> value set, or set/group."""

    weight_measured: str
    weight_stated: str
    weight_estimated: str
    height: str
    nothing_known: str
    no_allergy: str
    answer_yes: str
    answer_no: str
    answer_how_bad: str
    above_reference: str
    diluent: str
    push_by_method: str
    push_by_route: str
    override_reasons: str
    kept: Mapping[str, str] = {}
    """Sets that nothing names -> what each is kept for."""

    def named(self) -> dict[str, str]:
        """Role -> value set."""
        return {name: each for name, each in msgspec.structs.asdict(self).items() if isinstance(each, str)}


NO_ROLES = msgspec.convert({field.name: "" for field in msgspec.structs.fields(Roles) if field.required}, Roles)
"""No set stands for any: a chart is read with codes alone that no set holds."""


def read(file: Path) -> Roles:
    """Raises RoleError."""
    try:
        return msgspec.yaml.decode(file.read_bytes(), type=Roles)
    except (msgspec.MsgspecError, OSError, *UNREADABLE) as error:
        raise RoleError(f"{file.name} cannot be read: {' '.join(str(error).split())}") from error
