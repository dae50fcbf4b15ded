"""The threads in which the store waits for its disk, so that the event loop does not.

Files are written by one thread, so shelves need no locks, and read by a few: a hanging disk stalls
nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class StoreThreads:
    """A pool that reads, and one thread that writes. Open it before use."""

    def __init__(self, readers_max: int) -> None:
        self._readers_max = readers_max
        self._readers: ThreadPoolExecutor | None = None
        self._writer: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Be ready; threads are started as they are needed."""
        self._readers = ThreadPoolExecutor(self._readers_max, thread_name_prefix="edge-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="edge-write")

    async def write(self, call: Callable[[], T]) -> T:
        """Return ``call()``, made by the thread that writes: calls are made in their order."""
        assert self._writer is not None, "open the store before use"
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    async def read(self, call: Callable[[], T]) -> T:
        """Return ``call()``, made by one of the threads that read."""
        assert self._readers is not None, "open the store before use"
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def close(self) -> None:
        """Wait for all that is under way."""
        for pool in (self._readers, self._writer):
            if pool is not None:
                await asyncio.to_thread(pool.shutdown)
