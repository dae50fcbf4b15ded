"""Pack stored chunks into a bundle, and read the index at its end (``docs/format/bundle.md``)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from chunks.chunk_id import DIGEST_SIZE, Digest
from chunks.chunker import CHUNK_SIZE_MAX
from chunks.slices import BUNDLE_SIZE_MAX, SliceList
from kit.buffers import Buffer
from kit.errors import FormatError

FIRST_TARGET_SIZE = 1 << 20
"""The first bundle of the first group: its first chunk is what a player waits for."""
LAUNCH_TARGET_SIZE = 8 << 20
TARGET_SIZE = 16 << 20

VERSION = 1
MAGIC = b"PHBUNDLE"

_RECORD = struct.Struct(f"<{DIGEST_SIZE}sII")
_TAIL = struct.Struct("<II8s")


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """One chunk in a bundle; sizes and offset in bytes."""

    digest: Digest
    size: int
    stored_size: int
    offset: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A finished bundle: its name, its bytes, and where each chunk lies in it."""

    bundle_id: Digest
    data: Buffer
    slices: SliceList
    chunks: tuple[StoredChunk, ...]


def target_size(group_index: int, bundle_index: int) -> int:
    """Return how many bytes close a bundle, by its group and its place in the group."""
    if group_index > 0:
        return TARGET_SIZE
    return FIRST_TARGET_SIZE if bundle_index == 0 else LAUNCH_TARGET_SIZE


class BundleWriter:
    """Collects distinct stored chunks until they reach a target size, then names the whole.

    Not safe for use by several threads at once.
    """

    def __init__(self, target_size: int) -> None:
        self._target_size = target_size
        self._data = bytearray()
        self._chunks: list[StoredChunk] = []

    @property
    def is_full(self) -> bool:
        """Whether chunks and records reach the target, so that the bundle must be closed.

        Records count: a million tiny chunks would otherwise outgrow the largest bundle.
        """
        return len(self._data) + len(self._chunks) * _RECORD.size >= self._target_size

    @property
    def is_empty(self) -> bool:
        """Whether no chunk was added yet."""
        return not self._chunks

    def add(self, digest: Digest, size: int, stored: Buffer) -> None:
        """Append a chunk of ``size`` plain bytes; copies ``stored``."""
        assert not self.is_full
        self._chunks.append(StoredChunk(digest, size, len(stored), len(self._data)))
        self._data += stored

    def close(self) -> Bundle:
        """Append the index and return the bundle. Hashes all of it: call it off the event loop."""
        assert self._chunks
        for chunk in self._chunks:
            self._data += _RECORD.pack(chunk.digest, chunk.size, chunk.stored_size)
        self._data += _TAIL.pack(len(self._chunks), VERSION, MAGIC)
        slices = SliceList.of(self._data)
        return Bundle(slices.bundle_id, self._data, slices, tuple(self._chunks))


def index_size(chunk_count: int) -> int:
    """Return how many bytes the records and the tail of ``chunk_count`` chunks take."""
    return chunk_count * _RECORD.size + _TAIL.size


TAIL_SIZE = _TAIL.size


def parse_tail(name: str, tail: Buffer, bundle_size: int) -> int:
    """Return the number of chunks that the last ``TAIL_SIZE`` bytes of a bundle declare.

    Raises:
        FormatError: This is no bundle, one of an unknown version, or the count cannot be true.
    """
    if bundle_size > BUNDLE_SIZE_MAX or len(tail) != _TAIL.size:
        raise FormatError(f"bundle {name}: {bundle_size} bytes; at most {BUNDLE_SIZE_MAX}")
    count, version, magic = _TAIL.unpack(tail)
    if magic != MAGIC:
        raise FormatError(f"bundle {name} does not end in {MAGIC.decode()}")
    if version != VERSION:
        raise FormatError(f"bundle {name} has format {version}; this program reads {VERSION}")
    if count == 0 or index_size(count) >= bundle_size:
        raise FormatError(f"bundle {name} of {bundle_size} bytes cannot hold {count} chunks")
    return int(count)


def parse_index(name: str, index: Buffer, bundle_size: int) -> tuple[StoredChunk, ...]:
    """Read the records and the tail at the end of a bundle; ``name`` is for messages.

    Raises:
        FormatError: The sizes do not add up, or a chunk is out of bounds or listed twice.
    """
    count = parse_tail(name, index[-_TAIL.size :], bundle_size)
    if len(index) != index_size(count):
        raise FormatError(f"bundle {name}: {count} chunks need an index of {index_size(count)}")
    chunks: list[StoredChunk] = []
    offset = 0
    for digest, size, stored_size in _RECORD.iter_unpack(index[: -_TAIL.size]):
        if not 0 < stored_size <= size <= CHUNK_SIZE_MAX:
            raise FormatError(f"bundle {name}: a chunk of {size} bytes stored in {stored_size}")
        chunks.append(StoredChunk(Digest(digest), size, stored_size, offset))
        offset += stored_size
    if offset + len(index) != bundle_size:
        raise FormatError(f"bundle {name}: chunks and index do not add up to {bundle_size} bytes")
    if len({chunk.digest for chunk in chunks}) != count:
        raise FormatError(f"bundle {name} lists a chunk twice")
    return tuple(chunks)
