"""Time as an argument, so that a test can hold it still."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the product may know of time."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Return seconds from a fixed unknown moment; it never goes back."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds from a fixed unknown moment."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return the same as :meth:`now`: in a test there is one time."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move time forward; time never goes back."""
        assert seconds >= 0
        self._now += seconds
