"""The threads that unpack, hash and touch the disk, so that the event loop never does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """A fixed number of threads. Leaving the block waits for what they are at.

    Cancelling a wait does not stop its thread; so whoever closes what threads use does it after
    this block.
    """

    def __init__(self, count: int = 0) -> None:
        """Use ``count`` threads, or one for each core if it is 0."""
        self.count = count or os.cpu_count() or 1
        self._threads: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Workers:
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="console")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown)

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what ``work`` returns; it runs in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    async def each(self, work: Callable[[T], R], items: Iterator[T]) -> AsyncIterator[R]:
        """Yield what ``work`` returns for each of ``items``, in order, all threads busy.

        Takes an item only when a thread is about to be free, so ``items`` may be endless.
        """
        under_way: list[asyncio.Future[R]] = []
        try:
            for item in items:
                if len(under_way) > self.count:
                    yield await under_way.pop(0)
                under_way.append(asyncio.ensure_future(self.run(work, item)))
            while under_way:
                yield await under_way.pop(0)
        finally:
            for future in under_way:
                future.cancel()
