"""The index of a delta set: which chunks can be made of which, and where the deltas are stored.

An index names chunks by id and says nothing of builds, so it serves every console that has, or
can make, the base chunks (``docs/format/deltas.md``).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chunks import codec
from chunks.chunk_id import CHUNK_ID_SIZE, DIGEST_SIZE, ChunkId, Digest, check_digest
from chunks.chunker import CHUNK_SIZE_MAX
from chunks.delta import BASE_SIZE_MAX, DELTA_SIZE_MAX, TARGET_SIZE_MAX, Method
from chunks.slices import BUNDLE_SIZE_MAX
from kit.buffers import Buffer
from kit.errors import FormatError, InvalidInput
from manifests.columns import ColumnReader, back_references, gaps_of, offsets_of, rows_of, to_planes
from manifests.documents import CHUNK_COUNT_MAX, PAGE_STORED_SIZE_MAX, ObjectRef
from manifests.model import U32, BundleRef

PLAIN_SIZE_MAX = 64 << 20
DELTA_COUNT_MAX = 1_000_000
VERSION = 1
MAGIC = b"PHDX"
COMPRESSION_LEVEL = 9
"""As a page: a console that has a manifest delta packs it again."""

_HEADER = struct.Struct("<4sIIIIII")
HEADER_SIZE = _HEADER.size
_PER_CHUNK = CHUNK_ID_SIZE + 4
_PER_DELTA = CHUNK_ID_SIZE + 21
_PER_BUNDLE = DIGEST_SIZE + 4


@dataclass(frozen=True, slots=True)
class StoredDelta:
    """One delta: the chunks it makes, of which, how, and where it is stored."""

    targets: tuple[ChunkId, ...]
    bases: tuple[ChunkId, ...]
    method: Method
    check: bytes
    """The first 16 bytes of the stored delta's digest."""
    bundle: BundleRef
    offset: int
    size: int


@dataclass(frozen=True)
class DeltaIndex:
    """A delta set in columns; a chunk is a *row* of ``ids`` and ``sizes``.

    The chunks that delta ``i`` makes are ``chunk_rows[starts[i] : middles[i]]``, those it needs
    are ``chunk_rows[middles[i] : starts[i + 1]]``.
    """

    ids: NDArray[np.void]
    sizes: U32
    """Plain, of each chunk."""
    methods: NDArray[np.uint8]
    checks: NDArray[np.void]
    delta_sizes: U32
    bundle_indexes: U32
    offsets: U32
    bundles: tuple[BundleRef, ...]
    chunk_rows: U32
    starts: NDArray[np.int64]
    middles: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.delta_sizes)

    @cached_property
    def all_ids(self) -> list[ChunkId]:
        """Every chunk's id, by row."""
        raw = self.ids.tobytes()
        return [ChunkId(raw[at : at + CHUNK_ID_SIZE]) for at in range(0, len(raw), CHUNK_ID_SIZE)]

    def target_rows(self, index: int) -> U32:
        """Return the rows of the chunks that a delta makes, in order."""
        return self.chunk_rows[self.starts[index] : self.middles[index]]

    def base_rows(self, index: int) -> U32:
        """Return the rows of the chunks that a delta needs, in order."""
        return self.chunk_rows[self.middles[index] : self.starts[index + 1]]

    def delta(self, index: int) -> StoredDelta:
        """Return one delta as a value."""
        ids = self.all_ids
        return StoredDelta(
            targets=tuple(ids[row] for row in self.target_rows(index).tolist()),
            bases=tuple(ids[row] for row in self.base_rows(index).tolist()),
            method=Method(int(self.methods[index])),
            check=self.checks[index].tobytes(),
            bundle=self.bundles[int(self.bundle_indexes[index])],
            offset=int(self.offsets[index]),
            size=int(self.delta_sizes[index]),
        )


