"""Reading blobs: from memory without waiting, else by a thread that verifies what it read.

What the page cache holds of blobs that this process verified is taken as it is, as memory would
be. All else is held against its digest, so what a power cut leaves half written, or a disk lets
rot, is noticed.
"""

from __future__ import annotations

from pathlib import Path

from chunks.chunk_id import Digest
from edge.store.disk_faults import DiskFaults
from edge.store.index import StoreIndex
from edge.store.located import Located
from edge.store.room import StoreRoom
from edge.store.segment_files import SegmentFiles
from edge.store.segment_reads import open_verified, read_verified
from edge.store.segment_spans import InMemory, SegmentSpan
from edge.store.segments import Segment, shelf_folder
from edge.store.threads import StoreThreads
from kit.buffers import B, Buffer, Room
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
        self._seen: dict[Located, InMemory] = {}
        self._seen_until = float("-inf")
        self.running = 0
        """Reads that wait for the disk."""

    def read_into(self, at: Located, start: int, end: int, room: Room[B]) -> B | None:
        """See :meth:`edge.store.Store.read_into`."""
        segment = self._index.segment_of(at)
        row = at.row
        if segment is None or row >= len(segment.verified) or not segment.verified[row]:
            return None
        file = self._files.get(segment)
        if file is None or not segment.table.is_live(row):
            return None
        content = segment.read_cached(file.number, self._page_cache, row, start, end, room)
        if content is not None:
            segment.table.bump(row)
        return content

    def span_now(self, at: Located, start: int, end: int) -> SegmentSpan | None:
        """See :meth:`edge.store.Store.span_now`."""
        now = self._clock.monotonic()
        if now >= self._seen_until:
            self._seen.clear()
            self._seen_until = now + SEEN_FOR_S
        seen = self._seen.get(at)
        if seen is None:
            seen = self._look(at)
            if seen is None:
                return None
            self._seen[at] = seen
        span = seen.span(start, end)
        if span is None:
            del self._seen[at]
        return span

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
        content = self.read_into(place.located, 0, place.size, bytearray)
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

    def _look(self, at: Located) -> InMemory | None:
        """Return a verified blob if all of it is known to be in memory."""
        segment = self._index.segment_of(at)
        row = at.row
        if segment is None or row >= len(segment.verified) or not segment.verified[row]:
            return None
        file = self._files.get(segment)
        if file is None or not segment.table.is_live(row):
            return None
        offset, size = segment.table.place(row)
        if not size or not self._page_cache.holds(file.number, offset, size):
            return None
        return InMemory(file, segment, row, offset, size, self._files.release)
