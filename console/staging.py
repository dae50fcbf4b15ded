"""Files under construction: verified chunks go in, complete files are taken out.

The files of a build are staged side by side in one folder, named by group and entry
(``0.17``), so nothing a build says can lead a write astray. A file is complete when every row it
needs is written; nobody reads it before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from chunks import codec
from chunks.chunk_id import CHUNK_ID_SIZE, digest_of
from chunks.plan import RangeRequest
from console.chunk_store import store_chunk, stored_name
from console.cloning import Clones, differs, make_clone
from console.durable import write_all_at
from console.layout import Layout, Mask, Place
from console.safe_paths import Folder, file_mode
from console.seeds import Copies, SeedFiles, SeedReader
from kit.buffers import Buffer
from kit.errors import IntegrityError
from manifests.model import ChunkTable, Entry, EntryKind

_WRITE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Written:
    """What one batch of work put into staging."""

    rows: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    """Rows that a seed could not give after all."""
    names: set[str] = field(default_factory=set)
    """Files that are not durable yet."""
    size: int = 0
    """Bytes written."""
    read_size: int = 0
    """Plain bytes of ``rows``."""


class Staging:
    """Writes chunks to the places a layout gives them. Its methods block; any thread may call."""

    def __init__(
        self,
        folder: Folder,
        entries: Sequence[Sequence[Entry]],
        chunks: ChunkTable,
        layout: Layout,
        clones: Clones | None = None,
    ) -> None:
        """Build the files of ``entries`` (by group) inside ``folder``, which is taken over."""
        self._folder = folder
        self._entries = entries
        self._chunks = chunks
        self._layout = layout
        self._clones = clones

    def put_range(self, request: RangeRequest, stored: memoryview) -> Written:
        """Unpack, verify and write every chunk of ``request``, whose bytes are ``stored``.

        Raises:
            IntegrityError: A chunk is not what its id says. Those before it are written.
            FormatError: A chunk cannot be unpacked; the same holds.
        """
        with self._batch() as batch:
            for chunk in request.chunks:
                packed = stored[chunk.start - request.start : chunk.end - request.start]
                plain = codec.unpack(packed, int(self._chunks.sizes[chunk.row]))
                self._verify(chunk.row, plain)
                batch.put(chunk.row, plain)
        return batch.written

    def put_verified(self, chunks: Iterable[tuple[int, Buffer]]) -> Written:
        """Write chunks, given with their rows, that the caller has checked against their ids."""
        with self._batch() as batch:
            for row, plain in chunks:
                batch.put(row, plain)
        return batch.written

    def copy(self, copies: Copies, positions: range) -> Written:
        """Copy the chunks at ``positions`` of ``copies``, as far as the seed is sound."""
        reader = SeedReader(copies.seed)
        try:
            with self._batch() as batch:
                for at in positions:
                    row = int(copies.rows[at])
                    plain = reader.read(int(copies.groups[at]), int(copies.occurrences[at]))
                    if plain is None:
                        batch.written.failed.append(row)
                    else:
                        batch.put(row, plain, is_installed=copies.seed.is_installed)
        finally:
            reader.close()
        return batch.written

    def make_empty(self, staged: Sequence[Mask]) -> None:
        """Make what has no bytes: empty files and links."""
        with self._folder.clone() as folder:
            for group, index, entry in _entries_in(self._entries, staged):
                name = staged_name(group, index)
                if entry.kind is EntryKind.LINK:
                    folder.remove_file(name)
                    os.symlink(entry.target, name, dir_fd=folder.fd)
                elif entry.kind.is_file and entry.size == 0:
                    os.close(_create(folder, name, entry))

    def make_clones(self) -> None:
        """Let files that begin as clones begin, but for those begun already."""
        if self._clones is None:
            return
        with self._folder.clone() as folder, self._clones.top.clone() as top:
            for group, entries in enumerate(self._entries):
                for index, entry in enumerate(entries):
                    name = staged_name(group, index)
                    path = self._clones.paths.get(name)
                    if path is not None and folder.status(name) is None:
                        make_clone(top, path, folder, name, mode=_mode_of(entry), size=entry.size)

    def _batch(self) -> _Batch:
        cloned = set() if self._clones is None else set(self._clones.paths)
        return _Batch(self._folder, self._entries, self._layout, cloned)

    def _verify(self, row: int, plain: Buffer) -> None:
        chunk_id = self._chunks.chunk_id(row)
        if digest_of(plain)[:CHUNK_ID_SIZE] != chunk_id:
            raise IntegrityError(f"chunk {chunk_id.hex()}: the bytes received are not it")


class _Batch:
    """Writes the chunks of one call, keeping the last file open: chunks come in file order."""

    def __init__(
        self,
        folder: Folder,
        entries: Sequence[Sequence[Entry]],
        layout: Layout,
        cloned: set[str],
    ) -> None:
        self.written = Written()
        self._folder = folder.clone()
        self._entries = entries
        self._layout = layout
        self._cloned = cloned
        self._fd: int | None = None
        self._entry = (-1, -1)

    def __enter__(self) -> _Batch:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_file()
        self._folder.close()

    def put(self, row: int, plain: Buffer, *, is_installed: bool = False) -> None:
        """Write a verified chunk to every place it has, and keep it if a commit will need it.

        What ``is_installed`` stays where it is until then.
        """
        view = memoryview(plain)
        for place in self._layout.places(row):
            self._write(place, view)
        if not is_installed and self._layout.is_stored(row):
            store_chunk(self._folder, row, plain)
            self.written.names.add(stored_name(row))
            self.written.size += len(view)
        self.written.rows.append(row)
        self.written.read_size += len(view)

    def _write(self, place: Place, chunk: memoryview) -> None:
        piece = place.piece
        span = chunk[piece.chunk_offset : piece.chunk_offset + piece.length]
        fd = self._open(place)
        # A clone holds most of it already, and blocks that are not written stay shared.
        is_clone = staged_name(*self._entry) in self._cloned
        if not is_clone or differs(fd, span, piece.file_offset):
            write_all_at(fd, span, piece.file_offset)
            self.written.size += piece.length

    def _open(self, place: Place) -> int:
        key = (place.group, place.piece.entry_index)
        if self._fd is None or self._entry != key:
            self._close_file()
            name = staged_name(*key)
            self._fd = _create(self._folder, name, self._entries[key[0]][key[1]])
            self._entry = key
            self.written.names.add(name)
        return self._fd

    def _close_file(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._entry = None, (-1, -1)


@dataclass(frozen=True, slots=True)
class StagedFiles:
    """Staged files as a seed: what was built of one build serves another, or a resume."""

    folder: Folder

    def files(self) -> SeedFiles:
        """Return the files for one thread."""
        return _StagedReader(self.folder.clone())


class _StagedReader:
    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def open_entry(self, group: int, entry_index: int) -> int | None:
        return self._folder.open_file(staged_name(group, entry_index))

    def close(self) -> None:
        self._folder.close()


def staged_name(group: int, entry_index: int) -> str:
    """Return what an entry's file is called while it is built."""
    return f"{group}.{entry_index}"


def _entries_in(
    entries: Sequence[Sequence[Entry]], masks: Sequence[Mask]
) -> Iterator[tuple[int, int, Entry]]:
    for group, mask in enumerate(masks):
        for index in np.flatnonzero(mask).tolist():
            yield group, index, entries[group][index]


def _create(folder: Folder, name: str, entry: Entry) -> int:
    return os.open(name, _WRITE, _mode_of(entry), dir_fd=folder.fd)


def _mode_of(entry: Entry) -> int:
    return file_mode(is_executable=entry.kind is EntryKind.EXECUTABLE)
