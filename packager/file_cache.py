"""Remember how unchanged files were cut, so that they need not be read again.

The cache is keyed by segment: a hash of path, size, inode and times of each of its files. As git
does, nothing is remembered of a file touched within two seconds before the scan: it may have been
written again since, within one tick of the file system's clock.

It only ever saves work. A cache that is missing, damaged, or of another version is an empty one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import xxhash

from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId
from packager.durable_files import replace_file

RACY_NS = 2_000_000_000
"""FAT keeps times to two seconds; every other file system is finer."""

CACHE_SIZE_MAX = 256 << 20
"""Four million chunks, more than a build may have, take 80 MB."""

_MAGIC = b"PHFC"
_VERSION = 1
_HEADER = struct.Struct("<4sI16s")
_SIZE = struct.Struct("<I")


class SegmentChunks(msgspec.Struct, frozen=True, array_like=True):
    """The chunks of a segment, in columns: ids of 16 bytes, sizes of 4, little-endian."""

    ids: bytes
    sizes: bytes

    def __iter__(self) -> Iterator[tuple[ChunkId, int]]:
        """Yield id and plain size of each chunk."""
        starts = range(0, len(self.ids), CHUNK_ID_SIZE)
        for at, (size,) in zip(starts, _SIZE.iter_unpack(self.sizes), strict=True):
            yield ChunkId(self.ids[at : at + CHUNK_ID_SIZE]), size


def load_file_cache(path: Path) -> dict[bytes, SegmentChunks]:
    """Return what the last push saved, by key of segment; empty if that cannot be used."""
    try:
        if path.stat().st_size > CACHE_SIZE_MAX:
            return {}
        stored = path.read_bytes()
        magic, version, checksum = _HEADER.unpack_from(stored)
        body = memoryview(stored)[_HEADER.size :]
        if (magic, version) != (_MAGIC, _VERSION) or xxhash.xxh3_128_digest(body) != checksum:
            return {}
        return msgspec.msgpack.decode(body, type=dict[bytes, SegmentChunks])
    except (OSError, struct.error, msgspec.DecodeError):
        return {}


def save_file_cache(path: Path, segments: Mapping[bytes, SegmentChunks]) -> None:
    """Replace the cache at ``path``; what it held before is forgotten.

    Raises:
        OutOfSpace: The disk is full; the old cache is still there.
    """
    body = msgspec.msgpack.encode(segments)
    replace_file(path, _HEADER.pack(_MAGIC, _VERSION, xxhash.xxh3_128_digest(body)) + body)
