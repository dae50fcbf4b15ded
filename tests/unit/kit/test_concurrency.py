"""Several things at once, in order, bounded, and with one error at the end."""

from __future__ import annotations

import asyncio

import pytest

from kit.concurrency import for_each, to_its_end, ungrouped
from kit.errors import Conflict, NotFound


async def test_results_come_in_the_order_of_items_and_no_more_run_than_allowed() -> None:
    running, most = 0, 0

    async def call(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(10 - item):
            await asyncio.sleep(0)
        running -= 1
        return item * item

    assert await for_each(range(10), call, at_once=3) == [n * n for n in range(10)]
    assert most == 3


async def test_first_error_ends_the_others_before_it_is_raised() -> None:
    ended: list[int] = []

    async def call(item: int) -> None:
        if item == 1:
            raise NotFound("one")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    with pytest.raises(NotFound, match="one"):
        await for_each(range(3), call, at_once=3)
    assert sorted(ended) == [0, 2]


async def test_cancelled_wait_lets_its_call_end_first() -> None:
    began, go_on, has_ended = asyncio.Event(), asyncio.Event(), False

    async def call() -> None:
        nonlocal has_ended
        began.set()
        await go_on.wait()
        has_ended = True

    waiting = asyncio.create_task(to_its_end(call()))
    await began.wait()
    waiting.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert has_ended


def test_of_a_group_the_first_error_of_ours_is_raised() -> None:
    inner = ExceptionGroup("inner", [OSError("disk"), Conflict("ours")])
    with pytest.raises(Conflict, match="ours"), ungrouped():
        raise ExceptionGroup("outer", [ValueError("x"), inner])


def test_of_a_group_without_ours_the_first_is_raised() -> None:
    with pytest.raises(ValueError, match="x"), ungrouped():
        raise ExceptionGroup("outer", [ValueError("x"), OSError("disk")])
