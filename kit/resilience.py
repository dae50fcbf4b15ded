"""What keeps a struggling dependency from being finished off by its callers."""

from __future__ import annotations


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
