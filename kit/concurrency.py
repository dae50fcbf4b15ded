"""Several things at once, and one thing to its end: what asyncio leaves to its users."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
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


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
