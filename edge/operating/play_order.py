"""Which slices of which bundles a build's bytes are in, in the order they are needed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chunks.slices import BUNDLE_SIZE_MAX, SLICE_SIZE
from kit.errors import NotFound
from manifests.delta_index import DeltaIndex
from manifests.model import U32, Build, BundleRef

SLICES_MAX = BUNDLE_SIZE_MAX // SLICE_SIZE


@dataclass(frozen=True, slots=True)
class WantedSlice:
    """Slice ``index`` of a bundle."""

    bundle: BundleRef
    index: int

    @property
    def size(self) -> int:
        """In bytes; the last slice of a bundle may be shorter."""
        return min(SLICE_SIZE, self.bundle.size - self.index * SLICE_SIZE)


def slices_of_build(build: Build, groups: Sequence[str] = ()) -> list[WantedSlice]:
    """Return the slices that hold the chunks of ``groups``, or of all; each once, in play order.

    Raises:
        NotFound: The build has no group of that name; the message says which it has.
    """
    known = {shard.name: shard for shard in build.shards}
    for name in groups:
        if name not in known:
            raise NotFound(f"no install group {name!r}; the build has {', '.join(known)}")
    wanted = [known[name] for name in known if not groups or name in groups]
    # Rows are numbered in play order: ascending is the order of first need.
    rows = np.unique(np.concatenate([shard.occurrences for shard in wanted]))
    chunks = build.chunks
    return _slices(
        chunks.bundles, chunks.bundle_indexes[rows], chunks.offsets[rows], chunks.stored_sizes[rows]
    )


def slices_of_deltas(index: DeltaIndex) -> list[WantedSlice]:
    """Return the slices that hold the deltas of a set; each once, in the order of the index."""
    return _slices(index.bundles, index.bundle_indexes, index.offsets, index.delta_sizes)


def _slices(
    bundles: Sequence[BundleRef], bundle_indexes: U32, offsets: U32, sizes: U32
) -> list[WantedSlice]:
    """Return the slices that spans of bundles touch, each once, in order of first touch."""
    firsts = offsets.astype(np.int64) // SLICE_SIZE
    lasts = (offsets.astype(np.int64) + sizes - 1) // SLICE_SIZE
    counts = lasts - firsts + 1
    # The n-th slice of a span that is cut in several: 0, 1, ... anew in every span.
    nth = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = np.repeat(bundle_indexes.astype(np.int64) * SLICES_MAX + firsts, counts) + nth
    _, first_at = np.unique(keys, return_index=True)
    in_order = keys[np.sort(first_at)].tolist()
    return [WantedSlice(bundles[key // SLICES_MAX], key % SLICES_MAX) for key in in_order]
