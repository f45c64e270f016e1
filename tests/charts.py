"""The charts of the thirteen synthetic patients in tests/sandbox_patients, each a transaction Bundle of FHIR R4."""

import gzip
from pathlib import Path

FOLDER = Path(__file__).with_name("sandbox_patients")


def files() -> list[Path]:
    """FIRST_LAST_ID.json.gz, in the order of their names."""
    return sorted(FOLDER.glob("*.json.gz"))


def label(file: Path) -> str:
    """First and last name, joined by an underscore."""
    return file.name.removesuffix(".json.gz").rpartition("_")[0]


def read(file: Path) -> bytes:
    """The Bundle as it was published, as JSON."""
    return gzip.decompress(file.read_bytes())
