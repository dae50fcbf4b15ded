"""Do several things at once, and fail with the error that matters."""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def run_all(calls: Iterable[Coroutine[Any, Any, object]], *, at_once: int) -> None:
    """Run ``calls``, up to ``at_once`` at a time; the first that fails ends the others."""
    gate = asyncio.Semaphore(at_once)

    async def gated(call: Coroutine[Any, Any, object]) -> None:
        async with gate:
            await call

    waiting = list(calls)
    try:
        async with TaskGroup() as tasks:
            for call in waiting:
                tasks.create_task(gated(call))
    except BaseExceptionGroup as group:
        raise first_cause(group) from group
    finally:
        for call in waiting:
            call.close()  # does nothing to one that has run


async def to_its_end(call: Coroutine[Any, Any, T]) -> T:
    """Await ``call``; if we are cancelled meanwhile, let it end first."""
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error to report: the first, which made the others end."""
    first = group.exceptions[0]
    return first_cause(first) if isinstance(first, BaseExceptionGroup) else first
