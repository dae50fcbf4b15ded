"""Find the deltas that help this console: fetch as many indexes as the way to the release needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunks.chunk_id import ChunkId
from console.patcher import Patcher, Spot, StoneFiles, spots_of
from console.releases import Releases
from console.safe_paths import Folder
from console.seeds import Rows, Seed, copies_from
from console.staging import Staging
from console.workers import Workers
from manifests.delta_index import DeltaIndex
from manifests.delta_plan import (
    DEPTH_MAX,
    Patches,
    Stones,
    choose_patches,
    made_by,
    step_from,
    unmade_bases,
)
from manifests.documents import DeltaRef, Release
from manifests.model import Build

WORTH_FACTOR = 2
"""An index is fetched if the chunks it may spare take more than so many times its own bytes."""


class DeltaSupply:
    """The deltas of one operation: chosen before the plan, applied after it."""

    def __init__(self, release: Release, seeds: Sequence[Seed], staging_folder: Folder) -> None:
        self._release = release
        self._seeds = seeds
        self._stones = StoneFiles(staging_folder)
        self._spots: dict[ChunkId, Spot] = {}
        self._staging_folder = staging_folder
        self._indexes: list[DeltaIndex] = []
        self._left = frozenset[bytes]()

    async def find(
        self,
        build: Build,
        refs: Sequence[DeltaRef],
        own_counter: int,
        *,
        releases: Releases,
        workers: Workers,
        patience_s: float,
    ) -> None:
        """Fetch the indexes that help to bring what ``build`` has and this console has not.

        One by one, from the release's own towards what is installed, until nothing more is needed
        that is not here. One that cannot be had ends the way.
        """
        self._left = await workers.run(StoneFiles.checks_in, self._staging_folder)
        rows = await workers.run(self._absent, build)
        wanted: set[ChunkId] = {build.chunks.chunk_id(row) for row in rows.tolist()}
        left_size = int(build.chunks.stored_sizes[rows].sum(dtype=np.uint64))
        target = self._release.counter
        while wanted and len(self._indexes) < DEPTH_MAX and target != own_counter:
            ref = step_from(refs, target, own_counter)
            if ref is None or ref.index.size * WORTH_FACTOR > left_size:
                break
            index = await releases.delta_index(self._release.title, ref.index, patience_s)
            if index is None:
                break
            self._indexes.append(index)
            await workers.run(self._learn, index)
            needed = await workers.run(unmade_bases, index, wanted, self._spots)
            # What no delta of this set makes may have been new a release before.
            wanted = needed | (wanted - made_by(index))
            target = ref.base

    def choose(self, build: Build, rows: Sequence[int], stones: Stones) -> Patches:
        """Return the deltas that bring some of ``rows`` of ``build`` for fewer bytes."""
        left = self._left if stones.may_use_left else frozenset[bytes]()
        return choose_patches(build, rows, self._indexes, self._spots, left, stone_room=stones.room)

    def patcher(self, staging: Staging) -> Patcher:
        """Return what applies the chosen deltas; it writes to ``staging``."""
        return Patcher(self._seeds, self._spots, self._stones, staging)

    def _absent(self, build: Build) -> Rows:
        """Return the rows that no seed has."""
        rows = np.arange(len(build.chunks), dtype=np.int64)
        for seed in self._seeds:
            rows = np.setdiff1d(rows, copies_from(seed, build.chunks, rows).rows)
        return rows

    def _learn(self, index: DeltaIndex) -> None:
        for chunk_id, spot in spots_of(self._seeds, [index]).items():
            self._spots.setdefault(chunk_id, spot)
        self._stones.learn(index, self._left)
