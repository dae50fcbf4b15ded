"""Turn segments into chunks and bundles in one pass, on all cores and in bounded memory.

    read, cut      one thread: a segment is cut from its start to its end
    hash           any worker
    enter          the ledger's thread, in order: is the chunk new, and which row is it?
    compress       any worker
    pack           the ledger's thread, in order: into which bundle, and where?
    close, store   any worker; the storage

Threads are handed windows of 8 MiB, never chunks. What is decided is decided in order, so the
result does not depend on how threads were scheduled. The windows' buffers are the back-pressure:
there is a fixed number of them, and a buffer is free again once its last chunk was packed.
"""

from __future__ import annotations

import asyncio
from asyncio import Queue, TaskGroup
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from chunks import codec
from chunks.bundle import Bundle
from chunks.chunk_id import digest_of
from kit.buffers import Buffer
from kit.clock import Clock
from kit.concurrency import core_count, ungrouped
from manifests.model import BundleRef
from packager.bundling import Bundler, FullBundle
from packager.ledger import Ledger, NewChunk, NewItem
from packager.progress import ProgressDisplay, PushProgress
from packager.windows import WINDOW_SIZE, CutPart, Window, WindowReader

WINDOWS_MAX = 16
"""128 MiB of windows, and at most as much again compressed, whatever the number of cores."""

UPLOADS_MAX = 4
"""64 MiB of bundles under way: enough to fill a line to S3, whose single puts reach 50 MB/s."""

T = TypeVar("T")


@dataclass(slots=True)
class StageSeconds:
    """Seconds that threads spent on each stage; with several threads more than have passed."""

    read: float = 0.0
    """Reading files and cutting."""
    hash: float = 0.0
    compress: float = 0.0
    upload: float = 0.0
    """Naming bundles and storing them."""


@dataclass(slots=True)
class Tally:
    """What went through the pipeline; sizes in bytes."""

    done_size: int = 0
    read_size: int = 0
    uploaded_size: int = 0
    bundle_count: int = 0


@dataclass(frozen=True, slots=True)
class _Entered:
    window: Window
    items: list[NewItem]
    stored: Awaitable[tuple[list[Buffer], float]]


