"""Reading blobs: from memory without waiting, else by a thread that verifies what it read.

What the page cache holds of blobs that this process verified is taken as it is, as memory would
be. All else is held against its digest, so what a power cut leaves half written, or a disk lets
rot, is noticed.
"""

from __future__ import annotations

from pathlib import Path

from chunks.chunk_id import Digest
from edge.disk_faults import DiskFaults
from edge.located import Located
from edge.segment_files import OpenFile, SegmentFiles
from edge.segment_reads import open_verified, read_verified
from edge.segment_spans import SegmentSpan
from edge.segments import Segment, shelf_folder
from edge.store_index import StoreIndex
from edge.store_room import StoreRoom
from edge.store_threads import StoreThreads
from kit.buffers import Buffer
from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import FormatError
from kit.page_cache import PageCache
from kit.telemetry import get_logger

log = get_logger("edge.store")

SEEN_FOR_S = 0.25
"""What was in memory is taken to be for so long: pages used last are the last to go, and to ask
costs as much as to send 64 KiB."""


class StoreReading:
    """Reads blobs of all shelves. Belongs to one event loop."""

    def __init__(
        self,
        index: StoreIndex,
        files: SegmentFiles,
        threads: StoreThreads,
        room: StoreRoom,
        *,
        folder: Path,
        faults: DiskFaults,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._index = index
        self._files = files
        self._threads = threads
        self._room = room
        self._faults = faults
        self._clock = clock
        self._page_cache = PageCache()
        self._seen: set[tuple[int, int, int]] = set()
        self._seen_until = float("-inf")
        self.running = 0
        """Reads that wait for the disk."""

    def read_now(self, at: Located, start: int, end: int) -> bytearray | None:
        """See :meth:`edge.store.Store.read_now`."""
        segment = self._index.segment_of(at)
        row = at.row
        if segment is None or row >= len(segment.verified) or not segment.verified[row]:
            return None
        file = self._files.get(segment)
        if file is None or not segment.table.is_live(row):
            return None
        content = segment.read_cached(file.number, row, start, end)
        if content is not None:
            segment.table.bump(row)
        return content

    def span_now(self, at: Located, start: int, end: int) -> SegmentSpan | None:
        """See :meth:`edge.store.Store.span_now`."""
        segment = self._index.segment_of(at)
        row = at.row
        if segment is None or row >= len(segment.verified) or not segment.verified[row]:
            return None
        file = self._files.get(segment)
        if file is None or not segment.table.is_live(row):
            return None
        offset, size = segment.table.place(row)
        begin, end = offset + start, offset + min(end, size)
        if begin >= end or not self._is_in_memory(at, file, offset, size):
            return None
        segment.table.bump(row)
        file.users += 1
        return SegmentSpan(file.number, begin, end, segment, row, file, self._files.release)

    async def get(self, name: Digest, digest: Digest) -> Buffer | None:
        """See :meth:`edge.store.Store.get`."""
        await self._map(name)
        place = self._index.find(name)
        if place is None:
            return None
        segment, row = place.segment, place.row
        if segment.table.digest(row) != digest:
            self.damaged(name, digest, segment, row)
            return None
        content = self.read_now(place.located, 0, place.size)
        if content is not None:
            return content
        return await self._get_from_disk(name, digest, segment, row)

    def damaged(self, name: Digest, digest: Digest, segment: Segment, row: int) -> None:
        """Drop a blob that is not what it was."""
        log.warning("cache.damaged", name=name.hex(), digest=digest.hex())
        self._room.drop_bad(name, segment, row)

    def forget(self, name: Digest) -> None:
        """Drop a blob whose file is gone."""
        self._room.forget(name)

    async def _map(self, name: Digest) -> None:
        """Map another worker's segment, if it is not, or if what we mapped is gone."""
        at = self._index.unmapped(name)
        if at is None:
            return
        try:
            segment = await self._threads.read(lambda: self._open(at))
        except (OSError, FormatError) as error:
            self._faults.say("cache.unreadable", error)
            return
        self._index.segments.setdefault((at.shelf, at.segment), segment)

    def _open(self, at: Located) -> Segment:
        return Segment.open(shelf_folder(self._folder, at.shelf), at.shelf, at.segment)

    async def _get_from_disk(
        self, name: Digest, digest: Digest, segment: Segment, row: int
    ) -> bytearray | None:
        self.running += 1
        try:
            content = await to_its_end(self._read(segment, row, digest))
        except OSError as error:
            self._faults.say("cache.unreadable", error)
            self._room.forget(name)
            return None
        finally:
            self.running -= 1
        if not segment.table.holds(row, name):
            return None  # dropped meanwhile
        if content is None:
            self.damaged(name, digest, segment, row)
            return None
        segment.verified[row] = True
        segment.table.bump(row)
        return content

    async def _read(self, segment: Segment, row: int, digest: Digest) -> bytearray | None:
        place, file = segment.table.place(row), self._files.get(segment)
        if file is None:
            path = segment.data_path
            number, content = await self._threads.read(lambda: open_verified(path, *place, digest))
            self._files.keep(segment, number)
            return content
        file.users += 1
        try:
            return await self._threads.read(lambda: read_verified(file.number, *place, digest))
        finally:
            self._files.release(file)

    def _is_in_memory(self, at: Located, file: OpenFile, offset: int, size: int) -> bool:
        """Tell whether all of a blob is in memory, or was a moment ago."""
        now = self._clock.monotonic()
        if now >= self._seen_until:
            self._seen.clear()
            self._seen_until = now + SEEN_FOR_S
        place = at.shelf, at.segment, at.row
        if place in self._seen:
            return True
        if not self._page_cache.holds(file.number, offset, size):
            return False
        self._seen.add(place)
        return True
