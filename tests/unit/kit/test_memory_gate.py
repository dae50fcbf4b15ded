"""A gate that lets in as many as there is memory for, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio

from kit.concurrency import MemoryGate


class Inside:
    """Enters a gate, says so, and stays until it is let go."""

    def __init__(self, gate: MemoryGate, size: int) -> None:
        self.entered = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._stay(gate, size))

    async def _stay(self, gate: MemoryGate, size: int) -> None:
        async with gate.room(size):
            self.entered.set()
            await self.leave.wait()


async def a_turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_does_not_fit_waits_until_there_is_room() -> None:
    gate = MemoryGate(10)
    first, second = Inside(gate, 6), Inside(gate, 6)
    await a_turn()
    assert (first.entered.is_set(), second.entered.is_set()) == (True, False)
    first.leave.set()
    await first.task
    await a_turn()
    assert second.entered.is_set()
    second.leave.set()
    await second.task


async def test_one_alone_may_take_more_than_there_is() -> None:
    async with asyncio.timeout(1), MemoryGate(10).room(50):
        pass


async def test_large_one_is_not_passed_over_by_small_ones() -> None:
    gate = MemoryGate(10)
    first, large, small = Inside(gate, 6), Inside(gate, 10), Inside(gate, 1)
    await a_turn()
    assert not small.entered.is_set()
    first.leave.set()
    await a_turn()
    assert (large.entered.is_set(), small.entered.is_set()) == (True, False)
    large.leave.set()
    small.leave.set()
    await asyncio.gather(large.task, small.task)


async def test_cancelled_waiter_makes_way_for_the_next() -> None:
    gate = MemoryGate(10)
    first, large, small = Inside(gate, 6), Inside(gate, 10), Inside(gate, 1)
    await a_turn()
    large.task.cancel()
    await a_turn()
    assert small.entered.is_set()
    first.leave.set()
    small.leave.set()
    await asyncio.gather(first.task, small.task)


async def test_cancel_at_the_moment_of_entry_keeps_no_bytes() -> None:
    gate = MemoryGate(10)
    first, second = Inside(gate, 10), Inside(gate, 10)
    await a_turn()
    first.leave.set()
    await first.task  # the second has its turn now, and has not run yet
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    async with asyncio.timeout(1), gate.room(10):
        pass
