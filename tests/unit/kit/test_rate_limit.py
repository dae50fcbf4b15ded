"""The limit on bytes per second, under a clock that stands still."""

from __future__ import annotations

import pytest

from kit.clock import ManualClock
from kit.rate_limit import BURST_S, RateLimit


def test_bytes_beyond_the_burst_wait_their_time() -> None:
    limit = RateLimit(1000, ManualClock())
    assert limit.delay_s(250) == pytest.approx(0.25 - BURST_S)
    assert limit.delay_s(1000) == pytest.approx(1.25 - BURST_S)


def test_waiting_pays_the_debt() -> None:
    clock = ManualClock()
    limit = RateLimit(1000, clock)
    limit.delay_s(2000)
    clock.advance(2.0)
    assert limit.delay_s(100) == pytest.approx(0.1 - BURST_S)


def test_a_long_pause_saves_no_more_than_the_burst() -> None:
    clock = ManualClock()
    limit = RateLimit(1000, clock)
    clock.advance(3600)
    assert limit.delay_s(1000) == pytest.approx(1.0 - BURST_S)


async def test_without_a_limit_nothing_waits() -> None:
    await RateLimit(0, ManualClock()).take(1 << 60)
