"""Plane columns and their bookkeeping: how a page turns numbers into bytes that pack well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kit.buffers import Buffer
from manifests.model import U32, U64


def to_planes(column: U32 | U64) -> bytes:
    """Write a column as planes: the lowest byte of every number, then the next, and so on."""
    little = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(len(column), column.dtype.itemsize).T.tobytes()


class ColumnReader:
    """Takes columns off the front of a page's plain bytes, one after another.

    The caller has checked that the columns' sizes add up to the buffer's.
    """

    def __init__(self, body: Buffer) -> None:
        self._body = memoryview(body)
        self._at = 0

    def take(self, size: int) -> memoryview:
        """Return the next ``size`` bytes."""
        taken = self._body[self._at : self._at + size]
        self._at += size
        return taken

    def bytes_column(self, count: int) -> NDArray[np.uint8]:
        """Return the next ``count`` bytes as numbers."""
        return np.frombuffer(self.take(count), dtype=np.uint8)

    def u32_planes(self, count: int) -> U32:
        """Return the next column of 32-bit numbers."""
        planes = np.frombuffer(self.take(4 * count), dtype=np.uint8).reshape(4, count)
        return np.ascontiguousarray(planes.T).view("<u4").reshape(count).astype(np.uint32)

    def u64_planes(self, count: int) -> U64:
        """Return the next column of 64-bit numbers."""
        planes = np.frombuffer(self.take(8 * count), dtype=np.uint8).reshape(8, count)
        return np.ascontiguousarray(planes.T).view("<u8").reshape(count).astype(np.uint64)

    def rows(self, count: int, size: int) -> NDArray[np.void]:
        """Return the next ``count`` rows of ``size`` bytes."""
        return np.frombuffer(self.take(count * size), dtype=f"V{size}").copy()


def gaps_of(bundles: U32, offsets: U32, stored_sizes: U32) -> U32:
    """Return each chunk's distance from where the chunk before it ended, if in the same bundle.

    A chunk that opens a bundle counts from 0. A build packed in one go has only zeros.
    """
    expected = np.zeros(len(offsets), dtype=np.uint32)
    follows = np.flatnonzero(bundles[1:] == bundles[:-1]) + 1
    expected[follows] = offsets[follows - 1] + stored_sizes[follows - 1]
    return offsets - expected  # wraps: the format counts modulo 2^32


def offsets_of(bundles: U32, gaps: U32, stored_sizes: U32) -> U32:
    """Undo :func:`gaps_of`."""
    if len(gaps) == 0:
        return gaps
    follows = np.concatenate(([False], bundles[1:] == bundles[:-1]))
    steps = gaps.copy()
    steps[1:][follows[1:]] += stored_sizes[:-1][follows[1:]]
    totals = np.cumsum(steps, dtype=np.uint32)
    run_starts = np.maximum.accumulate(np.where(follows, 0, np.arange(len(gaps))))
    offsets: U32 = totals - (totals - gaps)[run_starts]
    return offsets


def back_references(rows: U32) -> U32:
    """Return, for each row number, how many rows were seen before it minus the row; 0 is a new row.

    Rows must be numbered in the order they first occur.
    """
    return _seen_before(_is_first(rows)) - rows


def rows_of(references: U32) -> U32:
    """Undo :func:`back_references`.

    Raises:
        ValueError: A reference points before the first row.
    """
    seen = _seen_before(references == 0)
    if np.any(references > seen):
        raise ValueError("an occurrence points before the first chunk")
    return seen - references


def _is_first(rows: U32) -> NDArray[np.bool_]:
    highest = np.maximum.accumulate(rows.astype(np.int64)) if len(rows) else rows.astype(np.int64)
    return np.concatenate(([True], rows[1:] > highest[:-1]))[: len(rows)]


def _seen_before(is_new: NDArray[np.bool_]) -> U32:
    counts = np.cumsum(is_new, dtype=np.uint32)
    before: U32 = counts - is_new.astype(np.uint32)
    return before
