"""Keep what an interrupted push has uploaded, so that the next one goes on from there.

A record is written after its bundle and slice list are stored, and synced before the push goes on.
The file is a magic number and then records: size and xxh3-64 of the body, the body. Whatever
follows the last whole record is a write that was cut off, and is cut away.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import xxhash

from chunks.bundle import Bundle, StoredChunk
from chunks.chunk_id import DIGEST_SIZE, Digest
from packager.durable_files import errors_named, fsync_folder

JOURNAL_SIZE_MAX = 512 << 20
"""Four million chunks take 160 MB; a larger one has seen many pushes fail and is begun anew."""

_MAGIC = b"PHPJ\x01\0\0\0"
_RECORD = struct.Struct("<IQ")
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
        self._path = path
        self._appending = threading.Lock()

    def load(self) -> list[JournaledBundle]:
        """Return the bundles of an interrupted push, and make the file fit to append to."""
        with errors_named(self._path):
            try:
                if self._path.stat().st_size > JOURNAL_SIZE_MAX:
                    self._path.unlink()
                content = self._path.read_bytes()
            except FileNotFoundError:
                return []
            if not content.startswith(_MAGIC):
                self._path.unlink()
                return []
            bundles, end = _parse(content)
            if end < len(content):
                os.truncate(self._path, end)
            return bundles

    def append(self, bundle: Bundle) -> None:
        """Note that ``bundle`` is stored; durable once it returns. Several threads may call it.

        Raises:
            OutOfSpace: The disk that holds the journal is full.
        """
        body = msgspec.msgpack.encode(
            _Record(
                bundle.bundle_id,
                len(bundle.data),
                b"".join(chunk.digest for chunk in bundle.chunks),
                b"".join(_SIZES.pack(chunk.size, chunk.stored_size) for chunk in bundle.chunks),
            )
        )
        record = _RECORD.pack(len(body), xxhash.xxh3_64_intdigest(body)) + body
        with errors_named(self._path), self._appending:
            self._append(record)

    def delete(self) -> None:
        """Forget everything: the push is complete."""
        with errors_named(self._path):
            self._path.unlink(missing_ok=True)

    def _append(self, record: bytes) -> None:
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            self._create()
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(handle, record)  # what a full disk cuts short is no whole record
            os.fsync(handle)
        finally:
            os.close(handle)

    def _create(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            if file.tell() == 0:
                file.write(_MAGIC)
        fsync_folder(self._path.parent)


def _parse(content: bytes) -> tuple[list[JournaledBundle], int]:
    """Return the bundles of all whole records, and where the last of them ends."""
    bundles: list[JournaledBundle] = []
    end = len(_MAGIC)
    while end + _RECORD.size <= len(content):
        size, checksum = _RECORD.unpack_from(content, end)
        body = content[end + _RECORD.size : end + _RECORD.size + size]
        if len(body) != size or xxhash.xxh3_64_intdigest(body) != checksum:
            break
        try:
            record = msgspec.msgpack.decode(body, type=_Record)
        except msgspec.DecodeError:
            break
        chunks = tuple(_chunks(record))
        bundles.append(JournaledBundle(Digest(record.bundle_id), record.bundle_size, chunks))
        end += _RECORD.size + size
    return bundles, end


def _chunks(record: _Record) -> Iterator[StoredChunk]:
    starts = range(0, len(record.digests), DIGEST_SIZE)
    offset = 0
    for at, (size, stored_size) in zip(starts, _SIZES.iter_unpack(record.sizes), strict=True):
        digest = Digest(record.digests[at : at + DIGEST_SIZE])
        yield StoredChunk(digest, size, stored_size, offset)
        offset += stored_size
