"""What an observer is told, under a clock that is moved by hand."""

from __future__ import annotations

import pytest

from console.progress import RATE_WINDOW_S, Event, Meter, Moved, Playable
from kit.clock import ManualClock


def metered(total_bytes: int = 10_000) -> tuple[Meter, ManualClock, list[Event]]:
    clock, seen = ManualClock(), list[Event]()
    meter = Meter(clock, seen.append, total_bytes=total_bytes)
    return meter, clock, seen


def test_speed_and_time_left_follow_what_was_done() -> None:
    meter, clock, seen = metered()
    for _ in range(4):
        clock.advance(1.0)
        meter.received(500)
        meter.fetched(1000, 1000)
    clock.advance(1.0)
    meter.received(0)
    last = seen[-1]
    assert isinstance(last, Moved)
    assert (last.done_bytes, last.received_bytes) == (4000, 2000)
    assert last.received_per_s == pytest.approx(2000 / 5, rel=0.3)
    assert last.eta_s == pytest.approx(6000 / 800, rel=0.3)


def test_an_old_speed_is_forgotten() -> None:
    meter, clock, seen = metered(10**9)
    clock.advance(1.0)
    meter.received(10**8)
    for _ in range(20):
        clock.advance(RATE_WINDOW_S / 4)
        meter.received(100)
    last = seen[-1]
    assert isinstance(last, Moved)
    assert last.received_per_s == pytest.approx(100 / (RATE_WINDOW_S / 4), rel=0.1)


def test_observer_is_not_told_of_every_piece() -> None:
    meter, _, seen = metered()
    for _ in range(1000):
        meter.received(1)
    assert len(seen) == 1


def test_playable_is_told_once() -> None:
    meter, clock, seen = metered()
    clock.advance(2.5)
    meter.is_playable()
    clock.advance(1.0)
    meter.is_playable()
    assert seen == [Playable(2.5)]


def test_first_chunk_is_the_first_written() -> None:
    meter, clock, _ = metered()
    clock.advance(0.5)
    meter.received(10)
    clock.advance(0.5)
    meter.copied(10, 10)
    clock.advance(0.5)
    meter.fetched(10, 10)
    assert meter.first_chunk_s == 1.0
