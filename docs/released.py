"""Writes cards/ketamine/released.yaml, which tells what changed since: `python -m docs.released VERSION`."""

from __future__ import annotations

import sys
from datetime import date

from cds_service.folders import KETAMINE
from cds_service.knowledge import load
from cds_service.sign_off import release


def main() -> None:
    (KETAMINE / "released.yaml").write_text(release(load().protocol, sys.argv[1], date.today()), "utf-8")


if __name__ == "__main__":
    main()
