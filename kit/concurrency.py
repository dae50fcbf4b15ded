"""Several things at once, and one thing to its end: what asyncio leaves to its users."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from kit.errors import PlayheadError

T = TypeVar("T")
R = TypeVar("R")


async def for_each(
    items: Iterable[T], call: Callable[[T], Awaitable[R]], *, at_once: int
) -> list[R]:
    """Return ``call(item)`` of every item, in order; at most ``at_once`` run at a time.

    When this returns or raises, none of them runs any more. (A ``TaskGroup`` would wrap the error
    in a group, and callers look for ours.)
    """
    waiting = enumerate(items)
    results: dict[int, R] = {}

    async def work() -> None:
        for index, item in waiting:
            results[index] = await call(item)

    workers = [asyncio.create_task(work()) for _ in range(at_once)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [results[index] for index in sorted(results)]


async def in_order(
    items: Iterable[T],
    call: Callable[[T], Awaitable[R]],
    take: Callable[[T, R], Awaitable[None]],
    *,
    at_once: int,
) -> None:
    """Await ``take(item, await call(item))`` of every item, in order.

    Up to ``at_once`` calls are under way, or done and waiting for their turn, at a time. When this
    returns or raises, none of them runs any more.
    """
    under_way: deque[tuple[T, asyncio.Task[R]]] = deque()

    async def take_first() -> None:
        item, task = under_way[0]
        result = await task
        under_way.popleft()
        await take(item, result)

    try:
        for item in items:
            if len(under_way) >= at_once:
                await take_first()
            under_way.append((item, asyncio.create_task(_awaited(call, item))))
        while under_way:
            await take_first()
    finally:
        for _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)


class MemoryGate:
    """Lets so many at once do something as there is memory for. Belongs to one event loop."""

    def __init__(self, size_max: int) -> None:
        """Let through what takes ``size_max`` bytes together; one alone may take more."""
        self._size_max = size_max
        self._size = 0
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """Wait until there are ``size`` bytes to spare; they are taken until the block is left."""
        while not self._has_room(size):
            await self._freed.wait()
        self._size += size
        try:
            yield
        finally:
            # Without a wait: whoever is cancelled here must not leave others waiting for ever.
            self._size -= size
            self._freed.set()
            self._freed = asyncio.Event()

    def _has_room(self, size: int) -> bool:
        return self._size == 0 or self._size + size <= self._size_max


def core_count() -> int:
    """Return how many cores this process may use, which in a container are not all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


async def to_its_end(call: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
    """Await ``call``; if we are cancelled meanwhile, let it end first.

    A write that is cut off may still happen, later than whatever we do next.
    """
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise one error instead of the group that a ``TaskGroup`` makes: the first of ours, if any.

    The others are what happened to its neighbours when it ended them.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        ours = (error for error in leaves if isinstance(error, PlayheadError))
        found = next(ours, leaves[0])
        raise found from found.__cause__


async def _awaited(call: Callable[[T], Awaitable[R]], item: T) -> R:
    return await call(item)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
