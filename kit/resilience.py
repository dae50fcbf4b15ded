"""What keeps a struggling dependency from being finished off by its callers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum


class RetryBudget:
    """Decides whether one more retry is affordable: retries are a share of the calls offered.

    A limit per call alone multiplies load by that limit just when a dependency is down. Here
    each call offered earns ``ratio`` of a retry and each retry spends one, so that over any
    stretch ``attempts <= (1 + ratio) * offered + reserve``, however the calls go.

    Belongs to one event loop; not for threads.

    Source: Finagle's ``RetryBudget``; gRFC A6, "Throttling Retry Attempts".
    """

    def __init__(self, *, ratio: float = 0.2, reserve: int = 10) -> None:
        """Start full: ``reserve`` retries, which is also the most that can be saved up."""
        assert ratio >= 0
        assert reserve >= 0
        self._ratio = ratio
        self._reserve = float(reserve)
        self._saved = self._reserve

    def offer(self) -> None:
        """Count one call, before its first attempt."""
        self._saved = min(self._reserve, self._saved + self._ratio)

    def spend(self) -> bool:
        """Take one retry; return whether there was one to take."""
        # Ten times 0.1 is a hair under 1 in floating point, and is meant to be one retry.
        if self._saved < 1 - 1e-9:
            return False
        self._saved = max(0.0, self._saved - 1)
        return True


class BreakerState(Enum):
    """What a breaker lets through."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """Nothing."""
    HALF_OPEN = "half-open"
    """One call at a time: a trial."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave to make one call; give it back to the breaker with how the call ended."""

    period: int
    """Which of the breaker's states it was given in: what ended since says nothing of now."""


class Breaker:
    """Keeps calls from a dependency that fails them, and finds out whether it is well again.

    *Closed* until ``failures_max`` calls fail in a row, or half of the last ``window`` do. Then
    *open* for a while, twice as long each time a trial fails, up to ``open_s_max``. Then
    *half-open*: one call may try; if it is good the breaker closes, or else it opens again.

    Time is on the monotonic clock, in seconds, and never goes back. Belongs to one event loop.

    Source: Nygard, "Release It!", 2nd edition, section 5.2.
    """

    def __init__(
        self,
        *,
        failures_max: int = 5,
        window: int = 20,
        open_s: float = 1.0,
        open_s_max: float = 30.0,
    ) -> None:
        assert 0 < failures_max <= window
        assert 0 < open_s <= open_s_max
        self._failures_max = failures_max
        self._recent: deque[bool] = deque(maxlen=window)
        self._in_a_row = 0
        self._first_open_s = open_s
        self._open_s = open_s
        self._open_s_max = open_s_max
        self._open_until: float | None = None
        """None while closed."""
        self._period = 0
        self._is_trying = False

    def state(self, now: float) -> BreakerState:
        """Return what it lets through at ``now``."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def enter(self, now: float) -> Pass | None:
        """Return leave for a call, which must be given back, or None: do not call now."""
        match self.state(now):
            case BreakerState.OPEN:
                return None
            case BreakerState.HALF_OPEN:
                if self._is_trying:
                    return None
                self._is_trying = True
        return Pass(self._period)

    def succeed(self, leave: Pass) -> None:
        """Take back ``leave`` of a call that was answered well."""
        if leave.period != self._period:
            return
        if self._open_until is not None:
            self._turn(None)
            self._open_s = self._first_open_s
        self._in_a_row = 0
        self._recent.append(True)

    def fail(self, leave: Pass, now: float) -> None:
        """Take back ``leave`` of a call that was not."""
        if leave.period != self._period:
            return
        if self._open_until is not None:
            self._open_s = min(2 * self._open_s, self._open_s_max)
            self._turn(now + self._open_s)
            return
        self._in_a_row += 1
        self._recent.append(False)
        if self._in_a_row >= self._failures_max or self._is_half_lost():
            self._turn(now + self._open_s)

    def abandon(self, leave: Pass) -> None:
        """Take back ``leave`` of a call that was given up, which says nothing."""
        if leave.period == self._period:
            self._is_trying = False

    def allow_trial(self, now: float) -> None:
        """Let a trial through from ``now`` on: something else says that it may be well."""
        if self._open_until is not None:
            self._open_until = min(self._open_until, now)

    def _turn(self, open_until: float | None) -> None:
        self._open_until = open_until
        self._period += 1
        self._is_trying = False
        self._in_a_row = 0
        self._recent.clear()

    def _is_half_lost(self) -> bool:
        is_full = len(self._recent) == self._recent.maxlen
        return is_full and 2 * sum(self._recent) <= len(self._recent)
