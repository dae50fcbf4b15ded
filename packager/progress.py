"""How far a push has come: what a display needs, and nothing of displays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PushProgress:
    """A moment of a push; sizes in bytes."""

    done_size: int
    """Of the build: read and packed, or known to be in storage."""
    total_size: int
    uploaded_size: int
    path: str
    """The file being worked on, relative to the build."""


class ProgressDisplay(Protocol):
    """Whoever shows it."""

    def show(self, progress: PushProgress) -> None:
        """Take in a moment. Called on the event loop, some ten times a second: be quick."""


class Unseen:
    """Shows nothing."""

    def show(self, progress: PushProgress) -> None:
        """Do nothing."""
