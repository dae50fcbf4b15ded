"""Giving room back: blobs are made invalid for all workers first, and their bytes freed then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from chunks.chunk_id import Digest
from edge.metrics import EdgeMetrics
from edge.store.departures import Departed, Reason
from edge.store.eviction import PUSHED, SUPERSEDED
from edge.store.index import StoreIndex
from edge.store.records import Record, invalidate
from edge.store.segment_files import SegmentFiles
from edge.store.segment_table import BAD
from edge.store.segments import Segment
from edge.store.shelf import Shelf
from edge.store.threads import StoreThreads

REASONS = {PUSHED: "pushed", SUPERSEDED: "superseded"}
"""Why a blob was evicted, by the queue it left from; else for room."""


class StoreRoom:
    """Drops blobs from our shelves. Belongs to one event loop."""

    def __init__(
        self,
        index: StoreIndex,
        shelves: Mapping[int, Shelf],
        files: SegmentFiles,
        threads: StoreThreads,
        *,
        metrics: EdgeMetrics,
        departed: Departed,
    ) -> None:
        self._index = index
        self._shelves = shelves
        self._files = files
        self._threads = threads
        self._metrics = metrics
        self._departed = departed
        self._freeing: set[asyncio.Future[None]] = set()

    def purge(self, names: Iterable[Digest]) -> int:
        """Drop blobs of ours that somebody wants gone; return how many there were."""
        removed = (self._index.policy.remove(name) for name in names)
        dropped = [record for record in removed if record is not None]
        self._metrics.evictions.labels("purged").inc(len(dropped))
        self._departed([record.key for record in dropped], Reason.PURGED)
        self.free_behind(dropped)
        return len(dropped)

    def drop_bad(self, name: Digest, segment: Segment, row: int) -> None:
        """Drop a blob whose bytes are wrong; another worker's is marked, for that one to drop."""
        self._metrics.bad_on_disk.inc()
        self._departed([name], Reason.BIT_ROT)
        segment.table.set_state(row, BAD)
        self.forget(name)

    def forget(self, name: Digest) -> None:
        """Drop a blob that cannot be used; another worker's is for that one to drop."""
        self._index.forget_adopted(name)
        record = self._index.policy.remove(name)
        if record is not None:
            self.free_behind([record])

    def free_behind(self, records: Sequence[Record]) -> None:
        """Make records invalid now, and give their room back soon."""
        if records:
            invalidate(records)
            task = asyncio.ensure_future(self.free(records))
            self._freeing.add(task)
            task.add_done_callback(self._freeing.discard)

    async def make(self, victims: Sequence[Record]) -> None:
        """Drop what the policy chose, and what must go with it, before something is written."""
        for victim in victims:
            self._metrics.evictions.labels(REASONS.get(victim.place, "room")).inc()
            is_superseded = victim.place == SUPERSEDED
            self._departed([victim.key], Reason.SUPERSEDED if is_superseded else Reason.EVICTED)
        await self.free([*victims, *self._segments_in_the_way(victims)])

    async def free(self, records: Sequence[Record]) -> None:
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
            for segment in await self._threads.write(partial(shelf.free, blobs)):
                self._index.segments.pop((segment.shelf, segment.number), None)
                self._files.forget(segment)

    async def settled(self) -> None:
        """Return once all room is given back."""
        await asyncio.gather(*self._freeing)

    def _segments_in_the_way(self, victims: Sequence[Record]) -> list[Record]:
        """Choose segments to empty where the file system gives no room back before one is.

        Return the blobs in them. Dropped bytes are in the budget until then.
        """
        policy = self._index.policy
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
            if policy.size + sum(unfreed.values()) <= policy.size_max:
                break
            of_it = [record for record in policy if record.segment is segment]
            for record in of_it:
                policy.remove(record.key)
            emptied += of_it
            del unfreed[segment]
        self._metrics.evictions.labels("room").inc(len(emptied))
        self._departed([record.key for record in emptied], Reason.EVICTED)
        return emptied
