"""Keep what an interrupted push has uploaded, so that the next one goes on from there.

A record is written after its bundle and slice list are stored, and synced before the push goes on
(``record_file.py``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

from chunks.bundle import Bundle, StoredChunk
from chunks.chunk_id import DIGEST_SIZE, Digest
from packager.record_file import RecordFile

_MAGIC = b"PHPJ\x01\0\0\0"
_SIZES = struct.Struct("<II")


class _Record(msgspec.Struct, frozen=True, array_like=True):
    bundle_id: bytes
    bundle_size: int
    digests: bytes
    sizes: bytes
    """Plain and stored size of each chunk, little-endian, four bytes each."""


class JournaledBundle(msgspec.Struct, frozen=True):
    """A bundle that is in storage, though maybe no release needs it yet."""

    bundle_id: Digest
    size: int
    chunks: tuple[StoredChunk, ...]


class PushJournal:
    """The journal at ``path``. One push at a time; its methods block and belong in threads."""

    def __init__(self, path: Path) -> None:
        self._file = RecordFile(path, _MAGIC)

    def load(self) -> list[JournaledBundle]:
        """Return the bundles of an interrupted push, and make the file fit to append to."""
        return list(_bundles(self._file.load()))

    def append(self, bundle: Bundle) -> None:
        """Note that ``bundle`` is stored; durable once it returns. Several threads may call it.

        Raises:
            OutOfSpace: The disk that holds the journal is full.
        """
        record = _Record(
            bundle.bundle_id,
            len(bundle.data),
            b"".join(chunk.digest for chunk in bundle.chunks),
            b"".join(_SIZES.pack(chunk.size, chunk.stored_size) for chunk in bundle.chunks),
        )
        self._file.append(msgspec.msgpack.encode(record))

    def delete(self) -> None:
        """Forget everything: the push is complete."""
        self._file.delete()


def _bundles(bodies: list[bytes]) -> Iterator[JournaledBundle]:
    for body in bodies:
        try:
            record = msgspec.msgpack.decode(body, type=_Record)
        except msgspec.DecodeError:
            return  # whole, and yet not ours: nothing behind it can be trusted
        chunks = tuple(_chunks(record))
        yield JournaledBundle(Digest(record.bundle_id), record.bundle_size, chunks)


def _chunks(record: _Record) -> Iterator[StoredChunk]:
    starts = range(0, len(record.digests), DIGEST_SIZE)
    offset = 0
    for at, (size, stored_size) in zip(starts, _SIZES.iter_unpack(record.sizes), strict=True):
        digest = Digest(record.digests[at : at + DIGEST_SIZE])
        yield StoredChunk(digest, size, stored_size, offset)
        offset += stored_size
