"""Verified chunks that wait in staging for a commit that patches files in place.

Each has a file of its own, named by its row: it is there whole or not at all, and its room is
free again the moment it is removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from chunks.chunk_id import CHUNK_ID_SIZE, digest_of
from console.durable import write_all
from console.layout import Layout, Mask
from console.safe_paths import Folder
from console.seeds import read_exactly
from kit.buffers import Buffer
from manifests.model import U32, ChunkTable

_PREFIX = "chunk."
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def stored_name(row: int) -> str:
    """Return what the file of a chunk is called."""
    return f"{_PREFIX}{row}"


def store_chunk(folder: Folder, row: int, plain: Buffer) -> None:
    """Write a verified chunk; it is durable once its name is synced."""
    scratch = f"{stored_name(row)}.new"
    fd = os.open(scratch, _WRITE, 0o600, dir_fd=folder.fd)
    try:
        write_all(fd, plain)
    finally:
        os.close(fd)
    folder.take_in(folder, scratch, stored_name(row))


def stored_chunks(folder: Folder, chunks: ChunkTable) -> Mask:
    """Return which rows have a file of the right size."""
    found = np.zeros(len(chunks), np.bool_)
    for row in _rows(folder, len(chunks)):
        status = folder.status(stored_name(row))
        found[row] = status is not None and status.st_size == int(chunks.sizes[row])
    return found


def good_chunks(folder: Folder, chunks: ChunkTable, rows: U32) -> list[int]:
    """Return which of ``rows`` are stored and right; they are read."""
    return [row for row in rows.tolist() if _is_good(folder, chunks, row)]


def unwanted_chunks(folder: Folder, layout: Layout) -> Iterator[str]:
    """Yield the names of what is stored, or was about to be, and has no use in ``layout``."""
    for name in folder.names():
        if name.startswith(_PREFIX):
            row = name.removeprefix(_PREFIX)
            if not (row.isdecimal() and int(row) < 1 << 32 and layout.is_stored(int(row))):
                yield name


def _rows(folder: Folder, count: int) -> Iterator[int]:
    for name in folder.names():
        row = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and row.isdecimal() and int(row) < count:
            yield int(row)


def _is_good(folder: Folder, chunks: ChunkTable, row: int) -> bool:
    fd = folder.open_file(stored_name(row))
    if fd is None:
        return False
    plain = memoryview(bytearray(int(chunks.sizes[row])))
    try:
        is_whole = read_exactly(fd, plain, 0)
    finally:
        os.close(fd)
    return is_whole and digest_of(plain)[:CHUNK_ID_SIZE] == chunks.chunk_id(row)
