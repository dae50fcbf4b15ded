"""Where a chunk's bytes belong among the files that are to be built. Pure.

A build says which chunks make up a file; whoever has just received a chunk needs the opposite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifests.model import U32, U64, Piece, Shard

Mask = NDArray[np.bool_]


class Place(NamedTuple):
    """A stretch of a chunk in one file of one group."""

    group: int
    piece: Piece


class Layout:
    """The way from rows to the entries that are *staged*: those of which new files are built."""

    def __init__(
        self,
        shards: Sequence[Shard],
        staged: Sequence[Mask],
        *,
        kept: Sequence[Mask] | None = None,
        stored: Sequence[Mask] | None = None,
    ) -> None:
        """Lay out the ``staged`` entries.

        ``kept`` occurrences are in their places already, so they are not counted as writes; the
        rows that ``stored`` entries need are kept apart until a commit instead of being placed.
        """
        self._shards = shards
        self._staged = staged
        rows, groups, occurrences, sizes = [], [], [], []
        for group, (shard, mask) in enumerate(zip(shards, staged, strict=True)):
            wanted = np.flatnonzero(touching(shard, mask))
            rows.append(shard.occurrences[wanted])
            groups.append(np.full(len(wanted), group, np.uint16))
            occurrences.append(wanted.astype(np.uint32))
            staged_sizes = _staged_sizes(shard, mask, wanted)
            if kept is not None:
                staged_sizes[kept[group][wanted]] = 0
            sizes.append(staged_sizes)
        all_rows = np.concatenate(rows)
        order = np.argsort(all_rows, kind="stable")
        self._by_row = all_rows[order]
        self._groups = np.concatenate(groups)[order]
        self._occurrences = np.concatenate(occurrences)[order]
        self._sizes = np.concatenate(sizes)[order]
        self.stored_rows = _rows_of(shards, stored or [no_entries(shard) for shard in shards])
        """Rows that ``stored`` entries need, ascending."""

    @property
    def rows(self) -> U32:
        """Every row that a staged or stored entry needs, ascending: in play order."""
        return np.union1d(self._by_row, self.stored_rows)

    @property
    def placed_rows(self) -> U32:
        """Every row that a staged entry needs, ascending."""
        return np.unique(self._by_row)

    def is_stored(self, row: int) -> bool:
        """Return whether a row is to be kept until a commit."""
        wanted = np.uint32(row)
        at = int(np.searchsorted(self.stored_rows, wanted))
        return at < len(self.stored_rows) and bool(self.stored_rows[at] == wanted)

    def write_size(self, rows: Mask) -> int:
        """Return how many bytes are written when the rows of this mask are put in their places."""
        return int(self._sizes[rows[self._by_row]].sum(dtype=np.uint64))

    def places(self, row: int) -> Iterator[Place]:
        """Yield every place of a row in a staged entry."""
        # Plain numbers would make numpy copy the whole column to another type, on every call.
        first, last = np.searchsorted(self._by_row, np.array((row, row + 1), np.uint32))
        for at in range(first, last):
            group = int(self._groups[at])
            staged = self._staged[group]
            for piece in self._shards[group].pieces_of_chunk(int(self._occurrences[at])):
                if staged[piece.entry_index]:
                    yield Place(group, piece)


def touching(shard: Shard, entries: Mask) -> Mask:
    """Return the occurrences that hold a byte of any of ``entries``."""
    first, last = _entry_bounds(shard)
    counted = np.zeros(len(entries) + 1, np.int64)
    np.cumsum(entries & _has_bytes(shard), out=counted[1:])
    found: Mask = counted[last] > counted[first]
    return found


def covered(shard: Shard, entries: Mask) -> Mask:
    """Return the occurrences whose bytes all lie in ``entries``."""
    return ~touching(shard, ~entries)


def whole(shard: Shard, occurrences: Mask) -> Mask:
    """Return the entries whose every byte lies in ``occurrences``; those without bytes too."""
    first = np.searchsorted(shard.chunk_starts[1:], shard.entry_starts[:-1], side="right")
    last = np.searchsorted(shard.chunk_starts[:-1], shard.entry_starts[1:], side="left")
    lacking = np.zeros(len(occurrences) + 1, np.int64)
    np.cumsum(~occurrences, out=lacking[1:])
    found: Mask = (lacking[np.maximum(last, first)] == lacking[first]) | ~_has_bytes(shard)
    return found


def whole_occurrences(shard: Shard, entry_index: int) -> tuple[int, int] | None:
    """Return the occurrences, first and one past the last, that hold one entry and nothing else.

    None if the entry has no bytes or shares a chunk with a neighbour.
    """
    bounds = shard.entry_starts[entry_index : entry_index + 2]
    first, last = np.searchsorted(shard.chunk_starts, bounds).tolist()
    is_whole = first < last and bool((shard.chunk_starts[[first, last]] == bounds).all())
    return (first, last) if is_whole else None


def no_entries(shard: Shard) -> Mask:
    """Return the mask of nothing."""
    return np.zeros(len(shard.entries), np.bool_)


def _rows_of(shards: Sequence[Shard], entries: Sequence[Mask]) -> U32:
    rows = [
        shard.occurrences[touching(shard, mask)]
        for shard, mask in zip(shards, entries, strict=True)
    ]
    return np.unique(np.concatenate(rows))


def _has_bytes(shard: Shard) -> Mask:
    found: Mask = np.diff(shard.entry_starts) > 0
    return found


def _entry_bounds(shard: Shard) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, by occurrence, the first entry with bytes in it and the one after the last."""
    first = np.searchsorted(shard.entry_starts[1:], shard.chunk_starts[:-1], side="right")
    last = np.searchsorted(shard.entry_starts[:-1], shard.chunk_starts[1:], side="left")
    return first, np.maximum(first, last)


def _staged_sizes(shard: Shard, staged: Mask, occurrences: NDArray[np.int64]) -> U64:
    starts = shard.chunk_starts[occurrences]
    ends = shard.chunk_starts[occurrences + 1]
    sizes: U64 = _staged_before(shard, staged, ends) - _staged_before(shard, staged, starts)
    return sizes


def _staged_before(shard: Shard, staged: Mask, offsets: U64) -> U64:
    """Return how many bytes of staged entries lie before each offset of the stream."""
    entry_sizes = np.where(staged, np.diff(shard.entry_starts), 0).astype(np.uint64)
    before = np.zeros(len(staged) + 1, np.uint64)
    np.cumsum(entry_sizes, out=before[1:])
    index = np.searchsorted(shard.entry_starts[1:-1], offsets, side="right")
    inside = offsets - shard.entry_starts[index]
    found: U64 = before[index] + np.minimum(inside, entry_sizes[index])
    return found