def encode_delta_index(deltas: Sequence[StoredDelta], sizes: dict[ChunkId, int]) -> bytes:
    """Write an index of ``deltas``, at least one; ``sizes`` are the plain sizes of all chunks.

    Raises:
        InvalidInput: There are more deltas or chunks than an index may have.
    """
    assert deltas
    use_count = sum(len(delta.targets) + len(delta.bases) for delta in deltas)
    if len(deltas) > DELTA_COUNT_MAX or use_count > CHUNK_COUNT_MAX:
        raise InvalidInput(f"an index of {len(deltas)} deltas would use {use_count} chunks")
    row_of: dict[ChunkId, int] = {}
    rows = [
        row_of.setdefault(chunk_id, len(row_of))
        for delta in deltas
        for chunk_id in (*delta.targets, *delta.bases)
    ]
    bundle_index: dict[BundleRef, int] = {}
    bundle_rows = [bundle_index.setdefault(d.bundle, len(bundle_index)) for d in deltas]
    bundle_indexes, delta_sizes = _u32(bundle_rows), _u32([delta.size for delta in deltas])
    offsets = _u32([delta.offset for delta in deltas])
    body = b"".join(
        (
            b"".join(row_of),
            to_planes(_u32([sizes[chunk_id] for chunk_id in row_of])),
            bytes(delta.method for delta in deltas),
            to_planes(_u32([len(delta.targets) for delta in deltas])),
            to_planes(_u32([len(delta.bases) for delta in deltas])),
            to_planes(delta_sizes),
            to_planes(bundle_indexes),
            to_planes(gaps_of(bundle_indexes, offsets, delta_sizes)),
            b"".join(delta.check for delta in deltas),
            to_planes(back_references(_u32(rows))),
            b"".join(bundle.bundle_id for bundle in bundle_index),
            to_planes(_u32([bundle.size for bundle in bundle_index])),
        )
    )
    header = _HEADER.pack(MAGIC, VERSION, len(deltas), len(row_of), len(rows), len(bundle_index), 0)
    data = header + codec.compress(body, COMPRESSION_LEVEL)
    if len(body) > PLAIN_SIZE_MAX or len(data) > PAGE_STORED_SIZE_MAX:
        raise InvalidInput(f"an index of {len(deltas)} deltas needs {len(body)} bytes")
    return data


def parse_delta_index(data: Buffer, ref: ObjectRef) -> DeltaIndex:
    """Read the index that ``ref`` names.

    Raises:
        IntegrityError: The bytes have another digest.
        FormatError: They break a rule of the format; the message says which.
    """
    what = f"delta index {ref.digest}"
    check_digest(what, data, ref.raw_digest)
    if len(data) != ref.size:
        raise FormatError(f"{what} has {len(data)} bytes; its head says {ref.size}")
    try:
        return _parse(memoryview(data))
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from error