class Pipeline:
    """One run from files to stored bundles."""

    def __init__(
        self,
        reader: WindowReader,
        ledger: Ledger,
        store: Callable[[Bundle], Awaitable[None]],
        *,
        total_size: int,
        clock: Clock,
        display: ProgressDisplay,
        workers: int | None = None,
        pack: Callable[[Buffer], Buffer] = codec.pack,
    ) -> None:
        """Prepare a run.

        Args:
            reader: Owned by the pipeline from now on, as is ``ledger``.
            ledger: Holds the result once the run has ended.
            store: Makes a bundle durable; up to ``UPLOADS_MAX`` calls at once.
            total_size: Bytes of the build, for the display.
            clock: Times the stages.
            display: Is shown the progress.
            workers: Threads that hash and compress; by default one for each core.
            pack: Makes of a chunk's plain bytes what is stored.
        """
        self.seconds = StageSeconds()
        self.tally = Tally()
        self._reader = reader
        self._ledger = ledger
        self._bundler = Bundler(ledger)
        self._store = store
        self._total_size = total_size
        self._clock = clock
        self._display = display
        self._pack_chunk = pack
        worker_count = workers or core_count()
        self._reading = ThreadPoolExecutor(1, "read")
        self._accounting = ThreadPoolExecutor(1, "account")
        self._workers = ThreadPoolExecutor(worker_count, "pack")
        self._buffers: Queue[bytearray] = Queue()
        for _ in range(min(worker_count + 3, WINDOWS_MAX)):
            self._buffers.put_nowait(bytearray(WINDOW_SIZE))
        # These hold windows, and so are bounded by the number of buffers.
        self._read_windows: Queue[tuple[Window, Awaitable[tuple[None, float]]] | None] = Queue()
        self._entered: Queue[_Entered | None] = Queue()
        self._uploads = asyncio.Semaphore(UPLOADS_MAX)

    async def run(self) -> None:
        """Carry every segment through; the ledger then knows where each chunk is stored.

        If it fails or is cancelled, what was stored stays, and our threads end.

        Raises:
            InvalidInput: A file changed, vanished or cannot be read.
            PlayheadError: What ``store`` raised, or the ledger.
        """
        try:
            with ungrouped():
                async with TaskGroup() as tasks:
                    tasks.create_task(self._read())
                    tasks.create_task(self._enter())
                    tasks.create_task(self._pack(tasks))
        finally:
            await asyncio.to_thread(self._end_threads)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            buffer = await self._buffers.get()
            window, elapsed_s = await loop.run_in_executor(
                self._reading, self._timed, self._reader.fill, buffer
            )
            self.seconds.read += elapsed_s
            if window is None:
                break
            hashing = loop.run_in_executor(self._workers, self._timed, _hash, window)
            self._read_windows.put_nowait((window, hashing))
        self._read_windows.put_nowait(None)

    async def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        while (found := await self._read_windows.get()) is not None:
            window, hashing = found
            _, elapsed_s = await hashing
            self.seconds.hash += elapsed_s
            items = await loop.run_in_executor(self._accounting, self._ledger.enter, window)
            chunks = [item for item in items if isinstance(item, NewChunk)]
            packing = loop.run_in_executor(
                self._workers, self._timed, self._compress, window.buffer, chunks
            )
            self._entered.put_nowait(_Entered(window, items, packing))
        self._entered.put_nowait(None)

    async def _pack(self, tasks: TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while (entered := await self._entered.get()) is not None:
            stored, elapsed_s = await entered.stored
            self.seconds.compress += elapsed_s
            full = await loop.run_in_executor(
                self._accounting, self._bundler.add, entered.items, stored
            )
            self._buffers.put_nowait(entered.window.buffer)
            self._count(entered.window)
            await self._start_uploads(tasks, full)
        await self._start_uploads(tasks, self._bundler.finish())

    async def _start_uploads(self, tasks: TaskGroup, full: Sequence[FullBundle]) -> None:
        for bundle in full:
            await self._uploads.acquire()
            tasks.create_task(self._upload(bundle))

    async def _upload(self, full: FullBundle) -> None:
        loop = asyncio.get_running_loop()
        started_s = self._clock.monotonic()
        bundle = await loop.run_in_executor(self._workers, full.writer.close)
        await self._store(bundle)
        ref = BundleRef(bundle.bundle_id, len(bundle.data))
        await loop.run_in_executor(
            self._accounting, self._ledger.name_bundle, full.bundle_index, ref
        )
        self.seconds.upload += self._clock.monotonic() - started_s
        self.tally.uploaded_size += len(bundle.data)
        self.tally.bundle_count += 1
        self._uploads.release()

    def _count(self, window: Window) -> None:
        self.tally.done_size += window.size
        self.tally.read_size += window.read_size
        path = window.parts[-1].segment.files[-1].entry.path if window.parts else ""
        self._display.show(
            PushProgress(self.tally.done_size, self._total_size, self.tally.uploaded_size, path)
        )

    def _compress(self, buffer: bytearray, chunks: Sequence[NewChunk]) -> list[Buffer]:
        view = memoryview(buffer)
        return [self._pack_chunk(view[chunk.start : chunk.end]) for chunk in chunks]

    def _timed(self, call: Callable[..., T], *args: object) -> tuple[T, float]:
        started_s = self._clock.monotonic()
        return call(*args), self._clock.monotonic() - started_s

    def _end_threads(self) -> None:
        for pool in (self._reading, self._accounting, self._workers):
            pool.shutdown(cancel_futures=True)
        self._reader.close()


def _hash(window: Window) -> None:
    view = memoryview(window.buffer)
    for part in window.parts:
        if isinstance(part, CutPart):
            start = part.start
            for size in part.sizes:
                part.digests.append(digest_of(view[start : start + size]))
                start += size
