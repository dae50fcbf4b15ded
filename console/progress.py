"""What whoever started an operation is told while it runs, and how fast it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from console.planner import Plan
from kit.clock import Clock

RATE_WINDOW_S = 5.0
"""The speed shown is over about so long: steady enough to read, quick enough to follow."""

REPORT_EVERY_S = 0.1

EARLY_SAMPLE_SIZE = 128 << 10
"""What a fresh install has received when its plan is made; of less only round trips can be told."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan stands and nothing forbids it; ``version`` is where it leads."""

    version: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Moved:
    """Some bytes further. Sizes in bytes; ``eta_s`` is None while nothing can be said."""

    done_bytes: int
    """Plain bytes of chunks that are in staging."""
    total_bytes: int
    received_bytes: int
    received_per_s: float
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class Playable:
    """The first install group is in place, ``after_s`` seconds since the start."""

    after_s: float


Event: TypeAlias = Planned | Moved | Playable
Observer: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Observe nothing."""


@dataclass
class Meter:
    """Counts what an operation really did, and tells its observer. Belongs to the event loop."""

    clock: Clock
    observer: Observer
    started: float = 0.0
    requests: int = 0
    received_bytes: int = 0
    failures: int = 0
    """Answers that were of no use: errors, stalls, wrong bytes."""
    hedges: int = 0
    """Start calls made to a second edge because the first was slow."""
    written_bytes: int = 0
    fetched_bytes: int = 0
    """Plain bytes of fetched chunks."""
    delta_made_bytes: int = 0
    """Of those, bytes that deltas made."""
    failed_deltas: int = 0
    reused_bytes: int = 0
    """Plain bytes of chunks copied from files that were here."""
    total_bytes: int = 0
    to_write_bytes: int = 0
    """By the plan; what was written before it is counted too."""
    first_chunk_s: float | None = None
    playable_s: float | None = None
    _speed: _Speed = field(init=False)
    _last_report: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self.started = self.clock.monotonic()
        self._speed = _Speed(self.started)

    def elapsed_s(self) -> float:
        """Return the seconds since the operation began."""
        return self.clock.monotonic() - self.started

    def bytes_left(self) -> int:
        """Return how many bytes are still to be written, by the plan."""
        return max(0, self.to_write_bytes - self.written_bytes)

    def received_per_s(self) -> float | None:
        """Return how fast bytes came so far, waits included; None while that says little."""
        elapsed_s = self.elapsed_s()
        if self.received_bytes < EARLY_SAMPLE_SIZE or elapsed_s <= 0:
            return None
        return self.received_bytes / elapsed_s

    def received(self, size: int) -> None:
        """Count bytes of a body as they arrive."""
        self.received_bytes += size
        self._tell()

    def fetched(self, plain_size: int, written_size: int) -> None:
        """Count chunks that were fetched, verified and written."""
        self.fetched_bytes += plain_size
        self._wrote(written_size)

    def made(self, plain_size: int, written_size: int) -> None:
        """Count chunks that a delta made, verified and written."""
        self.delta_made_bytes += plain_size
        self.fetched(plain_size, written_size)

    def copied(self, plain_size: int, written_size: int) -> None:
        """Count chunks that were copied from what is here."""
        self.reused_bytes += plain_size
        self._wrote(written_size)

    def patched(self, size: int) -> None:
        """Count bytes that a commit wrote to patch files in place."""
        self.written_bytes += size

    def is_playable(self) -> None:
        """Note, once, that the first group is in place."""
        if self.playable_s is None:
            self.playable_s = self.elapsed_s()
            self.observer(Playable(self.playable_s))

    def _wrote(self, size: int) -> None:
        self.written_bytes += size
        if self.first_chunk_s is None:
            self.first_chunk_s = self.elapsed_s()
        self._tell()

    def _tell(self) -> None:
        now = self.clock.monotonic()
        if now - self._last_report < REPORT_EVERY_S:
            return
        self._last_report = now
        done = self.fetched_bytes + self.reused_bytes
        speed, received_speed = self._speed.at(now, done, self.received_bytes)
        left = max(0, self.total_bytes - done)
        eta_s = left / speed if speed > 0 and self.total_bytes else None
        self.observer(Moved(done, self.total_bytes, self.received_bytes, received_speed, eta_s))


class _Speed:
    """Bytes per second over a window that slides in two halves."""

    def __init__(self, now: float) -> None:
        self._marks = [(now, 0, 0)]

    def at(self, now: float, done: int, received: int) -> tuple[float, float]:
        """Return the speed of what is done and of what was received, and note both."""
        since, done_then, received_then = self._marks[0]
        if now - self._marks[-1][0] >= RATE_WINDOW_S / 2:
            self._marks = [*self._marks[-1:], (now, done, received)]
        elapsed = now - since
        if elapsed <= 0:
            return 0.0, 0.0
        return (done - done_then) / elapsed, (received - received_then) / elapsed
