"""A directory as object storage: the embedded mode's S3, and as durable.

An object is one file, at its key. It is written under another name in ``.tmp/``, fsynced and only
then named; then every folder up to the root is fsynced. So a process killed at any moment, or
a power cut, leaves the whole object or nothing of it. What may stay behind is a file in
``.tmp/``, which is no key and is removed a day later.

How a file gets its name, and why nothing planted in the directory leads outside it, is in
``local_files.py``.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

from kit.buffers import Buffer
from kit.clock import Clock, SystemClock
from kit.disk_errors import disk_error
from kit.errors import Conflict, IntegrityError, NotFound, Unavailable
from kit.object_storage import ObjectStat
from kit.object_storage.keys import check_key, check_prefix, is_key
from kit.object_storage.local_files import (
    Naming,
    folder_at,
    has_file,
    make_durably,
    write_then_name,
)

TMP = ".tmp"  # starts with a dot, so it can be no key
TMP_AGE_MAX_S = 86400.0  # no upload of one object takes a day: older is left by a dead process

# A disk is busy long before this many calls wait on it; more threads only queue in the kernel.
THREADS = 8

# Not blocking, or opening a FIFO would wait for somebody to write to it.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Levels: TypeAlias = list[Iterator[ObjectStat | str]]
T = TypeVar("T")


class LocalStorage:
    """Implements :class:`kit.object_storage.ObjectStorage` on the directory ``root``.

    The directory is made by the first write; until then the storage is empty. Any number of
    processes may share one.
    """

    def __init__(self, root: Path, *, clock: Clock | None = None, threads: int = THREADS) -> None:
        self._root = root
        self._clock = clock or SystemClock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="local-storage")
        self._first_write = threading.Lock()
        """Taken by the first write and never released."""

    async def close(self) -> None:
        """Wait for running calls and end the threads."""
        await asyncio.to_thread(self._pool.shutdown)

    async def get(self, key: str, *, size_max: int) -> bytes:
        """Return the whole object."""
        return await self._in_thread(self._get, check_key(key), size_max)

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``."""
        assert start >= 0
        assert length >= 0
        return await self._in_thread(self._read, check_key(key), start, length)

    async def stat(self, key: str) -> ObjectStat:
        """Return size and age of an object."""
        return await self._in_thread(self._stat, check_key(key))

    async def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """Yield objects in order of key, holding the entries of one folder per level."""
        folder = check_prefix(prefix).rpartition("/")[0]
        levels: Levels = [iter(await self._in_thread(self._scan, folder, prefix))]
        while levels:
            match next(levels[-1], None):
                case None:
                    levels.pop()
                case ObjectStat() as found:
                    yield found
                case str(inner):
                    levels.append(iter(await self._in_thread(self._scan, inner, prefix)))

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        """Store ``data`` unless the key exists."""
        return await self._in_thread(self._store, check_key(key), data, "link")

    async def put(self, key: str, data: Buffer) -> None:
        """Store ``data``, replacing what is there."""
        await self._in_thread(self._store, check_key(key), data, "rename")

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete ``keys``. Their folders stay: a write may be about to use one."""
        await self._in_thread(self._delete, [check_key(key) for key in keys])

    # Everything below runs in a thread of ours.

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)

    def _get(self, key: str, size_max: int) -> bytes:
        with self._open(key) as (file, found):
            if found.size > size_max:
                raise IntegrityError(
                    f"{self._root / key}: {found.size} bytes, expected at most {size_max}"
                )
            return self._read_exactly(key, file, 0, found.size)

    def _read(self, key: str, start: int, length: int) -> bytes:
        with self._open(key) as (file, found):
            if start + length > found.size:
                raise IntegrityError(
                    f"{self._root / key}: asked for bytes {start} to {start + length}, "
                    f"it ends at {found.size}"
                )
            return self._read_exactly(key, file, start, length)

    def _stat(self, key: str) -> ObjectStat:
        with self._open(key) as (_, found):
            return found

    @contextmanager
    def _open(self, key: str) -> Iterator[tuple[int, ObjectStat]]:
        """Open an object to read; whatever is not a regular file does not exist."""
        parent, _, name = key.rpartition("/")
        with self._errors_named(key):
            try:
                with folder_at(self._root, parent) as folder:
                    file = os.open(name, _READ, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                    raise NotFound(f"{self._root / key}: no such object") from error
                raise
            try:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise NotFound(f"{self._root / key}: a folder or device, not an object")
                yield file, _describe(key, status)
            finally:
                os.close(file)

    def _read_exactly(self, key: str, file: int, start: int, length: int) -> bytes:
        """Read a span known to exist; the usual one ``pread`` is handed on without a copy."""
        pieces: list[bytes] = []
        while length:
            piece = os.pread(file, length, start)  # at most 2 GiB at a time on Linux
            if not piece:
                raise IntegrityError(f"{self._root / key}: cut off at {start} while being read")
            pieces.append(piece)
            start += len(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _scan(self, folder: str, prefix: str) -> Sequence[ObjectStat | str]:
        """Return the objects and folders in ``folder`` that may hold ``prefix``, in key order.

        A folder sorts as its objects do, with the slash: ``a-b`` and ``a.b`` before ``a/b``.
        """
        found: dict[str, ObjectStat | str] = {}
        with (
            self._errors_named(folder),
            suppress(FileNotFoundError),
            folder_at(self._root, folder) as handle,
            os.scandir(handle) as entries,
        ):
            for entry in entries:
                key = f"{folder}/{entry.name}" if folder else entry.name
                if not is_key(key):
                    continue  # .tmp, or not ours
                if entry.is_dir(follow_symlinks=False):
                    if f"{key}/".startswith(prefix):
                        found[f"{key}/"] = key
                elif entry.is_file(follow_symlinks=False) and key.startswith(prefix):
                    with suppress(FileNotFoundError):  # deleted since
                        found[key] = _describe(key, entry.stat(follow_symlinks=False))
        return [found[sort_key] for sort_key in sorted(found)]

    def _store(self, key: str, data: Buffer, how: Naming) -> bool:
        parent, _, name = key.rpartition("/")
        with self._errors_named(key):
            make_durably(self._root / TMP)
            if self._first_write.acquire(blocking=False):
                self._remove_stray()
            with (
                folder_at(self._root, TMP) as tmp,
                folder_at(self._root, parent, make=True) as folder,
            ):
                stored = not (how == "link" and has_file(folder, name))
                if stored:
                    stored = write_then_name(data, tmp, folder, name, how)
                # Also if another has stored it: its fsync of the folder may be yet to come.
                os.fsync(folder)
            self._sync_above(parent)
        return stored

    def _sync_above(self, folder: str) -> None:
        """Fsync every folder above ``folder``; one that has not changed costs microseconds."""
        while folder:
            folder = folder.rpartition("/")[0]
            with folder_at(self._root, folder) as handle:
                os.fsync(handle)

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            parent, _, name = key.rpartition("/")
            with (
                self._errors_named(key),
                suppress(FileNotFoundError, IsADirectoryError),  # no object: deleted already
                folder_at(self._root, parent) as folder,
            ):
                os.unlink(name, dir_fd=folder)

    def _remove_stray(self) -> None:
        """Remove what processes killed long ago left half-written."""
        oldest = self._clock.now() - TMP_AGE_MAX_S
        with folder_at(self._root, TMP) as handle, os.scandir(handle) as entries:
            for entry in entries:
                with suppress(FileNotFoundError, IsADirectoryError):  # another was faster
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        os.unlink(entry.name, dir_fd=handle)

    @contextmanager
    def _errors_named(self, key: str) -> Iterator[None]:
        """Turn what the system says into our errors, which name the path and what to do."""
        path = self._root / key
        try:
            yield
        except OSError as error:
            found = disk_error(
                error,
                path,
                when_full="free some space on this disk (or raise the quota) and run the same "
                "again: nothing was lost",
                when_denied="this user must own the directory",
            )
            if found is not None:
                raise found from error
            match error.errno:
                case errno.EIO | errno.ESTALE | errno.ETIMEDOUT | errno.EMFILE | errno.ENFILE:
                    raise Unavailable(f"{path}: {error.strerror}") from error
                case errno.EISDIR:
                    raise Conflict(f"{path}: the folder of other objects") from error
                case _:
                    raise


def _describe(key: str, status: os.stat_result) -> ObjectStat:
    return ObjectStat(key, status.st_size, status.st_mtime)
