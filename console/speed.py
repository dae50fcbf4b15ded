"""How fast bytes came the last time: what the time of the next plan is reckoned with."""

from __future__ import annotations

import struct

from console.durable import read_whole, write_whole
from console.journal import frame, unframe
from console.safe_paths import Folder

SPEED = "speed"

SAMPLE_SIZE_MIN = 8 << 20
"""Less than this is over before a connection has found its speed, and says nothing of it."""

_FORMAT = struct.Struct("<d")


def read_speed(state: Folder) -> float | None:
    """Return the last speed in bytes a second; None if there was none, or its file is damaged."""
    content = read_whole(state, SPEED, size_max=64)
    payload = None if content is None else unframe(content)
    if payload is None or len(payload) != _FORMAT.size:
        return None
    (speed,) = _FORMAT.unpack(payload)
    return speed if speed > 0 else None


def note_speed(state: Folder, received_size: int, seconds: float) -> None:
    """Remember how fast ``received_size`` bytes came, if they say anything."""
    if received_size >= SAMPLE_SIZE_MIN and seconds > 0:
        write_whole(state, SPEED, frame(_FORMAT.pack(received_size / seconds)))


def seconds_for(size: int, speed: float | None, limit_rate: int) -> float | None:
    """Return how long ``size`` bytes may take; None if nothing can be said.

    Args:
        size: Bytes to fetch.
        speed: Bytes a second that were seen, if any were.
        limit_rate: Bytes a second that are allowed; 0 is no limit.
    """
    if size == 0:
        return 0.0
    known = [rate for rate in (speed, limit_rate) if rate]
    return size / min(known) if known else None
