"""Reading blobs from the disk and holding them against their digests. All of it blocks."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from chunks.chunk_id import Digest, digest_of
from kit.file_holes import HOLE_SIZE


def read_verified(file: int, offset: int, size: int, digest: Digest) -> bytearray | None:
    """Return a blob, None if its bytes are not those of the digest.

    Raises:
        OSError: The disk cannot give them.
    """
    content = bytearray(size)
    if not _read_into(file, memoryview(content), offset):
        return None
    return content if digest_of(content) == digest else None


def open_to_read(path: Path) -> int:
    """Open a file, and return its number.

    The system reads no further than it is told: what it brought into memory beside a blob, nobody
    would have verified.

    Raises:
        OSError: It is gone, or may not be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    return file


def open_verified(
    path: Path, offset: int, size: int, digest: Digest
) -> tuple[int, bytearray | None]:
    """Open a file, and return it with what :func:`read_verified` returns.

    Raises:
        OSError: The file is gone, or the disk fails; nothing is left open.
    """
    file = open_to_read(path)
    try:
        return file, read_verified(file, offset, size, digest)
    except BaseException:
        os.close(file)
        raise


def is_right_on_disk(path: Path, offset: int, size: int, digest: Digest) -> bool:
    """Read a blob around the page cache, where that can be, and tell whether it is right.

    So it is the disk that is judged, and what is in memory is neither used nor washed out.

    Raises:
        OSError: The file is gone, or the disk fails.
    """
    with mmap.mmap(-1, max(HOLE_SIZE, -(-size // HOLE_SIZE) * HOLE_SIZE)) as aligned:
        if not _read_direct(path, aligned, offset, size):
            file = open_to_read(path)
            try:
                _tell_unneeded(file, offset, size)
                _read_into(file, memoryview(aligned)[:size], offset)
                _tell_unneeded(file, offset, size)
            finally:
                os.close(file)
        return digest_of(aligned[:size]) == digest


def _read_into(file: int, view: memoryview, offset: int) -> bool:
    at = 0
    while at < len(view):
        count = os.preadv(file, [view[at:]], offset + at)
        if not count:
            return False
        at += count
    return True


def _read_direct(path: Path, aligned: mmap.mmap, offset: int, size: int) -> bool:
    """Try with ``O_DIRECT``, which wants memory, offset and length aligned."""
    if not hasattr(os, "O_DIRECT"):
        return False
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return False
    try:
        return os.preadv(file, [aligned], offset) >= size
    except OSError:
        return False
    finally:
        os.close(file)


def _tell_unneeded(file: int, offset: int, size: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, offset, size, os.POSIX_FADV_DONTNEED)
