"""Keep account of the build's chunks: which occur where, and where each one is stored.

Chunks are entered in stream order, so rows are numbered in play order whatever threads do. Chunk
columns grow as arrays: a row takes 32 bytes and its key in a dictionary about 150.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, Digest, chunk_id_of
from kit.errors import Conflict, InvalidInput
from manifests.documents import CHUNK_COUNT_MAX
from manifests.model import U32, BundleRef, ChunkTable
from packager.file_cache import SegmentChunks
from packager.journal import JournaledBundle
from packager.known_chunks import KnownChunks, Location
from packager.windows import CachedPart, CutPart, Window


class NewChunk(NamedTuple):
    """A chunk that must be stored: its row, and its bytes ``[start, end)`` of the window."""

    row: int
    group_index: int
    digest: Digest
    start: int
    end: int


class AdoptedBundle(NamedTuple):
    """A bundle of an interrupted push that takes the place of one that would be packed here."""

    group_index: int


NewItem: TypeAlias = NewChunk | AdoptedBundle


class _OpenCut(NamedTuple):
    ids: bytearray
    sizes: array[int]


class Ledger:
    """The chunks of one build. Owned by one thread."""

    def __init__(
        self,
        group_count: int,
        known: KnownChunks,
        journaled: Iterable[JournaledBundle] = (),
        refusal: Conflict | None = None,
    ) -> None:
        """Begin an empty account.

        Args:
            group_count: How many install groups the build has.
            known: Chunks in storage.
            journaled: Bundles in storage that an interrupted push left.
            refusal: Raised at the first chunk that is not known: the build must hold none.
        """
        self._known = known
        self._journaled = {chunk_id_of(bundle.chunks[0].digest): bundle for bundle in journaled}
        self._refusal = refusal
        self._adopted: dict[ChunkId, Location] = {}
        self._row_of: dict[ChunkId, int] = {}
        self._ids = bytearray()
        self._sizes, self._stored_sizes = array("I"), array("I")
        self._bundle_indexes, self._offsets = array("I"), array("I")
        self._bundles: list[BundleRef | None] = []
        self._bundle_index: dict[BundleRef, int] = {}
        self._occurrences = [array("I") for _ in range(group_count)]
        self._cuts: dict[bytes, SegmentChunks | _OpenCut] = {}
        self.new_count = 0
        """Chunks that must be stored."""
        self.resumed_count = 0
        """Chunks that are in storage only thanks to an interrupted push."""

    def enter(self, window: Window) -> list[NewItem]:
        """Enter a window's chunks and return what must be stored, in order.

        Raises:
            Conflict: One is new, and a refusal was given.
            InvalidInput: The build has too many chunks.
        """
        items: list[NewItem] = []
        for part in window.parts:
            match part:
                case CachedPart():
                    self._enter_cached(part)
                case CutPart():
                    self._enter_cut(part, items)
        if sum(map(len, self._occurrences)) > CHUNK_COUNT_MAX:
            raise InvalidInput(f"the build has more than {CHUNK_COUNT_MAX} chunks")
        return items

    def reserve_bundle(self) -> int:
        """Return the index of a bundle that has no name yet."""
        self._bundles.append(None)
        return len(self._bundles) - 1

    def place(self, row: int, bundle_index: int, offset: int, stored_size: int) -> None:
        """Note where a new chunk is stored."""
        self._bundle_indexes[row] = bundle_index
        self._offsets[row] = offset
        self._stored_sizes[row] = stored_size

    def name_bundle(self, bundle_index: int, bundle: BundleRef) -> None:
        """Give a reserved bundle its name."""
        self._bundles[bundle_index] = bundle

    def table(self) -> ChunkTable:
        """Return all chunks; every bundle must have its name."""
        bundles = tuple(bundle for bundle in self._bundles if bundle is not None)
        assert len(bundles) == len(self._bundles)
        return ChunkTable(
            ids=np.frombuffer(bytes(self._ids), dtype=f"V{CHUNK_ID_SIZE}"),
            sizes=_column(self._sizes),
            stored_sizes=_column(self._stored_sizes),
            bundle_indexes=_column(self._bundle_indexes),
            offsets=_column(self._offsets),
            bundles=bundles,
        )

    def cuts(self) -> dict[bytes, SegmentChunks]:
        """Return the chunks of every segment, by its key."""
        return {key: _closed(cut) for key, cut in self._cuts.items()}

    def occurrences(self, group_index: int) -> U32:
        """Return the stream of a group as rows."""
        return _column(self._occurrences[group_index])

    def _enter_cached(self, part: CachedPart) -> None:
        self._cuts[part.segment.key] = part.chunks
        occurrences = self._occurrences[part.segment.group_index]
        for chunk_id, size in part.chunks:
            row = self._row_of.get(chunk_id)
            if row is None:
                location = self._known.find(chunk_id)
                assert location is not None
                row = self._add_located(chunk_id, size, location)
            occurrences.append(row)

    def _enter_cut(self, part: CutPart, items: list[NewItem]) -> None:
        group_index, start = part.segment.group_index, part.start
        occurrences = self._occurrences[group_index]
        cut = self._cuts.setdefault(part.segment.key, _OpenCut(bytearray(), array("I")))
        assert isinstance(cut, _OpenCut)
        for digest, size in zip(part.digests, part.sizes, strict=True):
            chunk_id = chunk_id_of(digest)
            row = self._row_of.get(chunk_id)
            if row is None:
                location = self._locate(chunk_id, group_index, items)
                if location is None:
                    row = self._add(chunk_id, size)
                    items.append(NewChunk(row, group_index, digest, start, start + size))
                else:
                    row = self._add_located(chunk_id, size, location)
            occurrences.append(row)
            cut.ids.extend(chunk_id)
            cut.sizes.append(size)
            start += size

    def _locate(self, chunk_id: ChunkId, group_index: int, items: list[NewItem]) -> Location | None:
        location = self._known.find(chunk_id)
        if location is not None:
            return location
        if self._refusal is not None:
            raise self._refusal
        bundle = self._journaled.pop(chunk_id, None)
        if bundle is not None:
            self._adopt(bundle)
            items.append(AdoptedBundle(group_index))
        location = self._adopted.get(chunk_id)
        if location is None:
            self.new_count += 1
        else:
            self.resumed_count += 1
        return location

    def _adopt(self, bundle: JournaledBundle) -> None:
        """Take the bundle as stored for all its chunks: the next new ones, if nothing changed."""
        ref = BundleRef(bundle.bundle_id, bundle.size)
        for chunk in bundle.chunks:
            location = Location(ref, chunk.offset, chunk.stored_size)
            self._adopted.setdefault(chunk_id_of(chunk.digest), location)

    def _add_located(self, chunk_id: ChunkId, size: int, location: Location) -> int:
        index = self._bundle_index.get(location.bundle)
        if index is None:
            index = self._bundle_index[location.bundle] = self.reserve_bundle()
            self.name_bundle(index, location.bundle)
        row = self._add(chunk_id, size)
        self.place(row, index, location.offset, location.stored_size)
        return row

    def _add(self, chunk_id: ChunkId, size: int) -> int:
        row = self._row_of[chunk_id] = len(self._sizes)
        self._ids += chunk_id
        self._sizes.append(size)
        for column in (self._stored_sizes, self._bundle_indexes, self._offsets):
            column.append(0)
        return row


def _closed(cut: SegmentChunks | _OpenCut) -> SegmentChunks:
    if isinstance(cut, SegmentChunks):
        return cut
    return SegmentChunks(bytes(cut.ids), _column(cut.sizes).astype("<u4").tobytes())


def _column(numbers: Sequence[int]) -> U32:
    return np.array(numbers, dtype=np.uint32)
