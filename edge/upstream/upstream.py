"""One upstream, and what is known of it: whether it fails, lies, or is slow. Decides; asks nobody.

It is *avoided*, that is asked after all others, from its first failure until a sign of life or the
end of a while. If it goes on failing its breaker opens, and then it is not asked at all but for one
trial now and then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kit.errors import IntegrityError, PlayheadError
from kit.latency import Latency
from kit.resilience import Breaker, BreakerState, Pass

LATENCY_FORGET_S = 30.0
"""A slow upstream gets another chance after so long."""

SLOW_FACTOR, SLOW_EXTRA_S = 3.0, 0.1
"""Slow is what takes three times as long as another, and noticeably so: within that the order of
the settings holds, which may have reasons of money."""

HEDGE_AFTER_MIN_S = 0.05
"""What begins sooner is not overtaken: a second request would hardly be answered earlier."""


@dataclass(slots=True)
class Upstream:
    """An origin, a shield or another edge."""

    url: str
    """Without a slash at the end."""
    cool_down_s: float
    is_shield: bool = False
    """Whether it asks origins on our behalf, so that what it does not find is not there."""
    breaker: Breaker = field(default_factory=Breaker)
    latency: Latency = field(default_factory=lambda: Latency(forget_s=LATENCY_FORGET_S))
    has_lied: bool = False
    """Whether what it is avoided for is wrong bytes: a sign of life does not make up for them."""
    failures: int = 0
    last_fault: str = ""
    """What went wrong the last time."""
    _avoid_until: float = float("-inf")
    """On the monotonic clock, as every ``now`` here."""

    def is_avoided(self, now: float) -> bool:
        """Tell whether asking it will likely fail."""
        return self._avoid_until > now or self.breaker.state(now) is BreakerState.OPEN

    def fail(self, leave: Pass, error: PlayheadError, now: float) -> bool:
        """Note that a call failed; return whether that is news."""
        was_avoided = self.is_avoided(now)
        self.has_lied = isinstance(error, IntegrityError) or (was_avoided and self.has_lied)
        self._avoid_until = now + self.cool_down_s
        self.failures += 1
        self.last_fault = f"{error.code}: {error}"
        if isinstance(error, IntegrityError):
            # One object that went bad at its source must not take all others with it.
            self.breaker.abandon(leave)
        else:
            self.breaker.fail(leave, now)
        return not was_avoided

    def note_alive(self, now: float) -> None:
        """Note a sign of life: it may be asked again, carefully if it failed often."""
        if not self.has_lied:
            self._avoid_until = min(self._avoid_until, now)
            self.breaker.allow_trial(now)

    def note_dead(self, now: float) -> None:
        """Note that it gave no sign of life."""
        self._avoid_until = max(self._avoid_until, now + self.cool_down_s)

    def hedge_after_s(self, now: float, at_most_s: float) -> float:
        """Return how long its answer may take to begin before another is asked as well."""
        p95_s = self.latency.p95_s(now)
        return at_most_s if p95_s is None else min(at_most_s, max(HEDGE_AFTER_MIN_S, p95_s))


def by_preference(upstreams: list[Upstream], now: float) -> list[Upstream]:
    """Return ``upstreams`` in the order given, but what is slow later, and what fails last."""
    known = [
        average_s
        for upstream in upstreams
        if not upstream.is_avoided(now)
        and (average_s := upstream.latency.average_s(now)) is not None
    ]
    slow_s = SLOW_FACTOR * min(known, default=float("inf")) + SLOW_EXTRA_S

    def is_slow(upstream: Upstream) -> bool:
        return (upstream.latency.average_s(now) or 0.0) > slow_s

    return sorted(upstreams, key=lambda each: (each.is_avoided(now), is_slow(each)))
