"""Find the deltas that help this console: fetch as many indexes as the way to the release needs."""

from __future__ import annotations

from collections.abc import Sequence

from chunks.chunk_id import ChunkId
from console.delta_plan import DEPTH_MAX, Patches, choose_patches, made_by, unmade_bases
from console.patcher import Patcher, Spot, Stones, spots_of
from console.releases import Releases
from console.safe_paths import Folder
from console.seeds import Seed
from console.staging import Staging
from console.workers import Workers
from manifests.delta_index import DeltaIndex
from manifests.documents import DeltaRef, Release
from manifests.model import Build

WORTH_FACTOR = 2
"""An index is fetched if the chunks it may spare take more than so many times its own bytes."""


class DeltaSupply:
    """The deltas of one operation: chosen before the plan, applied after it."""

    def __init__(self, release: Release, seeds: Sequence[Seed], staging_folder: Folder) -> None:
        self._release = release
        self._seeds = seeds
        self._stones = Stones(staging_folder)
        self._spots: dict[ChunkId, Spot] = {}
        self._staging_folder = staging_folder

    async def choose(
        self,
        build: Build,
        rows: Sequence[int],
        refs: Sequence[DeltaRef],
        own_counter: int,
        *,
        releases: Releases,
        workers: Workers,
        patience_s: float,
    ) -> Patches:
        """Return the deltas that bring some of ``rows`` of ``build`` for fewer bytes.

        Indexes are fetched one by one, from the release's own towards what is installed, until
        nothing more is needed that this console has not. One that cannot be had ends the way.
        """
        stones = await workers.run(Stones.checks_in, self._staging_folder)
        indexes: list[DeltaIndex] = []
        wanted: set[ChunkId] = {build.chunks.chunk_id(row) for row in rows}
        left_size = int(build.chunks.stored_sizes[list(rows)].sum()) if rows else 0
        target = self._release.counter
        for _ in range(DEPTH_MAX):
            ref = _step_from(refs, target, own_counter)
            if not wanted or ref is None or ref.index.size * WORTH_FACTOR > left_size:
                break
            index = await releases.delta_index(self._release.title, ref.index, patience_s)
            if index is None:
                break
            indexes.append(index)
            await workers.run(self._learn, index, stones)
            needed = await workers.run(unmade_bases, index, wanted, self._spots)
            # What no delta of this set makes may have been new a release before.
            wanted = needed | (wanted - made_by(index))
            target = ref.base
            if target == own_counter:
                break
        return await workers.run(choose_patches, build, rows, indexes, self._spots, stones)

    def patcher(self, staging: Staging) -> Patcher:
        """Return what applies the chosen deltas; it writes to ``staging``."""
        return Patcher(self._seeds, self._spots, self._stones, staging)

    def _learn(self, index: DeltaIndex, stones: frozenset[bytes]) -> None:
        for chunk_id, spot in spots_of(self._seeds, [index]).items():
            self._spots.setdefault(chunk_id, spot)
        self._stones.learn(index, stones)


def _step_from(refs: Sequence[DeltaRef], target: int, own_counter: int) -> DeltaRef | None:
    """Return the set that leads to ``target``: from this console's release if there is one."""
    leading = [ref for ref in refs if ref.target == target]
    own = (ref for ref in leading if ref.base == own_counter)
    return next(own, leading[0] if leading else None)
