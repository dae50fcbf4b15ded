"""How often somebody may try: a count by name within a window of time. Pure."""

from __future__ import annotations

from collections import OrderedDict

from kit.clock import Clock
from kit.errors import Unavailable

NAMES_MAX = 10_000
"""Addresses remembered, the last used: 1 MB. Whoever has more has a network, and codes are long."""


class TooMany(Unavailable):
    """Somebody tried too often; later it may try again."""

    code = "too-many"
    status = 429


class Attempts:
    """Counts attempts by name; ``limit`` of them within ``window_s`` seconds are let through."""

    def __init__(self, limit: int, window_s: float, clock: Clock) -> None:
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When a name's window began, and how many attempts it has had in it."""

    def check(self, name: str, what: str) -> None:
        """Do nothing if ``name`` has attempts left.

        Raises:
            TooMany: It has none; the message says what it tried and how long to wait.
        """
        began_s, count = self._current(name)
        if count >= self._limit:
            left_s = began_s + self._window_s - self._clock.monotonic()
            raise TooMany(f"too many {what} from {name}: try again in {max(1, round(left_s))} s")

    def count(self, name: str) -> None:
        """Count an attempt."""
        began_s, count = self._current(name)
        self._counts[name] = (began_s, count + 1)
        self._counts.move_to_end(name)
        while len(self._counts) > NAMES_MAX:
            self._counts.popitem(last=False)

    def _current(self, name: str) -> tuple[float, int]:
        now_s = self._clock.monotonic()
        began_s, count = self._counts.get(name, (now_s, 0))
        return (now_s, 0) if now_s - began_s >= self._window_s else (began_s, count)
