"""Pack deltas into a bundle, and read the index at its end (``docs/format/deltas.md``).

It has slices, a slice list and an id like a bundle of chunks, so an edge serves both alike.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from chunks.bundle import TARGET_SIZE
from chunks.chunk_id import DIGEST_SIZE, Digest, digest_of
from chunks.delta import DELTA_SIZE_MAX
from chunks.slices import BUNDLE_SIZE_MAX, SliceList
from kit.buffers import Buffer
from kit.errors import FormatError

VERSION = 1
MAGIC = b"PHDELTAS"

_RECORD = struct.Struct(f"<{DIGEST_SIZE}sI")
_TAIL = struct.Struct("<II8s")

assert TARGET_SIZE + DELTA_SIZE_MAX < BUNDLE_SIZE_MAX


@dataclass(frozen=True, slots=True)
class PackedDelta:
    """A delta in a bundle: the digest of its payload, and where it lies, in bytes."""

    digest: Digest
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class DeltaBundle:
    """A finished bundle: its name, its bytes, and where each delta lies in it."""

    bundle_id: Digest
    data: Buffer
    slices: SliceList
    deltas: tuple[PackedDelta, ...]


class DeltaBundleWriter:
    """Collects deltas until they reach a bundle's target size, then names the whole."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._deltas: list[PackedDelta] = []

    @property
    def is_full(self) -> bool:
        """Whether the bundle must be closed."""
        return len(self._data) >= TARGET_SIZE

    @property
    def is_empty(self) -> bool:
        """Whether no delta was added yet."""
        return not self._deltas

    def add(self, payload: bytes) -> PackedDelta:
        """Append a delta and return where it lies."""
        assert not self.is_full
        packed = PackedDelta(digest_of(payload), len(self._data), len(payload))
        self._deltas.append(packed)
        self._data += payload
        return packed

    def close(self) -> DeltaBundle:
        """Append the index and return the bundle. Hashes all of it: call it off the event loop."""
        assert self._deltas
        for delta in self._deltas:
            self._data += _RECORD.pack(delta.digest, delta.size)
        self._data += _TAIL.pack(len(self._deltas), VERSION, MAGIC)
        slices = SliceList.of(self._data)
        return DeltaBundle(slices.bundle_id, self._data, slices, tuple(self._deltas))


def parse_delta_bundle(name: str, data: Buffer) -> tuple[PackedDelta, ...]:
    """Read the index at the end of a whole bundle; ``name`` is for messages.

    Raises:
        FormatError: It is none, one of an unknown version, or its sizes do not add up.
    """
    if not _TAIL.size < len(data) <= BUNDLE_SIZE_MAX:
        raise FormatError(f"delta bundle {name}: {len(data)} bytes; at most {BUNDLE_SIZE_MAX}")
    count, version, magic = _TAIL.unpack(data[-_TAIL.size :])
    if magic != MAGIC:
        raise FormatError(f"delta bundle {name} does not end in {MAGIC.decode()}")
    if version != VERSION:
        raise FormatError(f"delta bundle {name} has format {version}; this program reads {VERSION}")
    index_size = count * _RECORD.size + _TAIL.size
    if count == 0 or index_size >= len(data):
        raise FormatError(f"delta bundle {name} cannot hold {count} deltas")
    deltas: list[PackedDelta] = []
    offset = 0
    for digest, size in _RECORD.iter_unpack(data[-index_size : -_TAIL.size]):
        if not 0 < size <= DELTA_SIZE_MAX:
            raise FormatError(f"delta bundle {name}: a delta of {size} bytes")
        deltas.append(PackedDelta(Digest(digest), offset, size))
        offset += size
    if offset + index_size != len(data):
        raise FormatError(f"delta bundle {name}: deltas and index do not add up")
    return tuple(deltas)
