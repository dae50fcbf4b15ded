"""Make writes survive a power cut, and name the folder when a disk refuses them."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from console.safe_paths import Folder
from kit.buffers import Buffer
from kit.disk_errors import disk_error, words_of
from kit.errors import PlayheadError

SYNC_EACH_MAX = 64
"""Up to so many files are synced one by one; beyond, syncing the whole file system is cheaper:
each fsync waits for the disk, a hundred thousand would take minutes."""


def sync_files(folder: Folder, names: Sequence[str]) -> None:
    """Make files directly inside ``folder``, and their names, durable; one gone is skipped."""
    if len(names) > SYNC_EACH_MAX:
        sync_file_system(folder.fd)
        return
    for name in names:
        fd = folder.open_file(name)
        if fd is not None:
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    folder.sync()


def sync_file_system(fd: int) -> None:
    """Make everything on the file system of ``fd`` durable."""
    if _syncfs is None:
        os.sync()
    elif _syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def write_whole(folder: Folder, name: str, content: Buffer, *, is_durable: bool = True) -> None:
    """Put a file into ``folder`` so that a crash leaves the old one or the new one, whole.

    Unless it ``is_durable`` that holds for a killed program but not for a power cut: for what can
    be told from its damaged self and is synced later.
    """
    scratch = f"{name}.new"
    folder.remove_file(scratch)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(scratch, flags, 0o666, dir_fd=folder.fd)
    try:
        write_all(fd, content)
        if is_durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    folder.take_in(folder, scratch, name)
    if is_durable:
        folder.sync()


def read_whole(folder: Folder, name: str, *, size_max: int) -> bytes | None:
    """Return a file's bytes; None if it is not there or has more than ``size_max``."""
    fd = folder.open_file(name)
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file:
        found = file.read(size_max + 1)
    return found if len(found) <= size_max else None


def write_all(fd: int, content: Buffer) -> None:
    """Write all of ``content`` where the descriptor stands."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def write_all_at(fd: int, content: Buffer, offset: int) -> None:
    """Write all of ``content`` at ``offset``."""
    view = memoryview(content)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


@contextmanager
def naming_disk_errors(folder: Path, bytes_left: Callable[[], int] | None = None) -> Iterator[None]:
    """Turn what the system says of a disk into our errors, with ``folder`` in the message.

    ``bytes_left`` tells how many are still to be written.

    Raises:
        OutOfSpace: The disk or a quota is full.
        Denied: The user may not do this, or the disk is read-only.
        PlayheadError: Anything else the system refused, with its words.
    """
    try:
        yield
    except OSError as error:
        left = f"; {bytes_left()} bytes are still to be written" if bytes_left else ""
        found = disk_error(
            error,
            folder,
            when_full=f"nothing is lost, make room and run the same command{left}",
            when_denied="the console must be able to write",
        )
        raise found or PlayheadError(f"{folder}: {words_of(error)}") from error


def _find_syncfs() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    return found


_syncfs = _find_syncfs()
