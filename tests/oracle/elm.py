"""`make elm`: the published protocol with ELM beside its CQL, by the reference translator."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from cds_service.commands import publish
from cds_service.protocol.cql import Library
from tests.oracle import engines


def main(folder: Path, overlay: str | None = None, day: date | None = None) -> int:
    """0: written; 3: the translator cannot run here, as a sentence says."""
    if reason := engines.why_no_translator():
        print(f"No ELM is written: {reason}.", file=sys.stderr)
        return 3
    return publish.run(folder, overlay, day, translated)


def translated(libraries: Sequence[Library]) -> Mapping[str, bytes]:
    """Library -> its ELM as JSON; FHIRHelpers among them, which all include. Raises OracleError."""
    return {file.stem: file.read_bytes() for file in sorted(engines.translate(libraries).iterdir())}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
