"""Where the files lie that a pharmacist owns: `cards/`, beside this package in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

CARDS = Path(__file__).resolve().parent.parent / "cards"
COMMON = CARDS / "common"
"""What all drugs share: words, value sets, vocabularies, facts."""
KETAMINE = CARDS / "ketamine"
"""The shipped protocol."""
