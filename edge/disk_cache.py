"""Verified blobs in files named after their digest: what survives a restart, and kill -9.

A file is written under another name and renamed, so a blob is there whole or not at all. It is
not fsynced: every read is held against its digest, so what a power cut leaves half written is
noticed and fetched again, and a cache is not worth waiting for the disk.

The index is what the folders list: names and sizes, no content. It lives on the event loop;
files are touched in threads of the cache's own, so a hanging disk stalls nothing else.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from chunks.chunk_id import Digest, digest_of
from edge.departures import Departed, Reason
from edge.eviction import S3Fifo
from edge.metrics import EdgeMetrics
from kit.buffers import Buffer
from kit.errors import SettingsError
from kit.telemetry import get_logger

log = get_logger("edge.disk")

T = TypeVar("T")

_NAME = re.compile(r"[0-9a-f]{64}")
TEMPORARY_SUFFIX = ".part"


class DiskCache:
    """Blobs by name, within a budget of bytes. Open it before use.

    A blob's name is its digest, or is made of it: see ``Blob.name``.

    No method raises for what the disk does: a cache that fails is a cache that misses. Each
    failure is logged and counted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        threads: int,
        metrics: EdgeMetrics,
        departed: Departed = lambda _names, _reason: None,
    ) -> None:
        """Tell ``departed`` of what goes, or is not kept, and why."""
        self._folder = folder
        self._policy: S3Fifo[Digest] = S3Fifo(max_bytes)
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._metrics = metrics
        self._departed = departed
        metrics.watch("cached_bytes", "Bytes on disk.", lambda: self._policy.size)
        metrics.watch("cached_blobs", "Blobs on disk.", lambda: len(self._policy))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Make the folder, find what an earlier run left there, and delete half-written files.

        Raises:
            SettingsError: The folder cannot be made or read, or another edge works on it.
        """
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="edge-disk")
        try:
            lock = await self._in_thread(lambda: _lock(self._folder))
            with lock:
                await self._adopt(await self._in_thread(lambda: _scan(self._folder)))
                log.info("cache.opened", blobs=len(self._policy), cached_bytes=self._policy.size)
                yield
        finally:
            await asyncio.to_thread(self._pool.shutdown)

    def __contains__(self, name: Digest) -> bool:
        """Tell whether the blob is thought to be there; only :meth:`get` knows."""
        return name in self._policy

    async def get(self, name: Digest, digest: Digest) -> bytes | None:
        """Return the verified blob, or None if it is not there, unreadable or damaged."""
        if name not in self._policy:
            return None
        path, size = self._path(name), self._policy.size_of(name)
        try:
            content = await self._in_thread(lambda: _read_verified(path, size, digest))
        except OSError as error:
            log.warning("cache.unreadable", digest=digest.hex(), error=str(error))
            self._departed([name], Reason.DISK)
            self._policy.remove(name)
            return None
        if content is None:
            log.warning("cache.damaged", digest=digest.hex())
            self._metrics.bad_on_disk.inc()
            self._departed([name], Reason.BIT_ROT)
            self._policy.remove(name)
            await self._drop([name])
            return None
        self._policy.use(name)
        return content

    async def put(self, name: Digest, content: Buffer) -> None:
        """Keep ``content``, which the caller has verified; what is in its way is dropped first."""
        if not self._policy.can_hold(len(content)):
            self._metrics.not_cached.labels("too-large").inc()
            self._departed([name], Reason.TOO_LARGE)
            return
        victims = self._policy.admit(name, len(content))
        self._metrics.evictions.inc(len(victims))
        self._departed(victims, Reason.EVICTED)
        path, in_the_way = self._path(name), [self._path(victim) for victim in victims]
        try:
            await self._in_thread(lambda: _replace(in_the_way, path, content))
        except OSError as error:
            log.warning("cache.write_failed", name=name.hex(), error=str(error))
            self._metrics.not_cached.labels("disk").inc()
            self._departed([name], Reason.DISK)
            self._policy.remove(name)
        if name not in self._policy:
            await self._drop([name])  # evicted, or found unreadable, while it was written

    async def _adopt(self, found: Iterable[tuple[Digest, int]]) -> None:
        victims: list[Digest] = []
        for name, size in found:
            fits = self._policy.can_hold(size)
            victims += self._policy.admit(name, size) if fits else [name]
        await self._drop(victims)

    async def _drop(self, names: Iterable[Digest]) -> None:
        paths = [self._path(name) for name in names]
        if paths:
            await self._in_thread(lambda: _unlink(paths))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        assert self._pool is not None, "open the cache before use"
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def _path(self, name: Digest) -> Path:
        text = name.hex()
        return self._folder / text[:2] / text


def _lock(folder: Path) -> BinaryIO:
    """Make ``folder`` ours until the file returned is closed, or the process ends in any way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("wb")
    except OSError as error:
        raise SettingsError(f"edge.cache_dir: {folder}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise SettingsError(
            f"edge.cache_dir: another edge works on {folder}; stop it, or give this one its own"
        ) from error
    return file


def _scan(folder: Path) -> list[tuple[Digest, int]]:
    """Return what is cached, oldest first, so that the queues come back in about their order."""
    found: list[tuple[float, Digest, int]] = []
    try:
        fans = [entry.path for entry in os.scandir(folder) if len(entry.name) == 2]
        for file in (file for fan in fans for file in os.scandir(fan)):
            if _NAME.fullmatch(file.name):
                stat = file.stat(follow_symlinks=False)
                found.append((stat.st_mtime, Digest(bytes.fromhex(file.name)), stat.st_size))
            elif file.name.endswith(TEMPORARY_SUFFIX):
                Path(file.path).unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"edge.cache_dir: {error.filename}: {error.strerror}") from error
    return [(digest, size) for _, digest, size in sorted(found)]


def _read_verified(path: Path, size: int, digest: Digest) -> bytes | None:
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != size:
            return None
        content = file.read(size)
    return content if digest_of(content) == digest else None


def _replace(in_the_way: Iterable[Path], path: Path, content: Buffer) -> None:
    """Delete ``in_the_way``, then write ``path``: never more on disk than the budget."""
    _unlink(in_the_way)
    temporary = path.with_name(f"{path.name}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)
