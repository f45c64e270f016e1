"""What the sections of the console share: what is loaded, the clock, and where each stands in the menu."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings


@dataclass(frozen=True)
class Section:
    """An entry of the menu; it is the present one on every page below its path."""

    title: str
    path: str

    def holds(self, path: str) -> bool:
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))


@dataclass(frozen=True)
class Console:
    """One for each application; every `register(app, console)` of a section gets it."""

    settings: Settings
    knowledge: Knowledge
    clock: Callable[[], datetime]
    """The door's clock, with a zone."""
    sections: list[Section] = field(default_factory=list)

    def add(self, title: str, path: str) -> None:
        """Put a section into the menu, after those that are there."""
        self.sections.append(Section(title, path))
