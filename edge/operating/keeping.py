"""What a worker does with the blobs that it keeps, for operators: in turns, as others wait.

A call acts on those of its names that this worker keeps; every worker is asked. No method raises
for what a disk does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import assert_never

from chunks.chunk_id import Digest
from edge.fill import Blob
from edge.operating.messages import Acted, Action, Amount, CacheUse
from edge.store.eviction import PINNED_SHARE
from edge.store.store import Store
from kit.buffers import Buffer
from manifests.names import TitleId

BATCH = 256
"""Names dealt with before others have their turn: under a millisecond."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One blob in the store."""

    size: int
    stored_s: float
    """Unix epoch."""
    uses: int
    pinned_until_s: float
    """Unix epoch; 0 if it is not pinned."""
    is_superseded: bool
    place: str


class Keeping:
    """The store of one worker, as operators see it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def owns(self, name: Digest) -> bool:
        """Tell whether this worker keeps what has this name, if it is kept."""
        return self._store.owns(name)

    def has(self, name: Digest) -> bool:
        """Tell whether a blob is on disk, as far as this worker knows."""
        return self._store.locate(name) is not None

    async def keep(self, blob: Blob, content: Buffer) -> None:
        """See to it that a verified blob is on disk, if it is ours and the disk takes it."""
        if self.owns(blob.name):
            title = blob.owner or blob.title
            await self._store.put(
                blob.name, blob.digest, content, title=title, path=blob.path, is_pushed=True
            )

    def look(self, name: Digest) -> Kept | None:
        """Return what is known of a blob."""
        at, stored = self._store.locate(name), self._store.stored(name)
        if at is None or stored is None:
            return None
        return Kept(
            size=stored.size,
            stored_s=stored.stored_at,
            uses=stored.uses,
            pinned_until_s=stored.pinned_until,
            is_superseded=stored.is_superseded,
            place=f"shelf {at.shelf}, segment {at.segment}, row {at.row}",
        )

    async def names_of(self, title: TitleId) -> list[Digest]:
        """Return all that is kept for a title."""
        return [stored.name for stored in await self._store.of_title(title)]

    async def act(self, action: Action, names: Collection[Digest], until_s: float) -> Acted:
        """Do ``action`` to what is kept of ``names``."""
        match action:
            case Action.MEASURE:
                return Acted(done=await self.measure(names))
            case Action.DROP:
                return Acted(done=await self.drop(names))
            case Action.DOUBT:
                return Acted(done=await self.doubt(names))
            case Action.PIN:
                pinned, refused = await self.pin(names, until_s)
                return Acted(done=pinned, refused=refused)
            case Action.UNPIN:
                return Acted(done=await self.unpin(names))
            case Action.SUPERSEDE:
                return Acted(done=await self.supersede(names))
            case _:
                assert_never(action)

    async def measure(self, names: Collection[Digest]) -> Amount:
        """Return how much of ``names`` is kept."""
        return await self._sum([name async for batch in self._ours(names) for name in batch])

    async def pin(self, names: Collection[Digest], until_s: float) -> tuple[Amount, Amount]:
        """Keep them until then (Unix epoch, seconds).

        Returns what is pinned now, and what is not because no more may be.
        """
        pinned: list[Digest] = []
        refused: list[Digest] = []
        async for batch in self._ours(names):
            report = self._store.pin(batch, until_s)
            pinned += report.pinned
            refused += report.no_room
        return await self._sum(pinned), await self._sum(refused)

    async def unpin(self, names: Collection[Digest]) -> Amount:
        """Let them go when their turn comes; return what was pinned."""
        found: list[Digest] = []
        async for batch in self._ours(names):
            found += [name for name in batch if self._store.unpin([name])]
        return await self._sum(found)

    async def supersede(self, names: Collection[Digest]) -> Amount:
        """Let them go first, whenever room is needed; what is pinned stays."""
        found: list[Digest] = []
        async for batch in self._ours(names):
            found += [name for name in batch if self._store.supersede([name])]
        return await self._sum(found)

    async def drop(self, names: Collection[Digest]) -> Amount:
        """Let them go now, pinned or not."""
        found = await self.measure(names)
        async for batch in self._ours(names):
            self._store.drop(batch)
        return found

    async def doubt(self, names: Collection[Digest]) -> Amount:
        """Verify them again before they are sent, also those of other workers; ours go first."""
        for batch in _batches(names):
            self._store.doubt(batch)
            await asyncio.sleep(0)
        return await self.measure(names)

    def use(self) -> CacheUse:
        """Return how full our part of the store is; of documents it knows nothing."""
        usage = self._store.usage()
        return CacheUse(
            size=usage.size,
            size_max=int(usage.size_max),
            blobs=usage.count,
            pinned=Amount(*usage.pinned),
            pinned_size_max=int(usage.size_max) // PINNED_SHARE,
            superseded=Amount(*usage.superseded),
            documents=Amount(),
        )

    async def _ours(self, names: Collection[Digest]) -> AsyncIterator[list[Digest]]:
        """Yield those that we keep, in batches, others' turns between them."""
        for batch in _batches(names):
            yield [name for name in batch if self.owns(name) and self.has(name)]
            await asyncio.sleep(0)

    async def _sum(self, names: Collection[Digest]) -> Amount:
        size = 0
        for batch in _batches(names):
            found = (self._store.locate(name) for name in batch)
            size += sum(at.size for at in found if at is not None)
            await asyncio.sleep(0)
        return Amount(len(names), size)


def _batches(names: Collection[Digest]) -> Iterator[list[Digest]]:
    left = iter(names)
    while batch := list(islice(left, BATCH)):
        yield batch
