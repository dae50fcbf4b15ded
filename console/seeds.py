"""Bytes already on this console: which chunks of a new build an older one can give."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chunks.chunk_id import CHUNK_ID_SIZE, digest_of
from chunks.chunker import CHUNK_SIZE_MAX
from console.layout import Mask
from kit.buffers import Buffer
from manifests.model import Build, ChunkTable

Rows = NDArray[np.int64]
"""Row numbers, -1 for none."""


class SeedFiles(Protocol):
    """Opens the files of a build, wherever they lie. Belongs to one thread."""

    def open_entry(self, group: int, entry_index: int) -> int | None:
        """Return a descriptor for reading, or None if the file is not there."""

    def close(self) -> None:
        """Close what it holds open."""


class SeedPlace(Protocol):
    """Where a build's files lie; hands out one :class:`SeedFiles` for each thread."""

    def files(self) -> SeedFiles:
        """Return files to be used, and closed, by the calling thread."""


@dataclass(frozen=True)
class Seed:
    """A build of which some files are here."""

    build: Build
    place: SeedPlace
    usable: Sequence[Mask]
    """By group: the occurrences that can be read."""
    is_installed: bool = False
    """Whether these are the files in place, which stay until a commit."""

    def first_usable(self) -> tuple[Rows, Rows]:
        """Return, by row, the group and the occurrence to read it from; -1 for none."""
        return first_usable(self.build, self.usable)


@dataclass(frozen=True, slots=True)
class Copies:
    """Chunks of a new build to be read from one seed; columns of equal length."""

    seed: Seed
    rows: Rows
    """Of the new build, ascending."""
    groups: Rows
    occurrences: Rows
    """Of the seed."""


def first_usable(build: Build, usable: Sequence[Mask]) -> tuple[Rows, Rows]:
    """Return, by row of ``build``, the first of its ``usable`` occurrences, and the group.

    -1 for none, in both.
    """
    groups = np.full(len(build.chunks), -1, np.int64)
    occurrences = np.full(len(build.chunks), -1, np.int64)
    for group in reversed(range(len(build.shards))):
        found = np.flatnonzero(usable[group])[::-1]
        rows = build.shards[group].occurrences[found]
        groups[rows], occurrences[rows] = group, found
    return groups, occurrences


def copies_from(seed: Seed, chunks: ChunkTable, rows: Rows) -> Copies:
    """Return which of ``rows`` of the new build ``seed`` can give."""
    groups, occurrences = seed.first_usable()
    found = same_rows(chunks.ids[rows], seed.build.chunks.ids)
    has = found >= 0
    has[has] = groups[found[has]] >= 0
    return Copies(seed, rows[has], groups[found[has]], occurrences[found[has]])


def same_rows(wanted: NDArray[np.void], ids: NDArray[np.void]) -> Rows:
    """Return the position in ``ids`` of each of ``wanted``; -1 for none."""
    if len(ids) == 0 or len(wanted) == 0:
        return np.full(len(wanted), -1, np.int64)
    # As pairs of numbers, for numpy compares those faster than raw bytes; any order will do.
    table, keys = _numbers(ids), _numbers(wanted)
    order = np.argsort(table[:, 0], kind="stable")
    at = np.minimum(np.searchsorted(table[:, 0], keys[:, 0], sorter=order), len(order) - 1)
    found = order[at]
    return np.where((table[found] == keys).all(axis=1), found, -1)


def _numbers(ids: NDArray[np.void]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(ids).view(np.uint64).reshape(len(ids), CHUNK_ID_SIZE // 8)


class SeedReader:
    """Reads and verifies chunks of one seed. Belongs to one thread; to be closed."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._files = seed.place.files()
        self._buffer = bytearray(CHUNK_SIZE_MAX)
        self._fd: int | None = None
        self._entry = (-1, -1)

    def read(self, group: int, occurrence: int) -> Buffer | None:
        """Return a chunk's bytes if they are what its id says, valid until the next call."""
        shard = self._seed.build.shards[group]
        row = int(shard.occurrences[occurrence])
        size = int(self._seed.build.chunks.sizes[row])
        chunk = memoryview(self._buffer)[:size]
        for piece in shard.pieces_of_chunk(occurrence):
            fd = self._open(group, piece.entry_index)
            end = piece.chunk_offset + piece.length
            if fd is None or not read_exactly(
                fd, chunk[piece.chunk_offset : end], piece.file_offset
            ):
                return None
        is_right = digest_of(chunk)[:CHUNK_ID_SIZE] == self._seed.build.chunks.chunk_id(row)
        return chunk if is_right else None

    def is_hole(self, group: int, occurrence: int) -> bool:
        """Return whether a chunk begins where its file has no bytes on disk."""
        shard = self._seed.build.shards[group]
        piece = next(shard.pieces_of_chunk(occurrence))
        fd = self._open(group, piece.entry_index)
        return fd is None or _is_hole(fd, piece.file_offset)

    def close(self) -> None:
        """Close the files."""
        self._close_file()
        self._files.close()

    def _open(self, group: int, entry_index: int) -> int | None:
        if self._entry != (group, entry_index):
            self._close_file()
            self._fd = self._files.open_entry(group, entry_index)
            self._entry = (group, entry_index)
        return self._fd

    def _close_file(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._entry = None, (-1, -1)


def _is_hole(fd: int, offset: int) -> bool:
    try:
        return os.lseek(fd, offset, os.SEEK_DATA) != offset
    except OSError as error:
        if error.errno == errno.ENXIO:
            return True
        if error.errno == errno.EINVAL:  # this file system cannot tell
            return False
        raise


def read_exactly(fd: int, into: memoryview, offset: int) -> bool:
    """Fill ``into`` from ``offset`` of a file; return False if the file ends before."""
    while into:
        count = os.preadv(fd, [into], offset)
        if count == 0:
            return False
        into, offset = into[count:], offset + count
    return True
