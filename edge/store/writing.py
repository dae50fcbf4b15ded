"""Writing blobs: what is in the way is dropped first, and a row is made live last of all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from chunks.chunk_id import Digest
from edge.metrics import EdgeMetrics
from edge.store.departures import Departed, Reason
from edge.store.disk_faults import DiskFaults
from edge.store.index import StoreIndex
from edge.store.located import Located, shelf_of
from edge.store.records import Record
from edge.store.room import StoreRoom
from edge.store.segment_files import SegmentFiles
from edge.store.segment_reads import open_to_read
from edge.store.segment_table import NewRow
from edge.store.segments import Segment, size_on_disk
from edge.store.shelf import Shelf
from edge.store.threads import StoreThreads
from kit.buffers import Buffer
from kit.concurrency import to_its_end

_REASONS_NOT = {"too-large": Reason.TOO_LARGE, "disk": Reason.DISK}
"""Why a blob was not kept, where that is worth remembering."""


class StoreWriting:
    """Writes blobs to our shelves. Belongs to one event loop."""

    def __init__(
        self,
        index: StoreIndex,
        shelves: Mapping[int, Shelf],
        files: SegmentFiles,
        threads: StoreThreads,
        room: StoreRoom,
        *,
        faults: DiskFaults,
        metrics: EdgeMetrics,
        departed: Departed,
    ) -> None:
        self._index = index
        self._shelves = shelves
        self._files = files
        self._threads = threads
        self._room = room
        self._faults = faults
        self._metrics = metrics
        self._departed = departed
        self._pins_to_note: dict[Digest, int] = {}
        """Until when what is being written is pinned: noted once it has a row."""
        self.running = 0
        """Writes that wait for the disk."""

    async def put(self, new: NewRow, content: Buffer, *, is_pushed: bool) -> Located | None:
        """Write a blob, unless it is here, or cannot be kept; see :meth:`edge.store.Store.put`."""
        reason = self._why_not(new.name, size_on_disk(new.size))
        if reason:
            self._metrics.not_cached.labels(reason).inc()
            if reason in _REASONS_NOT:
                self._departed([new.name], _REASONS_NOT[reason])
            return None
        if new.name in self._index.policy:
            place = self._index.find(new.name)
            return None if place is None else place.located
        self.running += 1
        try:
            return await to_its_end(self._put(new, content, is_pushed=is_pushed))
        finally:
            self.running -= 1

    def note_pin(self, name: Digest, until_s: int) -> None:
        """Note in a blob's row until when it is pinned; 0 is not."""
        record = self._index.policy.get(name)
        if record is not None and record.segment is not None:
            record.segment.table.set_pinned_until(record.row, until_s)
        else:
            self._pins_to_note[name] = until_s

    async def _put(self, new: NewRow, content: Buffer, *, is_pushed: bool) -> Located | None:
        record = Record(new.name, size_on_disk(new.size), length=new.size)
        await self._room.make(self._index.policy.admit(record, is_pushed=is_pushed))
        shelf = self._shelves[shelf_of(new.name)]
        try:
            segment, row = await self._threads.write(
                lambda: shelf.append(new, content, born=new.stored_at)
            )
        except OSError as error:
            self._faults.refused(error)
            self._index.policy.remove(new.name)
            self._pins_to_note.pop(new.name, None)
            self._metrics.not_cached.labels("disk").inc()
            self._departed([new.name], Reason.DISK)
            return None
        at = self._written(new, segment, row)
        await self._open(segment)
        return at

    async def _open(self, segment: Segment) -> None:
        """Have the file at hand by which what was just written is read."""
        if self._files.get(segment) is None:
            try:
                number = await self._threads.write(partial(open_to_read, segment.data_path))
            except OSError as error:
                self._faults.say("cache.unreadable", error)
            else:
                self._files.keep(segment, number)

    def _written(self, new: NewRow, segment: Segment, row: int) -> Located | None:
        self._index.segments[segment.shelf, segment.number] = segment
        segment.verified[row] = True
        pinned_until = self._pins_to_note.pop(new.name, 0)
        # Not as it was admitted: it may be pinned by now.
        record = self._index.policy.get(new.name)
        if record is None or record.segment is not None:  # evicted or purged meanwhile
            self._room.free_behind([Record(new.name, 0, segment=segment, row=row)])
            return None
        record.segment, record.row = segment, row
        if pinned_until:
            segment.table.set_pinned_until(row, pinned_until)
        return Located(segment.shelf, segment.number, row, new.size)

    def _why_not(self, name: Digest, size: int) -> str:
        """Return why a blob cannot be kept; empty if it can."""
        if not self._index.owns(name):
            return "other-worker"
        if not self._index.policy.can_hold(size):
            return "too-large"
        return "disk" if self._faults.is_resting else ""
