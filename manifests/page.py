"""Pages: a build's entries and chunks in columns, small enough to begin with the first one.

The byte layout, its rules and the reasons are in ``docs/format/manifest.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chunks import codec
from chunks.chunk_id import CHUNK_ID_SIZE, DIGEST_SIZE, Digest, check_digest
from chunks.chunker import CHUNK_SIZE_MAX
from chunks.slices import BUNDLE_SIZE_MAX
from kit.buffers import Buffer
from kit.errors import FormatError, InvalidInput
from manifests.columns import (
    ColumnReader,
    back_references,
    gaps_of,
    offsets_of,
    rows_of,
    to_planes,
)
from manifests.documents import (
    CHUNK_COUNT_MAX,
    ENTRY_COUNT_MAX,
    PAGE_STORED_SIZE_MAX,
    STREAM_SIZE_MAX,
    PageRef,
)
from manifests.model import U32, BundleRef, ChunkTable, Entry, EntryKind

FIRST_PAGE_AIM = 8 << 10
"""In estimated bytes: with head and root it fits the first round trips of a connection."""
PAGE_AIM = 256 << 10
PLAIN_SIZE_MAX = 64 << 20

VERSION = 1
MAGIC = b"PHPG"
COMPRESSION_LEVEL = 9

_HEADER = struct.Struct("<4sIQIIIIII")
HEADER_SIZE = _HEADER.size


@dataclass(frozen=True, slots=True)
class EncodedPage:
    """A page as it is stored, and what its root says of it."""

    data: bytes
    entry_count: int
    chunk_count: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was read; ``occurrences`` are rows of this page's own ``chunks``."""

    stream_offset: int
    entries: tuple[Entry, ...]
    chunks: ChunkTable
    occurrences: U32


def encode_shard(
    entries: Sequence[Entry], chunks: ChunkTable, occurrences: U32, *, is_first_group: bool
) -> Iterator[EncodedPage]:
    """Write a group's pages in order; ``occurrences`` are rows of ``chunks``."""
    entry_at, stream_offset = 0, 0
    for first, last, entry_end in _page_bounds(entries, chunks, occurrences, is_first_group):
        rows = occurrences[first:last]
        yield _encode(entries[entry_at:entry_end], chunks, rows, stream_offset)
        stream_offset += int(chunks.sizes[rows].sum(dtype=np.uint64))
        entry_at = entry_end


def parse_page(data: Buffer, ref: PageRef) -> Page:
    """Read the page that ``ref`` names.

    Raises:
        IntegrityError: The bytes have another digest.
        FormatError: They break a rule of the format; the message says which.
    """
    what = f"page {ref.digest}"
    check_digest(what, data, ref.raw_digest)
    if len(data) != ref.size:
        raise FormatError(f"{what} has {len(data)} bytes; its root says {ref.size}")
    try:
        return _parse(memoryview(data), ref)
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from error


def _page_bounds(
    entries: Sequence[Entry], chunks: ChunkTable, occurrences: U32, is_first_group: bool
) -> Iterator[tuple[int, int, int]]:
    """Yield each page's first occurrence, the one after its last, and the entry after its last."""
    aim = FIRST_PAGE_AIM if is_first_group else PAGE_AIM
    first, cost, entry_at, entry_start, chunk_start = 0, 0, 0, 0, 0
    bundles: set[int] = set()
    for index, row in enumerate(occurrences.tolist()):
        chunk_end = chunk_start + int(chunks.sizes[row])
        entry_after, start_after, added = entry_at, entry_start, 0
        while entry_after < len(entries) and start_after < chunk_end:
            added += 6 + len(entries[entry_after].path.encode()) // 2
            start_after += entries[entry_after].size
            entry_after += 1
        bundle = int(chunks.bundle_indexes[row])
        added += 24 + (0 if bundle in bundles else 36)
        if index > first and cost + added > aim:
            yield first, index, entry_at
            added += 36 if bundle in bundles else 0
            first, cost, aim, bundles = index, 0, PAGE_AIM, set()
        bundles.add(bundle)
        cost += added
        entry_at, entry_start, chunk_start = entry_after, start_after, chunk_end
    yield first, len(occurrences), len(entries)


def _encode(
    entries: Sequence[Entry], chunks: ChunkTable, occurrences: U32, stream_offset: int
) -> EncodedPage:
    rows, local = _numbered_by_first_use(occurrences)
    bundle_rows, bundle_indexes = _numbered_by_first_use(chunks.bundle_indexes[rows])
    bundles = [chunks.bundles[index] for index in bundle_rows.tolist()]
    stored_sizes, offsets = chunks.stored_sizes[rows], chunks.offsets[rows]
    texts = [entry.path for entry in entries]
    texts += [entry.target for entry in entries if entry.kind is EntryKind.LINK]
    text = b"".join(line.encode() + b"\0" for line in texts)
    body = b"".join(
        (
            bytes(entry.kind for entry in entries),
            to_planes(np.array([entry.size for entry in entries], dtype=np.uint64)),
            chunks.ids[rows].tobytes(),
            to_planes(chunks.sizes[rows]),
            to_planes(stored_sizes),
            to_planes(bundle_indexes),
            to_planes(gaps_of(bundle_indexes, offsets, stored_sizes)),
            to_planes(back_references(local)),
            b"".join(bundle.bundle_id for bundle in bundles),
            to_planes(np.array([bundle.size for bundle in bundles], dtype=np.uint32)),
            text,
        )
    )
    counts = (len(entries), len(rows), len(occurrences), len(bundles), len(text))
    header = _HEADER.pack(MAGIC, VERSION, stream_offset, *counts, 0)
    data = header + codec.compress(body, COMPRESSION_LEVEL)
    if len(body) > PLAIN_SIZE_MAX or len(data) > PAGE_STORED_SIZE_MAX:
        raise InvalidInput(
            f"{entries[0].path!r} and the {len(entries) - 1} entries after it share one chunk and "
            f"need a page of {len(body)} bytes; at most {PLAIN_SIZE_MAX}"
        )
    return EncodedPage(data, len(entries), len(occurrences))


