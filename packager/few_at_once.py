"""Do one thing for each of many, a few at a time; the first error ends it all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

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
