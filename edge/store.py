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
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

from chunks.chunk_id import Digest
from edge.departures import Departed, Reason
from edge.eviction import PUSHED, SUPERSEDED, Pinned, S3Fifo
from edge.located import SHELVES, Located, shelf_of, shelves_of
from edge.metrics import EdgeMetrics
from edge.old_caches import remove_old_caches
from edge.records import Record, invalidate, records_of
from edge.segment_files import SegmentFiles
from edge.segment_reads import is_right_on_disk, open_to_read, open_verified, read_verified
from edge.segment_spans import InMemory, SegmentSpan
from edge.segment_table import BAD, NewRow
from edge.segment_table import PUSHED as PUSHED_FLAG
from edge.segment_table import SUPERSEDED as SUPERSEDED_FLAG
from edge.segments import Segment, segment_size_for, size_on_disk
from edge.shelf import Found, Shelf
from edge.stored import Stored, stored_at, stored_of, title_key
from kit.buffers import B, Buffer, Room
from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import FormatError
from kit.page_cache import PageCache
from kit.telemetry import get_logger
from manifests.names import TitleId

log = get_logger("edge.store")

T = TypeVar("T")

REST_S = 5.0
"""After the disk refused a write nothing is written for so long: blobs dropped to make room for
what cannot be written either would be lost for nothing."""
SAY_EVERY_S = 30.0
"""A disk that fails is logged so often at most; each blob that is not kept is counted."""
SEEN_FOR_S = 0.25
"""What was in memory is taken to be for so long: pages used last are the last to go, and to ask
costs as much as to send 64 KiB."""
FILES_MAX = 512
"""Segments open for reading at a time."""
ADOPTED_MAX = 1 << 18
"""Blobs of other workers whose place is remembered: 256 GiB of slices, 50 MB of memory."""


REASONS = {PUSHED: "pushed", SUPERSEDED: "superseded"}
"""Why a blob was evicted, by the queue it left from; else for room."""


_REASONS_NOT = {"too-large": Reason.TOO_LARGE, "disk": Reason.DISK}
"""Why a blob was not kept, where that is worth remembering."""


