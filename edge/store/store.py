"""Verified blobs in segment files that all workers of an edge share: one writes, all read.

A blob belongs to the shelf that its name says, and a shelf to one worker, which alone writes its
segments and drops from them. Any worker reads any blob, once it knows where it is. What was read
lately is in the system's page cache, and that is the tier in memory: there is no other copy.

Nothing is fsynced. What this process has not verified since its start is held against its digest
when it is read, and so is all that a thread reads; what the page cache holds of verified blobs is
taken as it is, as memory would be. So what a power cut leaves half written is noticed and
fetched again, and a cache is not worth waiting for the disk.

The index and the policy live on the event loop. Files are written by one thread, so shelves need
no locks, and read by a few: a hanging disk stalls nothing else.

This module puts the parts together. Looking up is in :mod:`edge.store.index`, reading in
:mod:`edge.store.reading`, writing in :mod:`edge.store.writing`, dropping in
:mod:`edge.store.room`, looking for what rotted in :mod:`edge.store.checking`; below them are
shelves, segments and their tables.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chunks.chunk_id import Digest
from edge.metrics import EdgeMetrics
from edge.store.checking import Check, StoreChecking
from edge.store.departures import Departed
from edge.store.disk_faults import DiskFaults
from edge.store.eviction import Pinned
from edge.store.index import StoreIndex
from edge.store.located import SHELVES, Located, shelves_of
from edge.store.old_caches import remove_old_caches
from edge.store.reading import StoreReading
from edge.store.records import Record, records_of
from edge.store.room import StoreRoom
from edge.store.segment_files import SegmentFiles
from edge.store.segment_spans import SegmentSpan
from edge.store.segment_table import PUSHED as PUSHED_FLAG
from edge.store.segment_table import SUPERSEDED as SUPERSEDED_FLAG
from edge.store.segment_table import NewRow
from edge.store.segments import Segment, segment_size_for, shelf_folder
from edge.store.shelf import Found, Shelf
from edge.store.stored import Stored, stored_at, stored_of, title_key
from edge.store.threads import StoreThreads
from edge.store.writing import StoreWriting
from kit.buffers import B, Buffer, Room
from kit.clock import Clock
from kit.file_holes import Punch, punch_hole
from kit.telemetry import get_logger
from manifests.names import TitleId

log = get_logger("edge.store")

FILES_MAX = 512
"""Segments open for reading at a time."""


@dataclass(frozen=True, slots=True)
class PinReport:
    """What came of a wish to pin."""

    pinned: tuple[Digest, ...]
    absent: tuple[Digest, ...]
    """Not cached here, so not pinned; names of other workers' blobs are among them."""
    no_room: tuple[Digest, ...]
    """Not pinned, for pins have a fifth of the cache at most."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a worker's part of the store is; sizes in bytes, as the disk counts them."""

    size: int
    size_max: int
    count: int
    pinned: tuple[int, int]
    """How many, and their size."""
    superseded: tuple[int, int]


