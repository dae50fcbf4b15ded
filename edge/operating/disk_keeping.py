"""Keeping by the cache of files: it knows no titles and no pins."""

from __future__ import annotations

from collections.abc import Collection

from chunks.chunk_id import Digest
from edge.departures import Departures, Reason
from edge.disk_cache import DiskCache
from edge.fill import Blob
from edge.operating.keeping import Kept
from edge.operating.messages import Amount, CacheUse
from kit.buffers import Buffer
from manifests.names import TitleId


class DiskKeeping:
    """See :class:`~edge.operating.keeping.Keeping`."""

    def __init__(self, disk: DiskCache, departures: Departures) -> None:
        self._disk = disk
        self._departures = departures

    def has(self, name: Digest) -> bool:
        return name in self._disk

    async def keep(self, blob: Blob, content: Buffer) -> None:
        if blob.name not in self._disk:
            await self._disk.put(blob.name, content)

    def look(self, name: Digest) -> Kept | None:
        if name not in self._disk:
            return None
        return Kept(self._disk._policy.size_of(name), 0.0, 0, 0.0, False, name.hex(), "")

    def names_of(self, title: TitleId) -> list[Digest]:
        return list(self._disk._policy)

    def measure(self, names: Collection[Digest]) -> Amount:
        here = [name for name in names if name in self._disk]
        return Amount(len(here), sum(map(self._disk._policy.size_of, here)))

    def pin(self, names: Collection[Digest], until_s: float) -> tuple[Amount, Amount]:
        return self.measure(names), Amount()

    def unpin(self, names: Collection[Digest]) -> Amount:
        return self.measure(names)

    def supersede(self, names: Collection[Digest]) -> Amount:
        return self.measure(names)

    async def drop(self, names: Collection[Digest]) -> Amount:
        found = self.measure(names)
        here = [name for name in names if name in self._disk]
        for name in here:
            self._disk._policy.remove(name)
        await self._disk._drop(here)
        self._departures.note(here, Reason.PURGED)
        return found

    async def doubt(self, names: Collection[Digest]) -> Amount:
        return self.measure(names)

    def use(self) -> CacheUse:
        policy = self._disk._policy
        none = Amount()
        return CacheUse(
            size=policy.size,
            size_max=int(policy.size_max),
            blobs=len(policy),
            pinned=none,
            pinned_size_max=policy.size_max // 5,
            superseded=none,
            documents=none,
        )
