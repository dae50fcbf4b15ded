"""Find where new bytes come from: short pieces of content that stand in the old build too.

Old and new bytes are cut by content into pieces of about a kilobyte. A piece that occurs in both is
an *anchor*: it says that around here, new bytes lie a certain *shift* from old ones. One anchor may
be chance; where several agree, the old bytes between and around them are where to look, whether
their file was moved, renamed, split or grown. Where no anchor hits, as in a program whose every
address changed, the shift of the neighbours is the best guess there is.

Positions count bytes of a build's distinct chunks laid end to end in play order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray
from pyfastcdc import FastCDC

from kit.buffers import Buffer

PIECE_SIZE = 1024
"""On average. Half of it finds a little more in programs and takes twice the memory."""

ANCHOR_COUNT_MAX = 8 << 20
"""128 MiB of hashes and positions; of builds that would need more, pieces are cut larger."""

REPEATS_MAX = 4
"""A piece that stands in more places than this (zeros, padding) says nothing of where from."""

GAP_MAX = 256 << 10
"""Anchors no farther apart than this are of one window."""

MARGIN = 64 << 10
"""Taken on both sides of a window: an anchor is missed where a change cuts it."""

WEIGHT_MIN = 4096
"""Bytes of anchors that make a window worth reading."""


class Window(NamedTuple):
    """A span ``[start, end)`` of old positions, and how many bytes of anchors speak for it."""

    start: int
    end: int
    weight: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces of one stretch of bytes: hash, position and size of each."""

    hashes: NDArray[np.uint64]
    positions: NDArray[np.int64]
    sizes: NDArray[np.uint32]


def piece_size_for(size: int) -> int:
    """Return how large pieces must be on average for ``size`` bytes of old content."""
    piece_size = PIECE_SIZE
    while size // piece_size > ANCHOR_COUNT_MAX:
        piece_size *= 2
    return piece_size


def pieces_of(content: Buffer, position: int, piece_size: int = PIECE_SIZE) -> Pieces:
    """Cut ``content``, which begins at ``position``, into pieces."""
    view = memoryview(content)
    if len(view) == 0:
        none = np.zeros(0, np.uint64)
        return Pieces(none, none.astype(np.int64), none.astype(np.uint32))
    cutter = FastCDC(piece_size, min_size=piece_size // 4, max_size=piece_size * 4, seed=0)
    spans = [(cut.offset, cut.length) for cut in cutter.cut_buf(view)]
    digest = xxhash.xxh3_64_intdigest
    hashes = [digest(view[offset : offset + length]) for offset, length in spans]
    offsets, lengths = np.array(spans, np.int64).T
    return Pieces(np.array(hashes, np.uint64), offsets + position, lengths.astype(np.uint32))


class AnchorIndex:
    """All pieces of the old content, to be asked by hash. Immutable; threads may share it."""

    def __init__(self, pieces: Iterable[Pieces]) -> None:
        """Take in ``pieces``; of many equal ones none is kept."""
        found = list(pieces)
        hashes = np.concatenate([np.zeros(0, np.uint64), *(each.hashes for each in found)])
        positions = np.concatenate([np.zeros(0, np.int64), *(each.positions for each in found)])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._positions = hashes[order], positions[order]

    def __len__(self) -> int:
        return len(self._hashes)

    def hits(self, pieces: Pieces) -> Hits:
        """Return every place at which one of ``pieces`` stands in the old content."""
        first = np.searchsorted(self._hashes, pieces.hashes, side="left")
        counts = np.searchsorted(self._hashes, pieces.hashes, side="right") - first
        counts[counts > REPEATS_MAX] = 0
        index = np.repeat(np.arange(len(counts)), counts)
        nth = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
        old = self._positions[first[index] + nth]
        return Hits(old, pieces.positions[index], pieces.sizes[index].astype(np.int64))


@dataclass(frozen=True, slots=True)
class Hits:
    """Anchors: where a piece stands in the old and in the new content, and its size."""

    old: NDArray[np.int64]
    new: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def main_shift(self) -> int | None:
        """Return the shift from new to old positions that most bytes vote for; None if none do.

        Shifts are counted in bands of 64 KiB, for every insertion on the way changes them a little.
        """
        if len(self.old) == 0:
            return None
        shifts = self.old - self.new
        bands, band_of = np.unique(shifts >> 16, return_inverse=True)
        best = np.argmax(np.bincount(band_of, weights=self.sizes, minlength=len(bands)))
        return int(np.median(shifts[band_of == best]))

    def windows(self) -> list[Window]:
        """Return the spans of old content that anchors speak for, the weightiest first."""
        order = np.argsort(self.old, kind="stable")
        starts, sizes = self.old[order], self.sizes[order]
        if len(starts) == 0:
            return []
        ends = starts + sizes
        breaks = np.flatnonzero(starts[1:] - np.maximum.accumulate(ends)[:-1] > GAP_MAX) + 1
        bounds = [0, *breaks.tolist(), len(starts)]
        found = [
            Window(
                int(starts[first]) - MARGIN,
                int(ends[first:last].max()) + MARGIN,
                int(sizes[first:last].sum()),
            )
            for first, last in pairwise(bounds)
        ]
        worthy = [window for window in found if window.weight >= WEIGHT_MIN]
        return sorted(worthy, key=lambda window: -window.weight)


def nearest_shifts(shifts: Sequence[int | None]) -> list[tuple[int, ...]]:
    """Return for each place its own shift, or those of the nearest places that have one."""
    before: list[int | None] = []
    last: int | None = None
    for shift in shifts:
        last = shift if shift is not None else last
        before.append(last)
    after: list[int | None] = []
    last = None
    for shift in reversed(shifts):
        last = shift if shift is not None else last
        after.append(last)
    pairs = zip(before, reversed(after), strict=True)
    return [tuple({s for s in pair if s is not None}) for pair in pairs]
