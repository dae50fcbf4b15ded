"""Where the bytes of a build are: in a folder, or in a title's bundles."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from pathlib import Path

from chunks.chunk_id import chunk_id_of, digest_of
from chunks.codec import unpack
from kit.errors import IntegrityError, InvalidInput
from manifests import locations
from manifests.model import Build, Piece, Shard
from packager.title_store import TitleStore

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

CHUNKS_KEPT = 16
"""Plain chunks of at most 1 MiB: tiny files are read one after another from the same one."""


class FolderBytes:
    """Reads a build's files where they lie."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes of a file.

        Raises:
            InvalidInput: It cannot be read any more.
        """
        try:
            handle = os.open(self._folder / path, _OPEN)
            try:
                return os.pread(handle, size, start)
            finally:
                os.close(handle)
        except OSError as error:
            raise InvalidInput(f"{self._folder / path} cannot be read: {error.strerror}") from error


class ReleaseBytes:
    """Reads a published build's files from its bundles, every chunk checked.

    Called from a thread other than the event loop's, which does the asking.
    """

    def __init__(self, store: TitleStore, build: Build, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._build = build
        self._loop = loop
        self._entries: dict[str, tuple[Shard, int]] = {
            entry.path: (shard, index) for shard, index, entry in build.entries()
        }
        self._chunks: OrderedDict[int, bytes] = OrderedDict()

    def read(self, path: str, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes of a file.

        Raises:
            NotFound, Unavailable, IntegrityError: A bundle is gone, did not answer, or is damaged.
        """
        shard, index = self._entries[path]
        found = bytearray()
        for piece in shard.pieces_of_entry(index):
            if piece.file_offset + piece.length <= start:
                continue
            if piece.file_offset >= start + size:
                break
            found += self._part(piece, start, start + size)
        return bytes(found)

    def _part(self, piece: Piece, start: int, end: int) -> bytes:
        shift = piece.chunk_offset - piece.file_offset
        first = max(piece.file_offset, start)
        last = min(piece.file_offset + piece.length, end)
        return self._plain(piece.row)[first + shift : last + shift]

    def _plain(self, row: int) -> bytes:
        found = self._chunks.pop(row, None)
        if found is None:
            found = asyncio.run_coroutine_threadsafe(self._fetched(row), self._loop).result()
        self._chunks[row] = found
        if len(self._chunks) > CHUNKS_KEPT:
            self._chunks.popitem(last=False)
        return found

    async def _fetched(self, row: int) -> bytes:
        chunks = self._build.chunks
        bundle = chunks.bundles[chunks.bundle_indexes[row]]
        key = locations.bundle_key(self._store.title, bundle.bundle_id)
        stored = await self._store.storage.read(
            key, int(chunks.offsets[row]), int(chunks.stored_sizes[row])
        )
        plain = bytes(unpack(stored, int(chunks.sizes[row])))
        if chunk_id_of(digest_of(plain)) != chunks.chunk_id(row):
            raise IntegrityError(f"bundle {key}: chunk {chunks.chunk_id(row).hex()} is damaged")
        return plain
