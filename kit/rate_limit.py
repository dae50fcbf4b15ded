"""Hold whoever receives to so many bytes per second, over all its connections."""

from __future__ import annotations

import asyncio

from kit.clock import Clock

BURST_S = 0.25
"""What may come at once after a pause; short, so that a limit is one on any scale people see."""


class RateLimit:
    """Makes receivers wait in turn. Belongs to one event loop."""

    def __init__(self, bytes_per_s: int, clock: Clock) -> None:
        """Let ``bytes_per_s`` pass, or everything if that is 0."""
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._paid_until = float("-inf")

    async def take(self, size: int) -> None:
        """Return once ``size`` bytes more are within the limit."""
        if self._bytes_per_s:
            delay_s = self.delay_s(size)
            if delay_s > 0:
                await asyncio.sleep(delay_s)

    def delay_s(self, size: int) -> float:
        """Count ``size`` bytes and return how long to wait because of them, in seconds."""
        now = self._clock.monotonic()
        self._paid_until = max(self._paid_until, now - BURST_S) + size / self._bytes_per_s
        return self._paid_until - now
