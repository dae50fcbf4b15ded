"""A build in memory: entries, streams of chunks, and where each chunk is stored.

Columns, not objects: 200,000 chunks (a build of 50 GB) take 7 MB here and would take 60 MB as
Python objects. A chunk is a *row* of the build's :class:`ChunkTable`; a group's stream is the
sequence of rows that :attr:`Shard.occurrences` holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, Digest
from manifests.documents import Root

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]


class EntryKind(IntEnum):
    """What an entry is; the numbers are the format's."""

    FILE = 0
    EXECUTABLE = 1
    DIRECTORY = 2
    LINK = 3

    @property
    def is_file(self) -> bool:
        """Whether the entry has bytes."""
        return self <= EntryKind.EXECUTABLE


@dataclass(frozen=True, slots=True)
class Entry:
    """A file (``size`` in bytes), an empty folder, or a link to ``target``."""

    path: str
    kind: EntryKind
    size: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True)
class BundleRef:
    """A bundle by id, and its size in bytes."""

    bundle_id: Digest
    size: int


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """Distinct chunks and where each is stored; all columns have the same length."""

    ids: NDArray[np.void]
    """16 bytes each."""
    sizes: U32
    stored_sizes: U32
    bundle_indexes: U32
    offsets: U32
    bundles: tuple[BundleRef, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def chunk_id(self, row: int) -> ChunkId:
        """Return the id of ``row``."""
        return ChunkId(self.ids[row].tobytes())

    def all_ids(self) -> list[ChunkId]:
        """Return every id, by row."""
        raw = self.ids.tobytes()
        return [ChunkId(raw[at : at + CHUNK_ID_SIZE]) for at in range(0, len(raw), CHUNK_ID_SIZE)]


class Piece(NamedTuple):
    """A stretch of bytes that lies in one file and in one chunk."""

    entry_index: int
    file_offset: int
    row: int
    chunk_offset: int
    length: int


@dataclass(frozen=True)
class Shard:
    """One install group: its entries, and its stream as rows of the build's chunk table."""

    name: str
    entries: tuple[Entry, ...]
    occurrences: U32
    chunk_starts: U64
    """Where each occurrence begins in the stream; one more at the end: the stream's size."""

    @cached_property
    def entry_starts(self) -> U64:
        """Where each entry begins in the stream; one more at the end: the stream's size."""
        return starts_of([entry.size for entry in self.entries])

    @property
    def size(self) -> int:
        """Bytes of the stream."""
        return int(self.chunk_starts[-1])

    def pieces_of_chunk(self, occurrence: int) -> Iterator[Piece]:
        """Yield where the bytes of one occurrence go, in order."""
        start, end = int(self.chunk_starts[occurrence]), int(self.chunk_starts[occurrence + 1])
        index = index_at(self.entry_starts, start)
        row, at = int(self.occurrences[occurrence]), start
        while at < end:
            file_start, file_end = int(self.entry_starts[index]), int(self.entry_starts[index + 1])
            length = min(end, file_end) - at
            if length > 0:
                yield Piece(index, at - file_start, row, at - start, length)
                at += length
            index += 1

    def pieces_of_entry(self, entry_index: int) -> Iterator[Piece]:
        """Yield where the bytes of one entry come from, in order."""
        start, end = int(self.entry_starts[entry_index]), int(self.entry_starts[entry_index + 1])
        occurrence, at = index_at(self.chunk_starts, start), start
        while at < end:
            chunk_start, chunk_end = (int(at_) for at_ in self.chunk_starts[occurrence:][:2])
            length = min(end, chunk_end) - at
            row = int(self.occurrences[occurrence])
            yield Piece(entry_index, at - start, row, at - chunk_start, length)
            at += length
            occurrence += 1


@dataclass(frozen=True)
class Build:
    """Everything a console or publisher knows of one build."""

    build_id: Digest
    root: Root
    chunks: ChunkTable
    shards: tuple[Shard, ...]

    @cached_property
    def row_of(self) -> dict[ChunkId, int]:
        """The chunk table's row of every id."""
        return {chunk_id: row for row, chunk_id in enumerate(self.chunks.all_ids())}

    @property
    def installed_size(self) -> int:
        """Bytes of all files."""
        return self.root.installed_size

    def entries(self) -> Iterator[tuple[Shard, int, Entry]]:
        """Yield every entry in play order, with its shard and its index there."""
        for shard in self.shards:
            for index, entry in enumerate(shard.entries):
                yield shard, index, entry


def starts_of(sizes: Sequence[int] | U32) -> U64:
    """Return the running sum of ``sizes``: one more than there are, the first 0."""
    starts = np.zeros(len(sizes) + 1, dtype=np.uint64)
    np.cumsum(np.asarray(sizes, dtype=np.uint64), out=starts[1:])
    return starts


def index_at(starts: U64, offset: int) -> int:
    """Return the last index whose start is not after ``offset``."""
    # A plain int would make numpy copy all of ``starts`` to floats, on every call.
    return int(np.searchsorted(starts, np.uint64(offset), side="right")) - 1
