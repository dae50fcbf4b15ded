"""What an edge remembers of what went."""

from __future__ import annotations

from chunks.chunk_id import Digest
from edge.store.departures import DEPARTURES_MAX, Departure, Departures, Reason
from kit.clock import ManualClock


def name(number: int) -> Digest:
    return Digest(number.to_bytes(32, "big"))


def test_the_latest_reason_is_remembered_with_its_time() -> None:
    clock = ManualClock(100.0)
    departures = Departures(clock)
    departures.note([name(1), name(2)], Reason.EVICTED)
    clock.advance(5)
    departures.note([name(1)], Reason.PURGED)
    assert departures.of(name(1)) == Departure(Reason.PURGED, 105.0)
    assert departures.of(name(2)) == Departure(Reason.EVICTED, 100.0)
    assert departures.of(name(3)) is None


def test_only_so_many_are_remembered_the_latest() -> None:
    departures = Departures(ManualClock())
    departures.note(map(name, range(DEPARTURES_MAX + 10)), Reason.EVICTED)
    departures.note([name(10)], Reason.BIT_ROT)
    departures.note([name(DEPARTURES_MAX + 10)], Reason.EVICTED)
    assert departures.of(name(9)) is None
    assert departures.of(name(11)) is None
    assert departures.of(name(10)) is not None
