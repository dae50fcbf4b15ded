"""Looking up: which blobs are here and where, ours and those of other workers.

All of it is in memory and belongs to the event loop; nothing here waits for a disk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

import msgspec

from chunks.chunk_id import Digest
from edge.store.eviction import S3Fifo
from edge.store.located import Located, shelf_of
from edge.store.records import Record
from edge.store.segments import Segment

ADOPTED_MAX = 1 << 18
"""Blobs of other workers whose place is remembered: 256 GiB of slices, 50 MB of memory."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a blob is that is live as far as is known."""

    segment: Segment
    row: int
    size: int
    """Of the blob, in bytes."""

    @property
    def located(self) -> Located:
        """The same, as other workers are told it."""
        return Located(self.segment.shelf, self.segment.number, self.row, self.size)


class StoreIndex:
    """Blobs by name: ours by the policy that evicts them, others' as far as we were told."""

    def __init__(self, shelves: Collection[int], size_max: int) -> None:
        """Have the ``shelves``, within ``size_max`` bytes on disk."""
        self.shelves = frozenset(shelves)
        self.policy: S3Fifo[Record] = S3Fifo(size_max)
        self.segments: dict[tuple[int, int], Segment] = {}
        """All that this process has mapped, by shelf and number."""
        self.found_bad: Callable[[Digest, Segment, int], None] = lambda *_: None
        """Told of a blob of ours that another worker found bad."""
        self._adopted: OrderedDict[Digest, Located] = OrderedDict()

    def owns(self, name: Digest) -> bool:
        """Tell whether a blob of this name would be written by this worker."""
        return shelf_of(name) in self.shelves

    def find(self, name: Digest) -> Place | None:
        """Return where a blob is, None if that is not known."""
        record = self.policy.get(name)
        if record is None:
            return self._find_adopted(name)
        segment = record.segment
        if segment is None:  # it is being written
            return None
        if not segment.table.is_live(record.row):
            self.found_bad(name, segment, record.row)
            return None
        return Place(segment, record.row, record.length)

    def segment_of(self, at: Located) -> Segment | None:
        """Return the segment of a place if it is mapped."""
        return self.segments.get((at.shelf, at.segment))

    def ours(self) -> list[Segment]:
        """Return the segments of our shelves, the oldest of each shelf first."""
        found = [segment for segment in self.segments.values() if segment.shelf in self.shelves]
        return sorted(found, key=lambda segment: (segment.shelf, segment.number))

    def adopt(self, name: Digest, at: Located) -> None:
        """Learn where another worker has a blob."""
        if at.shelf != shelf_of(name) or at.shelf in self.shelves:
            return
        self._adopted[name] = at
        self._adopted.move_to_end(name)
        while len(self._adopted) > ADOPTED_MAX:
            self._adopted.popitem(last=False)

    def unmapped(self, name: Digest) -> Located | None:
        """Return where another worker has a blob whose segment is still to be mapped."""
        at = self._adopted.get(name)
        return at if at is not None and self.segment_of(at) is None else None

    def forget_adopted(self, name: Digest) -> None:
        """Forget where another worker has a blob."""
        self._adopted.pop(name, None)

    def clear(self) -> None:
        """Forget all."""
        self.segments.clear()
        self.policy.clear()

    def _find_adopted(self, name: Digest) -> Place | None:
        at = self._adopted.get(name)
        segment = None if at is None else self.segment_of(at)
        if at is None or segment is None:
            return None
        if not segment.table.holds(at.row, name):
            del self._adopted[name]
            return None
        return Place(segment, at.row, segment.table.place(at.row)[1])