class Checked(Enum):
    """What a check of a blob on disk found."""

    RIGHT = "right"
    DAMAGED = "damaged"
    GONE = "gone"


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
    ) -> None:
        """Be ``worker`` (from 0) of ``workers``; all of them together keep ``max_bytes``.

        ``departed`` is told what goes, or is not kept, and why.
        """
        self._folder = folder
        self._owned = shelves_of(worker, workers)
        self._is_first = worker == 0
        shelf_size = max_bytes // SHELVES
        size_max = max_bytes if workers == 1 else shelf_size * len(self._owned)
        self._policy: S3Fifo[Record] = S3Fifo(size_max)
        segment_size = segment_size_for(shelf_size)
        self._shelves = {
            number: Shelf(self._shelf_folder(number), number, segment_size=segment_size)
            for number in self._owned
        }
        self._threads = threads
        self._readers: ThreadPoolExecutor | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._segments: dict[tuple[int, int], Segment] = {}
        self._adopted: OrderedDict[Digest, Located] = OrderedDict()
        self._files = SegmentFiles(FILES_MAX)
        self._page_cache = PageCache()
        self._seen: dict[Located, InMemory] = {}
        self._seen_until = float("-inf")
        self._clock = clock
        self._rest_until = float("-inf")
        self._silent_until = float("-inf")
        self._pins_to_note: dict[Digest, int] = {}
        """Until when what is being written is pinned: noted once it has a row."""
        self._freeing: set[asyncio.Future[None]] = set()
        self._metrics = metrics
        self._departed = departed
        metrics.watch("cached_bytes", "Bytes on disk.", lambda: self._policy.size)
        metrics.watch("cached_blobs", "Blobs on disk.", lambda: len(self._policy))
        metrics.watch("pinned_bytes", "Bytes that are pinned.", lambda: self._policy.pinned_size)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take our shelves up with what an earlier run left there.

        Raises:
            SettingsError: The folder cannot be made or read, or another edge works on it.
        """
        self._readers = ThreadPoolExecutor(self._threads, thread_name_prefix="edge-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="edge-write")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            if self._is_first:
                await self._write(lambda: remove_old_caches(self._folder))
            found: list[Found] = []
            for shelf in self._shelves.values():
                found += await self._write(shelf.open)
            await self._take_up(found)
            log.info("cache.opened", blobs=len(self._policy), cached_bytes=self._policy.size)
            yield

    def __contains__(self, name: Digest) -> bool:
        """Tell whether the blob is thought to be there; only :meth:`get` knows."""
        return self._find(name) is not None

    def owns(self, name: Digest) -> bool:
        """Tell whether a blob of this name would be written by this worker."""
        return shelf_of(name) in self._shelves

    def locate(self, name: Digest) -> Located | None:
        """Return where a blob is, None if that is not known. Does no I/O."""
        found = self._find(name)
        if found is None:
            return None
        segment, row, size = found
        return Located(segment.shelf, segment.number, row, size)

    def read_now(self, at: Located, start: int, end: int) -> bytearray | None:
        """Return the bytes ``[start, end)`` of a blob that this process verified, from memory.

        None if they are not there, or not known to be right: :meth:`get` reads and verifies.
        Never waits for a disk. It counts as a use.
        """
        return self.read_into(at, start, end, bytearray)

    def read_into(self, at: Located, start: int, end: int, room: Room[B]) -> B | None:
        """Return the same as :meth:`read_now`, put where ``room`` says."""
        segment = self._segments.get((at.shelf, at.segment))
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
        """Return the bytes ``[start, end)`` as :meth:`read_now`, but as a span of a file.

        None also where the system cannot tell that all of it is in memory: to send what is not
        would hold up everybody. Whoever gets one closes it.
        """
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

    def adopt(self, name: Digest, at: Located) -> None:
        """Learn where another worker has a blob. What turns out not to be so is forgotten."""
        if at.shelf != shelf_of(name) or at.shelf in self._shelves:
            return
        self._adopted[name] = at
        self._adopted.move_to_end(name)
        while len(self._adopted) > ADOPTED_MAX:
            self._adopted.popitem(last=False)

    async def get(self, name: Digest, digest: Digest) -> Buffer | None:
        """Return the verified blob, or None if it is not there, unreadable or damaged."""
        if name in self._adopted:
            await self._map_adopted(self._adopted[name])
        found = self._find(name)
        if found is None:
            return None
        segment, row, size = found
        if segment.table.digest(row) != digest:
            log.warning("cache.damaged", name=name.hex(), digest=digest.hex())
            self._drop_bad(name, segment, row)
            return None
        at = Located(segment.shelf, segment.number, row, size)
        content = self.read_now(at, 0, size)
        if content is not None:
            return content
        return await self._get_from_disk(name, digest, segment, row)

    async def put(
        self,
        name: Digest,
        digest: Digest,
        content: Buffer,
        *,
        title: TitleId | None = None,
        is_pushed: bool = False,
    ) -> Located | None:
        """Keep ``content``, which the caller has verified; what is in its way is dropped first.

        Nothing comes of it (None) if another worker owns the name, it is larger than the cache, or
        the disk fails. ``is_pushed`` is for what nobody asked for yet.
        """
        self._policy.unpin_expired(self._clock.now())
        size = size_on_disk(len(content))
        reason = self._why_not(name, size)
        if reason:
            self._metrics.not_cached.labels(reason).inc()
            if reason in _REASONS_NOT:
                self._departed([name], _REASONS_NOT[reason])
            return None
        if name in self._policy:
            return self.locate(name)
        now_s = int(self._clock.now())
        flags = PUSHED_FLAG if is_pushed else 0
        new = NewRow(name, digest, title_key(title), 0, len(content), now_s, flags)
        return await to_its_end(self._put(new, content, size, is_pushed))

    def drop(self, names: Iterable[Digest]) -> int:
        """Purge blobs of ours, whoever asked for them; return how many there were."""
        dropped = [record for name in names if (record := self._policy.remove(name)) is not None]
        self._metrics.evictions.labels("purged").inc(len(dropped))
        self._departed([record.key for record in dropped], Reason.PURGED)
        self._free_behind(dropped)
        return len(dropped)

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
            found = self._find(name)
            if found is not None:
                segment, row, _ = found
                segment.verified[row] = False
        return self.supersede(names)

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

    def pin(self, names: Iterable[Digest], until: float) -> PinReport:
        """Keep blobs until ``until``, in seconds since the Unix epoch, also over a restart."""
        self._policy.unpin_expired(self._clock.now())
        outcomes: dict[Pinned, list[Digest]] = {outcome: [] for outcome in Pinned}
        for name in names:
            outcome = self._policy.pin(name, until)
            outcomes[outcome].append(name)
            if outcome is Pinned.YES:
                self._note_pin(name, int(until))
        yes, absent, no_room = (tuple(outcomes[outcome]) for outcome in Pinned)
        return PinReport(yes, absent, no_room)

    def unpin(self, names: Iterable[Digest]) -> int:
        """End pins before their deadline; return how many there were."""
        unpinned = [name for name in names if self._policy.unpin(name)]
        for name in unpinned:
            self._note_pin(name, 0)
        return len(unpinned)

    async def of_title(self, title: TitleId) -> list[Stored]:
        """Return what is kept of a title: blobs of ours that were first fetched for it."""
        segments = [segment for segment in self._segments.values() if self._is_ours(segment)]
        return await self._in_readers(lambda: stored_of(segments, title_key(title)))

    def stored(self, name: Digest) -> Stored | None:
        """Return what is known of one blob, None if it is not here."""
        found = self._find(name)
        return None if found is None else stored_at(found[0], found[1])

    def records(self) -> list[Digest]:
        """Return the names of all blobs of ours."""
        return [record.key for record in self._policy]

    async def check(self, name: Digest) -> Checked:
        """Read a blob of ours from the disk, around memory if that can be, and verify it.

        A damaged one is dropped.
        """
        found = self._find(name)
        if found is None:
            return Checked.GONE
        segment, row, _ = found
        place, digest = segment.table.place(row), segment.table.digest(row)
        try:
            is_right = await self._in_readers(
                lambda: is_right_on_disk(segment.data_path, *place, digest)
            )
        except OSError as error:
            self._say("cache.unreadable", error)
            is_right = False
        if not segment.table.holds(row, name):
            return Checked.GONE
        if is_right:
            return Checked.RIGHT
        log.warning("cache.damaged", name=name.hex(), digest=digest.hex())
        self._drop_bad(name, segment, row)
        return Checked.DAMAGED

    def _find(self, name: Digest) -> tuple[Segment, int, int] | None:
        """Return segment, row and size of a blob that is live as far as is known."""
        record = self._policy.get(name)
        if record is None:
            return self._find_adopted(name)
        segment = record.segment
        if segment is None:
            return None
        if not segment.table.is_live(record.row):  # another worker found it bad
            self._drop_bad(name, segment, record.row)
            return None
        return segment, record.row, record.length

    def _find_adopted(self, name: Digest) -> tuple[Segment, int, int] | None:
        at = self._adopted.get(name)
        if at is None:
            return None
        segment = self._segments.get((at.shelf, at.segment))
        if segment is None:
            return None
        if not segment.table.holds(at.row, name):
            del self._adopted[name]
            return None
        return segment, at.row, segment.table.place(at.row)[1]

    async def _map_adopted(self, at: Located) -> None:
        """Map another worker's segment, if it is not, or if what we mapped is gone."""
        key = at.shelf, at.segment
        if key in self._segments:
            return
        folder = self._shelf_folder(at.shelf)
        try:
            segment = await self._in_readers(lambda: Segment.open(folder, *key))
        except (OSError, FormatError) as error:
            self._say("cache.unreadable", error)
            return
        self._segments.setdefault(key, segment)

    async def _get_from_disk(
        self, name: Digest, digest: Digest, segment: Segment, row: int
    ) -> bytearray | None:
        try:
            content = await to_its_end(self._read(segment, row, digest))
        except OSError as error:
            self._say("cache.unreadable", error)
            self._forget(name)
            return None
        if not segment.table.holds(row, name):
            return None  # dropped meanwhile
        if content is None:
            log.warning("cache.damaged", name=name.hex(), digest=digest.hex())
            self._drop_bad(name, segment, row)
            return None
        segment.verified[row] = True
        segment.table.bump(row)
        return content

    async def _read(self, segment: Segment, row: int, digest: Digest) -> bytearray | None:
        place, file = segment.table.place(row), self._files.get(segment)
        if file is None:
            path = segment.data_path
            number, content = await self._in_readers(lambda: open_verified(path, *place, digest))
            self._files.keep(segment, number)
            return content
        file.users += 1
        try:
            return await self._in_readers(lambda: read_verified(file.number, *place, digest))
        finally:
            self._files.release(file)

    async def _put(
        self, new: NewRow, content: Buffer, size: int, is_pushed: bool
    ) -> Located | None:
        record = Record(new.name, size, length=len(content))
        victims = self._policy.admit(record, is_pushed=is_pushed)
        for victim in victims:
            self._metrics.evictions.labels(REASONS.get(victim.place, "room")).inc()
            is_superseded = victim.place == SUPERSEDED
            self._departed([victim.key], Reason.SUPERSEDED if is_superseded else Reason.EVICTED)
        victims += self._segments_in_the_way(victims)
        await self._free(victims)
        shelf = self._shelves[shelf_of(new.name)]
        try:
            segment, row = await self._write(lambda: shelf.append(new, content, born=new.stored_at))
            if self._files.get(segment) is None:
                number = await self._write(partial(open_to_read, segment.data_path))
                self._files.keep(segment, number)
        except OSError as error:
            self._say("cache.write_failed", error)
            self._rest_until = self._clock.monotonic() + REST_S
            self._policy.remove(new.name)
            self._metrics.not_cached.labels("disk").inc()
            self._departed([new.name], Reason.DISK)
            return None
        return self._written(new, segment, row)

    def _written(self, new: NewRow, segment: Segment, row: int) -> Located | None:
        self._segments[segment.shelf, segment.number] = segment
        segment.verified[row] = True
        record = self._policy.get(new.name)  # not as it was admitted: it may be pinned by now
        if record is None or record.segment is not None:  # evicted or purged meanwhile
            self._free_behind([Record(new.name, 0, segment=segment, row=row)])
            return None
        record.segment, record.row = segment, row
        pinned_until = self._pins_to_note.pop(new.name, 0)
        if pinned_until:
            segment.table.set_pinned_until(row, pinned_until)
        return Located(segment.shelf, segment.number, row, new.size)

    def _note_pin(self, name: Digest, until_s: int) -> None:
        record = self._policy.get(name)
        if record is not None and record.segment is not None:
            record.segment.table.set_pinned_until(record.row, until_s)
        else:
            self._pins_to_note[name] = until_s

    def _segments_in_the_way(self, victims: Sequence[Record]) -> list[Record]:
        """Choose segments to empty where the file system gives no room back before one is.

        Return the blobs in them. Dropped bytes are in the budget until then.
        """
        unfreed: dict[Segment, int] = {}
        for shelf in self._shelves.values():
            unfreed |= shelf.unfreed()
        if not unfreed:
            return []
        for victim in victims:
            if victim.segment is not None:
                unfreed[victim.segment] = unfreed.get(victim.segment, 0) + victim.size
        emptied: list[Record] = []
        for segment in sorted(unfreed, key=lambda segment: -unfreed[segment]):
            if self._policy.size + sum(unfreed.values()) <= self._policy.size_max:
                break
            emptied += [record for record in self._policy if record.segment is segment]
            for record in emptied:
                self._policy.remove(record.key)
            del unfreed[segment]
        self._metrics.evictions.labels("room").inc(len(emptied))
        self._departed([record.key for record in emptied], Reason.EVICTED)
        return emptied

    def _drop_bad(self, name: Digest, segment: Segment, row: int) -> None:
        self._metrics.bad_on_disk.inc()
        self._departed([name], Reason.BIT_ROT)
        segment.table.set_state(row, BAD)
        self._forget(name)

    def _forget(self, name: Digest) -> None:
        """Drop a blob that cannot be used; another worker's is for that one to drop."""
        self._adopted.pop(name, None)
        record = self._policy.remove(name)
        if record is not None:
            self._free_behind([record])

    def _free_behind(self, records: Sequence[Record]) -> None:
        if records:
            invalidate(records)
            task = asyncio.ensure_future(self._free(records))
            self._freeing.add(task)
            task.add_done_callback(self._freeing.discard)

    async def _free(self, records: Sequence[Record]) -> None:
        """Make records invalid at once, then give their room back."""
        by_shelf: dict[int, list[tuple[int, int]]] = {}
        invalidate(records)
        for record in records:
            segment = record.segment
            if segment is not None:  # else it is being written, and freed after that
                by_shelf.setdefault(segment.shelf, []).append((segment.number, record.row))
                record.let_go()
        del records
        for number, blobs in by_shelf.items():
            shelf = self._shelves[number]
            for segment in await self._write(partial(shelf.free, blobs)):
                self._segments.pop((segment.shelf, segment.number), None)
                self._files.forget(segment)

    async def _take_up(self, found: Sequence[Found]) -> None:
        """Take what an earlier run left into the policy, the oldest first, as it came."""
        self._segments |= {(one.segment.shelf, one.segment.number): one.segment for one in found}
        victims: list[Record] = []
        for record, flags, pinned_until in await self._in_readers(lambda: records_of(found)):
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
        await self._free(victims)

    def _why_not(self, name: Digest, size: int) -> str:
        """Return why a blob cannot be kept; empty if it can."""
        if not self.owns(name):
            return "other-worker"
        if not self._policy.can_hold(size):
            return "too-large"
        return "disk" if self._clock.monotonic() < self._rest_until else ""

    def _say(self, event: str, error: Exception) -> None:
        now = self._clock.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + SAY_EVERY_S
            log.warning(event, error=str(error), silent_for_s=SAY_EVERY_S)

    def _look(self, at: Located) -> InMemory | None:
        """Return a verified blob if all of it is known to be in memory."""
        segment = self._segments.get((at.shelf, at.segment))
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

    def _is_ours(self, segment: Segment) -> bool:
        return segment.shelf in self._shelves

    def _shelf_folder(self, shelf: int) -> Path:
        return self._folder / "segments" / f"{shelf:02}"

    async def _write(self, call: Callable[[], T]) -> T:
        assert self._writer is not None, "open the store before use"
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    async def _in_readers(self, call: Callable[[], T]) -> T:
        assert self._readers is not None, "open the store before use"
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def _close(self) -> None:
        await asyncio.gather(*self._freeing)
        for shelf in self._shelves.values():
            await self._write(shelf.close)
        self._files.close()
        self._segments.clear()
        self._policy.clear()
        for pool in (self._readers, self._writer):
            assert pool is not None
            await asyncio.to_thread(pool.shutdown)
