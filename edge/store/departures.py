"""Why what was cached is not any more: a bounded memory, for whoever asks why something missed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from chunks.chunk_id import Digest
from kit.clock import Clock

DEPARTURES_MAX = 32_768
"""Names remembered, the latest: 6 MB, and the turnover of 32 GiB of slices."""


class Reason(Enum):
    """What became of a blob."""

    EVICTED = "evicted"
    """For room."""
    SUPERSEDED = "superseded"
    """For room, and first: no release that is played has it."""
    PURGED = "purged"
    """By an operator."""
    BIT_ROT = "bit-rot"
    """The disk gave back other bytes."""
    TOO_LARGE = "too-large"
    """It does not fit into the budget at all."""
    DISK = "disk"
    """The disk would not take it, or give it back."""
    DISK_BUSY = "disk-busy"
    """Too much was being written already."""


Departed = Callable[[Iterable[Digest], Reason], None]
"""Is told what went, or was not kept, and why."""


@dataclass(frozen=True, slots=True)
class Departure:
    """What became of a blob, and when: Unix epoch, seconds."""

    reason: Reason
    at_s: float


class Departures:
    """Remembers the latest departures. Belongs to one event loop; does no I/O."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[Digest, Departure] = OrderedDict()

    def note(self, names: Iterable[Digest], reason: Reason) -> None:
        """Remember that ``names`` are gone, or were never kept."""
        departure = Departure(reason, self._clock.now())
        for name in names:
            self._known[name] = departure
            self._known.move_to_end(name)
        while len(self._known) > DEPARTURES_MAX:
            self._known.popitem(last=False)

    def of(self, name: Digest) -> Departure | None:
        """Return what became of ``name``; None if it was never here, or that is too long ago."""
        return self._known.get(name)
