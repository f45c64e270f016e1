"""A text is looked through piece by piece, and nothing that stands at the edge of a piece is missed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.orders import text, unread, windows

PIECES = [
    "mg", "mg/kg", "mg/kg/h", "mL", "milligrammes per kilogramme", "x", "×", "2", "5", "10", "1/2", "½", "half", "an",
    "two hundred", "and", "fünfundzwanzig", "vials", "ampoule", "in", "over", "min", "h", "-", ",", ".", ";", "(s)",
    "mg{x 5}",
]  # fmt: skip
PATTERNS = (text.AMOUNT, text._IN, unread._AMOUNT, unread._REVERSED, unread._CONTAINERS, unread._MANY_TIMES)
TEXTS = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(["", " "])), max_size=40)


@given(TEXTS, st.integers(1, 60))
def test_the_same_is_found_as_in_one_go(pieces: list[tuple[str, str]], window: int) -> None:
    written = "".join(part for piece in pieces for part in piece)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_WINDOW", window)
        for pattern in PATTERNS:
            found = [each.span() for each in windows.matches(pattern, written)]
            assert found == [each.span() for each in pattern.finditer(written)]