def _numbered_by_first_use(values: U32) -> tuple[U32, U32]:
    """Return the distinct values in order of first use, and ``values`` as indexes into them."""
    distinct, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), dtype=np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    return distinct[order], rank[inverse]


def _parse(data: memoryview, ref: PageRef) -> Page:
    if len(data) < _HEADER.size or data[:4] != MAGIC:
        raise FormatError("is no page")
    _, version, stream_offset, *counts, reserved = _HEADER.unpack_from(data)
    if version != VERSION:
        raise FormatError(f"has format {version}; this program reads {VERSION}: update the program")
    entry_count, chunk_count, occurrence_count, bundle_count, text_size = counts
    if (entry_count, occurrence_count) != (ref.entry_count, ref.chunk_count):
        raise FormatError("has other counts than its root says")
    size = _plain_size(*counts)
    if reserved or size == 0 or chunk_count > occurrence_count or bundle_count > chunk_count:
        raise FormatError("has impossible counts")
    if size > PLAIN_SIZE_MAX or stream_offset > STREAM_SIZE_MAX:
        raise FormatError(f"would open to {size} bytes; at most {PLAIN_SIZE_MAX}")
    columns = ColumnReader(codec.decompress(data[_HEADER.size :], size))
    kinds = columns.bytes_column(entry_count)
    sizes = columns.u64_planes(entry_count)
    chunks, occurrences = _parse_chunks(columns, chunk_count, occurrence_count, bundle_count)
    entries = _parse_entries(kinds.tolist(), sizes.tolist(), bytes(columns.take(text_size)))
    return Page(int(stream_offset), entries, chunks, occurrences)


def _plain_size(
    entry_count: int, chunk_count: int, occurrence_count: int, bundle_count: int, text_size: int
) -> int:
    if entry_count > ENTRY_COUNT_MAX or occurrence_count > CHUNK_COUNT_MAX:
        raise FormatError(f"claims {entry_count} entries and {occurrence_count} chunks")
    per_bundle = DIGEST_SIZE + 4
    per_chunk = CHUNK_ID_SIZE + 16
    return (
        9 * entry_count
        + per_chunk * chunk_count
        + 4 * occurrence_count
        + per_bundle * bundle_count
        + text_size
    )


def _parse_chunks(
    columns: ColumnReader, count: int, occurrence_count: int, bundle_count: int
) -> tuple[ChunkTable, U32]:
    ids = columns.rows(count, CHUNK_ID_SIZE)
    sizes, stored_sizes = columns.u32_planes(count), columns.u32_planes(count)
    bundle_indexes, gaps = columns.u32_planes(count), columns.u32_planes(count)
    references = columns.u32_planes(occurrence_count)
    bundle_ids = columns.take(DIGEST_SIZE * bundle_count)
    bundle_sizes = columns.u32_planes(bundle_count)
    if np.any(sizes > CHUNK_SIZE_MAX) or np.any(stored_sizes > sizes) or np.any(stored_sizes == 0):
        raise FormatError("has a chunk of impossible size")
    if np.any(bundle_sizes > BUNDLE_SIZE_MAX):
        raise FormatError(f"has a bundle of more than {BUNDLE_SIZE_MAX} bytes")
    if len(np.unique(bundle_indexes)) != bundle_count or np.any(bundle_indexes >= bundle_count):
        raise FormatError("does not use its bundles")
    offsets = offsets_of(bundle_indexes, gaps, stored_sizes)
    if np.any(offsets.astype(np.uint64) + stored_sizes > bundle_sizes[bundle_indexes]):
        raise FormatError("has a chunk that reaches out of its bundle")
    try:
        occurrences = rows_of(references)
    except ValueError as error:
        raise FormatError(str(error)) from error
    if np.count_nonzero(references == 0) != count:
        raise FormatError("lists a chunk that never occurs")
    starts = range(0, len(bundle_ids), DIGEST_SIZE)
    digests = [Digest(bytes(bundle_ids[at : at + DIGEST_SIZE])) for at in starts]
    bundles = tuple(map(BundleRef, digests, bundle_sizes.tolist()))
    table = ChunkTable(ids, sizes, stored_sizes, bundle_indexes, offsets, bundles)
    return table, occurrences


def _parse_entries(kinds: list[int], sizes: list[int], text: bytes) -> tuple[Entry, ...]:
    if max(kinds, default=0) > EntryKind.LINK:
        raise FormatError("has an entry of unknown kind")
    if sum(sizes) > STREAM_SIZE_MAX:
        raise FormatError(f"has files of {sum(sizes)} bytes; at most {STREAM_SIZE_MAX}")
    link_count = kinds.count(EntryKind.LINK)
    try:
        lines = text.decode().split("\0")
    except UnicodeDecodeError as error:
        raise FormatError("has a path that is not UTF-8") from error
    if len(lines) != len(kinds) + link_count + 1 or lines.pop():
        raise FormatError("has another number of paths than entries")
    targets = iter(lines[len(kinds) :])
    entries: list[Entry] = []
    for path, number, size in zip(lines, kinds, sizes, strict=False):
        kind = EntryKind(number)
        if size and not kind.is_file:
            raise FormatError(f"gives {path[:200]!r}, which is no file, a size")
        entries.append(Entry(path, kind, size, next(targets) if kind is EntryKind.LINK else ""))
    return tuple(entries)
