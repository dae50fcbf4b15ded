"""What operators need of an edge's store: a port, so that nothing here knows how blobs are kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from chunks.chunk_id import Digest
from edge.fill import Blob
from edge.operating.messages import Amount, CacheUse
from kit.buffers import Buffer
from manifests.names import TitleId


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
    owner: str
    """Which worker keeps it."""


class Keeping(Protocol):
    """Keeps blobs by name. No method raises for what a disk does.

    What takes names acts on those that are here, and tells how many and how large they are.
    """

    def has(self, name: Digest) -> bool:
        """Tell whether a blob is on disk, as far as is known without reading it."""

    async def keep(self, blob: Blob, content: Buffer) -> None:
        """See to it that a verified blob is on disk, if the disk takes it."""

    def look(self, name: Digest) -> Kept | None:
        """Return what is known of a blob."""

    def names_of(self, title: TitleId) -> list[Digest]:
        """Return all that is cached for a title."""

    def measure(self, names: Collection[Digest]) -> Amount:
        """Return how much of ``names`` is cached."""

    def pin(self, names: Collection[Digest], until_s: float) -> tuple[Amount, Amount]:
        """Keep them until then (Unix epoch, seconds).

        Returns what is pinned now, and what is not because no more may be.
        """

    def unpin(self, names: Collection[Digest]) -> Amount:
        """Let them go when their turn comes."""

    def supersede(self, names: Collection[Digest]) -> Amount:
        """Let them go first, whenever room is needed."""

    async def drop(self, names: Collection[Digest]) -> Amount:
        """Let them go now."""

    async def doubt(self, names: Collection[Digest]) -> Amount:
        """Verify them again before they are sent, and let them go first."""

    def use(self) -> CacheUse:
        """Return how full the store is; of documents it knows nothing."""