class Store:
    """Blobs by name, within a budget of bytes on disk. Open it before use.

    A blob's name is its digest, or is made of it: see ``Blob.name``.

    No method raises for what the disk does: a cache that fails is a cache that misses. Each
    failure is counted, and logged once in a while.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        threads: int,
        metrics: EdgeMetrics,
        clock: Clock,
        worker: int = 0,
        workers: int = 1,
        departed: Departed = lambda _names, _reason: None,
        punch: Punch = punch_hole,
    ) -> None:
        """Be ``worker`` (from 0) of ``workers``; all of them together keep ``max_bytes``.

        ``departed`` is told what goes, or is not kept, and why; ``punch`` gives room back where
        the file system can.
        """
        self._folder = folder
        self._is_first = worker == 0
        self._clock = clock
        owned, shelf_size = shelves_of(worker, workers), max_bytes // SHELVES
        size_max = max_bytes if workers == 1 else shelf_size * len(owned)
        segment_size = segment_size_for(shelf_size)
        self._shelves = {
            number: Shelf(
                shelf_folder(folder, number), number, segment_size=segment_size, punch=punch
            )
            for number in owned
        }
        index = self._index = StoreIndex(owned, size_max)
        pool = self._threads = StoreThreads(threads)
        files = self._files = SegmentFiles(FILES_MAX)
        faults = DiskFaults(clock)
        room = self._room = StoreRoom(
            index, self._shelves, files, pool, metrics=metrics, departed=departed
        )
        index.found_bad = room.drop_bad
        self._reading = StoreReading(
            index, files, pool, room, folder=folder, faults=faults, clock=clock
        )
        self._writing = StoreWriting(
            index,
            self._shelves,
            files,
            pool,
            room,
            faults=faults,
            metrics=metrics,
            departed=departed,
        )
        self._checking = StoreChecking(index, pool, self._reading, faults)
        policy = self._policy = index.policy
        metrics.watch("cached_bytes", "Bytes on disk.", lambda: policy.size)
        metrics.watch("cached_blobs", "Blobs on disk.", lambda: len(policy))
        metrics.watch("pinned_bytes", "Bytes that are pinned.", lambda: policy.pinned_size)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take our shelves up with what an earlier run left there.

        Raises:
            SettingsError: The folder cannot be made or read, or another edge works on it.
        """
        self._threads.open()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            if self._is_first:
                await self._threads.write(lambda: remove_old_caches(self._folder))
            found: list[Found] = []
            for shelf in self._shelves.values():
                found += await self._threads.write(shelf.open)
            await self._take_up(found)
            log.info("cache.opened", blobs=len(self._policy), cached_bytes=self._policy.size)
            yield

    def __contains__(self, name: Digest) -> bool:
        """Tell whether the blob is thought to be there; only :meth:`get` knows."""
        return self._index.find(name) is not None

    def owns(self, name: Digest) -> bool:
        """Tell whether a blob of this name would be written by this worker."""
        return self._index.owns(name)

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for the disk."""
        return bool(self._reading.running or self._writing.running)

    def locate(self, name: Digest) -> Located | None:
        """Return where a blob is, None if that is not known. Does no I/O."""
        place = self._index.find(name)
        return None if place is None else place.located

    def read_now(self, at: Located, start: int, end: int) -> bytearray | None:
        """Return the bytes ``[start, end)`` of a blob that this process verified, from memory.

        None if they are not there, or not known to be right: :meth:`get` reads and verifies.
        Never waits for a disk. It counts as a use.
        """
        return self.read_into(at, start, end, bytearray)

    def read_into(self, at: Located, start: int, end: int, room: Room[B]) -> B | None:
        """Return the same as :meth:`read_now`, put where ``room`` says."""
        return self._reading.read_into(at, start, end, room)

    def span_now(self, at: Located, start: int, end: int) -> SegmentSpan | None:
        """Return the bytes ``[start, end)`` as :meth:`read_now`, but as a span of a file.

        None also where the system cannot tell that all of it is in memory: to send what is not
        would hold up everybody. Whoever gets one closes it.
        """
        return self._reading.span_now(at, start, end)

    def adopt(self, name: Digest, at: Located) -> None:
        """Learn where another worker has a blob. What turns out not to be so is forgotten."""
        self._index.adopt(name, at)

    async def get(self, name: Digest, digest: Digest) -> Buffer | None:
        """Return the verified blob, or None if it is not there, unreadable or damaged."""
        return await self._reading.get(name, digest)

    async def put(
        self,
        name: Digest,
        digest: Digest,
        content: Buffer,
        *,
        title: TitleId | None = None,
        path: str = "",
        is_pushed: bool = False,
    ) -> Located | None:
        """Keep ``content``, which the caller has verified; what is in its way is dropped first.

        Nothing comes of it (None) if another worker owns the name, it is larger than the cache, or
        the disk fails. ``path`` is where upstream has it, for when it rots; ``is_pushed``
        is for what nobody asked for yet.
        """
        self._policy.unpin_expired(self._clock.now())
        flags, now_s = PUSHED_FLAG if is_pushed else 0, int(self._clock.now())
        new = NewRow(name, digest, title_key(title), 0, len(content), now_s, flags, path)
        return await self._writing.put(new, content, is_pushed=is_pushed)

    def drop(self, names: Iterable[Digest]) -> int:
        """Purge blobs of ours, whoever asked for them; return how many there were."""
        return self._room.purge(names)

    def supersede(self, names: Iterable[Digest]) -> int:
        """Let blobs that a newer build needs no more leave first; return how many are here."""
        count = 0
        for name in names:
            if self._policy.supersede(name):
                count += 1
                record = self._policy.get(name)
                if record is not None and record.segment is not None:
                    record.segment.table.set_flag(record.row, SUPERSEDED_FLAG)
        return count

    def doubt(self, names: Iterable[Digest]) -> int:
        """Verify blobs again before they are used, and let ours leave first; return how many."""
        names = list(names)
        for name in names:
            place = self._index.find(name)
            if place is not None:
                place.segment.verified[place.row] = False
        return self.supersede(names)

    def pin(self, names: Iterable[Digest], until: float) -> PinReport:
        """Keep blobs until ``until``, in seconds since the Unix epoch, also over a restart."""
        self._policy.unpin_expired(self._clock.now())
        outcomes: dict[Pinned, list[Digest]] = {outcome: [] for outcome in Pinned}
        for name in names:
            outcome = self._policy.pin(name, until)
            outcomes[outcome].append(name)
            if outcome is Pinned.YES:
                self._writing.note_pin(name, int(until))
        yes, absent, no_room = (tuple(outcomes[outcome]) for outcome in Pinned)
        return PinReport(yes, absent, no_room)

    def unpin(self, names: Iterable[Digest]) -> int:
        """End pins before their deadline; return how many there were."""
        unpinned = [name for name in names if self._policy.unpin(name)]
        for name in unpinned:
            self._writing.note_pin(name, 0)
        return len(unpinned)

    def usage(self) -> Usage:
        """Return how full our part is."""
        policy = self._policy
        return Usage(
            size=policy.size,
            size_max=policy.size_max,
            count=len(policy),
            pinned=policy.pinned,
            superseded=policy.superseded,
        )

    async def of_title(self, title: TitleId) -> list[Stored]:
        """Return what is kept of a title: blobs of ours that were first fetched for it."""
        segments = self._index.ours()
        return await self._threads.read(lambda: stored_of(segments, title_key(title)))

    def stored(self, name: Digest) -> Stored | None:
        """Return what is known of one blob, None if it is not here."""
        place = self._index.find(name)
        return None if place is None else stored_at(place.segment, place.row)

    def records(self) -> list[Digest]:
        """Return the names of all blobs of ours."""
        return [record.key for record in self._policy]

    @property
    def shelves(self) -> list[int]:
        """The numbers of the shelves that are ours."""
        return list(self._shelves)

    def segments_on(self, shelf: int) -> list[Segment]:
        """Return the segments of a shelf of ours, the oldest first."""
        return self._checking.segments_on(shelf)

    async def names_in(self, segment: Segment) -> list[Digest]:
        """Return the names of the live blobs of a segment, in the order in which they lie."""
        return await self._checking.names_in(segment)

    async def check(self, name: Digest) -> Check:
        """Read a blob of ours from the disk, around memory if that can be, and verify it.

        A damaged one is dropped. It does not count as a use.
        """
        return await self._checking.check(name)

    async def _take_up(self, found: Sequence[Found]) -> None:
        """Take what an earlier run left into the policy, the oldest first, as it came."""
        for one in found:
            self._index.segments[one.segment.shelf, one.segment.number] = one.segment
        victims: list[Record] = []
        for record, flags, pinned_until in await self._threads.read(lambda: records_of(found)):
            earlier = self._policy.remove(record.key)
            if earlier is not None:
                victims.append(earlier)
            if not self._policy.can_hold(record.size):
                victims.append(record)
                continue
            victims += self._policy.admit(record, is_pushed=bool(flags & PUSHED_FLAG))
            if pinned_until:
                self._policy.pin(record.key, pinned_until)
            elif flags & SUPERSEDED_FLAG:
                self._policy.supersede(record.key)
        await self._room.free(victims)

    async def _close(self) -> None:
        await self._room.settled()
        for shelf in self._shelves.values():
            await self._threads.write(shelf.close)
        self._files.close()
        self._index.clear()
        await self._threads.close()
