"""What becomes of a disk that fails: it is counted each time, and logged once in a while."""

from __future__ import annotations

from kit.clock import Clock
from kit.telemetry import get_logger

log = get_logger("edge.store")

REST_S = 5.0
"""After the disk refused a write nothing is written for so long: blobs dropped to make room for
what cannot be written either would be lost for nothing."""
SAY_EVERY_S = 30.0
"""A disk that fails is logged so often at most; each blob that is not kept is counted."""


class DiskFaults:
    """Remembers that the disk failed. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rest_until = float("-inf")
        self._silent_until = float("-inf")

    @property
    def is_resting(self) -> bool:
        """Whether nothing is written for now."""
        return self._clock.monotonic() < self._rest_until

    def refused(self, error: Exception) -> None:
        """Note that a write failed."""
        self.say("cache.write_failed", error)
        self._rest_until = self._clock.monotonic() + REST_S

    def say(self, event: str, error: Exception) -> None:
        """Log ``event``, unless something was logged a moment ago."""
        now = self._clock.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + SAY_EVERY_S
            log.warning(event, error=str(error), silent_for_s=SAY_EVERY_S)
