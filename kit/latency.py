"""How long a dependency takes to answer: what is usual, and what only one in twenty exceeds."""

from __future__ import annotations

from collections import deque

WEIGHT = 0.1
"""Of the newest answer in the average: it follows a change within some twenty answers."""

SAMPLES_MAX = 100
SAMPLES_MIN = 20
"""With fewer answers nothing is said of the slowest twentieth."""


class Latency:
    """Seconds until answers began. Pure: it is told, and asked.

    What was measured is forgotten after ``forget_s`` seconds without an answer: whoever avoids a
    slow dependency never measures it, and would avoid it for ever.
    """

    def __init__(self, *, forget_s: float) -> None:
        self._forget_s = forget_s
        self._average_s = 0.0
        self._samples: deque[float] = deque(maxlen=SAMPLES_MAX)
        self._told_at = float("-inf")

    def tell(self, seconds: float, now: float) -> None:
        """Take in one answer, which took ``seconds``; ``now`` is on the monotonic clock."""
        if self._is_forgotten(now):
            self._samples.clear()
        weight = WEIGHT if self._samples else 1.0
        self._average_s += weight * (seconds - self._average_s)
        self._samples.append(seconds)
        self._told_at = now

    def average_s(self, now: float) -> float | None:
        """Return the average, in which newer answers weigh more; None if nothing is known."""
        return None if self._is_forgotten(now) else self._average_s

    def p95_s(self, now: float) -> float | None:
        """Return what all but a twentieth of the last answers took; None if too little is known."""
        if self._is_forgotten(now) or len(self._samples) < SAMPLES_MIN:
            return None
        return sorted(self._samples)[len(self._samples) * 95 // 100]

    def _is_forgotten(self, now: float) -> bool:
        return not self._samples or now - self._told_at > self._forget_s