def _parse(data: memoryview) -> DeltaIndex:
    if len(data) < _HEADER.size or data[:4] != MAGIC:
        raise FormatError("is no delta index")
    _, version, delta_count, chunk_count, use_count, bundle_count, zero = _HEADER.unpack_from(data)
    if version != VERSION:
        raise FormatError(f"has format {version}; this program reads {VERSION}: update the program")
    if zero or not 0 < bundle_count <= delta_count <= DELTA_COUNT_MAX:
        raise FormatError("has impossible counts")
    if not delta_count <= chunk_count <= use_count <= CHUNK_COUNT_MAX:
        raise FormatError("has impossible counts")
    size = (
        _PER_CHUNK * chunk_count
        + _PER_DELTA * delta_count
        + 4 * use_count
        + _PER_BUNDLE * bundle_count
    )
    if size > PLAIN_SIZE_MAX:
        raise FormatError(f"would open to {size} bytes; at most {PLAIN_SIZE_MAX}")
    columns = ColumnReader(codec.decompress(data[_HEADER.size :], size))
    ids, sizes = columns.rows(chunk_count, CHUNK_ID_SIZE), columns.u32_planes(chunk_count)
    methods = columns.bytes_column(delta_count)
    target_counts, base_counts = columns.u32_planes(delta_count), columns.u32_planes(delta_count)
    delta_sizes, bundle_indexes = columns.u32_planes(delta_count), columns.u32_planes(delta_count)
    gaps, checks = columns.u32_planes(delta_count), columns.rows(delta_count, CHUNK_ID_SIZE)
    references = columns.u32_planes(use_count)
    bundle_ids, bundle_sizes = (
        columns.take(DIGEST_SIZE * bundle_count),
        columns.u32_planes(bundle_count),
    )
    counts = target_counts.astype(np.int64) + base_counts
    if np.any(target_counts == 0) or int(counts.sum()) != use_count:
        raise FormatError("has deltas that do not add up")
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    _check_bundles(bundle_indexes, bundle_sizes)
    offsets = offsets_of(bundle_indexes, gaps, delta_sizes)
    if np.any(offsets.astype(np.uint64) + delta_sizes > bundle_sizes[bundle_indexes]):
        raise FormatError("has a delta that reaches out of its bundle")
    raw = bytes(bundle_ids)
    digests = [Digest(raw[at : at + DIGEST_SIZE]) for at in range(0, len(raw), DIGEST_SIZE)]
    index = DeltaIndex(
        ids=ids,
        sizes=sizes,
        methods=methods,
        checks=checks,
        delta_sizes=delta_sizes,
        bundle_indexes=bundle_indexes,
        offsets=offsets,
        bundles=tuple(map(BundleRef, digests, bundle_sizes.tolist())),
        chunk_rows=_chunk_rows(references, chunk_count),
        starts=starts,
        middles=starts[:-1] + target_counts.astype(np.int64),
    )
    _check_deltas(index)
    return index


def _check_bundles(bundle_indexes: U32, bundle_sizes: U32) -> None:
    if np.any(bundle_sizes > BUNDLE_SIZE_MAX):
        raise FormatError(f"has a bundle of more than {BUNDLE_SIZE_MAX} bytes")
    count = len(bundle_sizes)
    if len(np.unique(bundle_indexes)) != count or np.any(bundle_indexes >= count):
        raise FormatError("does not use its bundles")


def _chunk_rows(references: U32, chunk_count: int) -> U32:
    try:
        rows = rows_of(references)
    except ValueError as error:
        raise FormatError(str(error)) from error
    if np.count_nonzero(references == 0) != chunk_count:
        raise FormatError("lists a chunk that no delta makes or needs")
    return rows


def _check_deltas(index: DeltaIndex) -> None:
    """Hold every delta against the limits that whoever applies it relies on."""
    sizes = index.sizes
    if np.any(sizes == 0) or np.any(sizes > CHUNK_SIZE_MAX):
        raise FormatError("has a chunk of impossible size")
    if len(np.unique(index.ids)) != len(index.ids):
        raise FormatError("lists a chunk twice")
    if np.any(index.methods > max(Method)):
        raise FormatError("has a delta of an unknown method")
    if np.any(index.delta_sizes == 0) or np.any(index.delta_sizes > DELTA_SIZE_MAX):
        raise FormatError("has a delta of impossible size")
    totals = np.concatenate(([0], np.cumsum(sizes[index.chunk_rows], dtype=np.int64)))
    target_sizes = totals[index.middles] - totals[index.starts[:-1]]
    base_sizes = totals[index.starts[1:]] - totals[index.middles]
    if np.any(target_sizes > TARGET_SIZE_MAX) or np.any(base_sizes > BASE_SIZE_MAX):
        raise FormatError("has a delta of more bytes than one may take or make")
    of_targets = np.zeros(len(index.chunk_rows), np.int64)
    of_targets[index.starts[:-1]] += 1
    np.add.at(of_targets, index.middles[index.middles < len(of_targets)], -1)
    is_target = np.cumsum(of_targets) > 0
    made = index.chunk_rows[is_target]
    if len(np.unique(made)) != len(made):
        raise FormatError("makes a chunk twice")
    if len(np.intersect1d(made, index.chunk_rows[~is_target])):
        raise FormatError("needs a chunk that it makes")


def _u32(numbers: Sequence[int]) -> U32:
    return np.array(numbers, dtype=np.uint32)
