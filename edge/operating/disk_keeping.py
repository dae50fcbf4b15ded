"""Keeping by the cache of files, which knows neither titles nor pins: it finds and pins nothing."""

from __future__ import annotations

from collections.abc import Collection

from chunks.chunk_id import Digest
from edge.departures import Departures, Reason
from edge.disk_cache import DiskCache
from edge.fill import Blob, Blobs
from edge.operating.keeping import Kept
from edge.operating.messages import Amount, CacheUse
from edge.siblings import Siblings
from kit.buffers import Buffer
from manifests.names import TitleId


class DiskKeeping:
    """See :class:`~edge.operating.keeping.Keeping`."""

    def __init__(
        self, disk: DiskCache, blobs: Blobs, siblings: Siblings, departures: Departures
    ) -> None:
        self._disk = disk
        self._blobs = blobs
        self._siblings = siblings
        self._departures = departures

    def has(self, name: Digest) -> bool:
        """Tell whether a blob is on disk."""
        return name in self._disk

    async def keep(self, blob: Blob, content: Buffer) -> None:
        """Write a blob unless it is there."""
        if self._siblings.owns(blob.name) and blob.name not in self._disk:
            await self._disk.put(blob.name, content)

    def look(self, name: Digest) -> Kept | None:
        """Return what is known of a blob: its size."""
        if name not in self._disk:
            return None
        return Kept(self._disk._policy.size_of(name), 0.0, 0, 0.0, False, name.hex(), "")

    def names_of(self, title: TitleId) -> list[Digest]:  # noqa: ARG002 - the port's
        """Return nothing: files have no titles."""
        return []

    def measure(self, names: Collection[Digest]) -> Amount:
        """Return how much of ``names`` is cached."""
        here = [name for name in names if name in self._disk]
        return Amount(len(here), sum(map(self._disk._policy.size_of, here)))

    def pin(self, names: Collection[Digest], until_s: float) -> tuple[Amount, Amount]:  # noqa: ARG002
        """Pin nothing."""
        return Amount(), self.measure(names)

    def unpin(self, names: Collection[Digest]) -> Amount:  # noqa: ARG002
        """Return nothing: none was pinned."""
        return Amount()

    def supersede(self, names: Collection[Digest]) -> Amount:  # noqa: ARG002
        """Return nothing: none can be."""
        return Amount()

    async def drop(self, names: Collection[Digest]) -> Amount:
        """Delete the files."""
        found = self.measure(names)
        here = [name for name in names if name in self._disk]
        for name in here:
            self._disk._policy.remove(name)
        self._blobs.forget(here)
        await self._disk._drop(here)
        self._departures.note(here, Reason.PURGED)
        return found

    async def doubt(self, names: Collection[Digest]) -> Amount:
        """Return how much it is: every read is verified."""
        return self.measure(names)

    def use(self) -> CacheUse:
        """Return how full the folder is."""
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
