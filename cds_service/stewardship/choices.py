"""What a site may choose of the stewardship pages: the figures of choices.toml with their reasons."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import msgspec


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure, its unit, and why it is this one."""

    value: float
    unit: str
    why: str


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of them; days and counts are whole numbers, shares lie between 0 and 1."""

    confidence: Figure
    """Of the intervals."""
    few_answers: Figure
    """Below so many answered cards a rate is shown as one of few."""
    overridden_above: Figure
    """A rule that is overridden more often is marked …"""
    overridden_days: Figure
    """… over so many days."""
    recent_days: Figure
    """The last days, which are compared …"""
    before_days: Figure
    """… with so many days before them."""
    changed_by: Figure
    """A rate that is so many times the one before, or so many times less, is marked …"""
    chance_at_most: Figure
    """… where chance alone would do that no more often."""


@cache
def choices() -> Choices:
    """The shipped figures."""
    text = resources.files(__package__).joinpath("choices.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Choices, strict=False)
