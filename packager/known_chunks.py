"""Where the chunks lie that a title has in storage already: they need no upload."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from chunks.chunk_id import ChunkId, Digest
from manifests.model import BundleRef, ChunkTable


class Location(NamedTuple):
    """Where a chunk is stored; offset and stored size in bytes."""

    bundle: BundleRef
    offset: int
    stored_size: int


class KnownChunks:
    """The chunks of some builds, as far as their bundles are in storage.

    Of a chunk that lies in two places the first one given counts, always: so the same content
    makes the same build again.
    """

    def __init__(self, tables: Iterable[ChunkTable], stored: Mapping[Digest, int]) -> None:
        """Take in ``tables``; ``stored`` are the bundles in storage, their sizes by id."""
        self._tables: list[ChunkTable] = []
        self._starts: list[int] = []
        self._row_of: dict[ChunkId, int] = {}
        """Rows of all tables laid end to end: one object for each chunk would take 200 bytes."""
        start = 0
        for table in tables:
            self._tables.append(table)
            self._starts.append(start)
            self._add(table, start, stored)
            start += len(table)

    def __contains__(self, chunk_id: ChunkId) -> bool:
        return chunk_id in self._row_of

    def find(self, chunk_id: ChunkId) -> Location | None:
        """Return where a chunk is stored, or None if that is not known."""
        row = self._row_of.get(chunk_id)
        if row is None:
            return None
        number = bisect_right(self._starts, row) - 1
        table, row = self._tables[number], row - self._starts[number]
        bundle = table.bundles[int(table.bundle_indexes[row])]
        return Location(bundle, int(table.offsets[row]), int(table.stored_sizes[row]))

    def _add(self, table: ChunkTable, start: int, stored: Mapping[Digest, int]) -> None:
        is_there = [stored.get(bundle.bundle_id) == bundle.size for bundle in table.bundles]
        ids = table.all_ids()
        rows = np.flatnonzero(np.array(is_there, dtype=np.bool_)[table.bundle_indexes])
        for row in rows.tolist():
            self._row_of.setdefault(ids[row], start + row)
