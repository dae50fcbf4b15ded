"""Checking blobs where they lie on the disk, so that what rots is found before it is asked for."""

from __future__ import annotations

from enum import Enum

import msgspec

from chunks.chunk_id import Digest
from edge.store.disk_faults import DiskFaults
from edge.store.index import StoreIndex
from edge.store.reading import StoreReading
from edge.store.segment_paths import read_path
from edge.store.segment_reads import is_right_on_disk
from edge.store.segments import Segment
from edge.store.stored import names_in
from edge.store.threads import StoreThreads


class Checked(Enum):
    """What a check of a blob on disk found."""

    RIGHT = "right"
    DAMAGED = "damaged"
    GONE = "gone"
    """It was dropped, or somebody deleted its file."""


class Check(msgspec.Struct, frozen=True):
    """A check, and what is needed to mend the blob."""

    found: Checked
    path: str = ""
    """Where upstream has what is damaged; empty if that is not known."""
    pinned_until: int = 0
    """Until when it was pinned: Unix epoch, seconds; 0 if it was not."""


class StoreChecking:
    """Reads blobs of ours around memory. Belongs to one event loop."""

    def __init__(
        self, index: StoreIndex, threads: StoreThreads, reading: StoreReading, faults: DiskFaults
    ) -> None:
        self._index = index
        self._threads = threads
        self._reading = reading
        self._faults = faults

    def segments_on(self, shelf: int) -> list[Segment]:
        """Return the segments of a shelf of ours, the oldest first."""
        return [segment for segment in self._index.ours() if segment.shelf == shelf]

    async def names_in(self, segment: Segment) -> list[Digest]:
        """Return the names of the live blobs of a segment, in the order in which they lie."""
        return await self._threads.read(lambda: names_in(segment))

    async def check(self, name: Digest) -> Check:
        """See :meth:`edge.store.Store.check`."""
        place = self._index.find(name)
        if place is None:
            return Check(Checked.GONE)
        segment, row = place.segment, place.row
        at, digest = segment.table.place(row), segment.table.digest(row)
        try:
            is_right = await self._threads.read(
                lambda: is_right_on_disk(segment.data_path, *at, digest)
            )
        except FileNotFoundError:
            if segment.table.holds(row, name):
                self._reading.forget(name)
            return Check(Checked.GONE)
        except OSError as error:
            self._faults.say("cache.unreadable", error)
            is_right = False
        if is_right:
            return Check(Checked.RIGHT)
        path = await self._threads.read(lambda: read_path(segment.paths_path, row))
        if not segment.table.holds(row, name):
            return Check(Checked.GONE)
        pinned_until = segment.table.pinned_until(row)
        self._reading.damaged(name, digest, segment, row)
        return Check(Checked.DAMAGED, path, pinned_until)
