"""Several things at once, in order, bounded, and with one error at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.concurrency import MemoryGate, for_each, in_order, to_its_end, ungrouped
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


async def test_in_order_takes_results_in_order_and_runs_no_more_than_allowed() -> None:
    running, most, waiting_most = 0, 0, 0
    done: set[int] = set()
    taken: list[tuple[int, int]] = []

    async def call(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(10 - item):
            await asyncio.sleep(0)
        running -= 1
        done.add(item)
        return item * item

    async def take(item: int, result: int) -> None:
        nonlocal waiting_most
        waiting_most = max(waiting_most, running + len(done) - len(taken))
        taken.append((item, result))

    await in_order(range(10), call, take, at_once=3)
    assert taken == [(n, n * n) for n in range(10)]
    assert most == 3
    assert waiting_most <= 3, "what is done and waits for its turn counts too"


async def test_in_order_draws_items_only_when_there_is_room() -> None:
    drawn: list[int] = []
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(6):
            drawn.append(item)
            yield item

    async def call(item: int) -> int:
        return item

    async def take(item: int, _: int) -> None:
        assert len(drawn) - len(taken) <= 3
        taken.append(item)

    await in_order(items(), call, take, at_once=2)
    assert taken == drawn == list(range(6))


async def test_in_order_raises_the_first_error_in_order_and_ends_the_others() -> None:
    ended: list[int] = []
    taken: list[int] = []

    async def call(item: int) -> None:
        if item == 2:
            raise NotFound("two, though it was the first to fail")
        if item == 1:
            for _ in range(5):
                await asyncio.sleep(0)
            raise NotFound("one")
        if item == 0:
            return
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    async def take(item: int, _: None) -> None:
        taken.append(item)

    with pytest.raises(NotFound, match="one"):
        await in_order(range(4), call, take, at_once=4)
    assert (taken, ended) == ([0], [3])


async def test_in_order_ends_all_calls_if_taking_fails() -> None:
    ended: list[int] = []

    async def call(item: int) -> None:
        try:
            if item:
                await asyncio.Event().wait()
        finally:
            ended.append(item)

    async def take(_: int, __: None) -> None:
        raise Conflict("full")

    with pytest.raises(Conflict, match="full"):
        await in_order(range(3), call, take, at_once=3)
    assert ended == [0, 1, 2]


async def test_in_order_cancelled_leaves_nothing_running() -> None:
    began, ended = asyncio.Event(), list[int]()

    async def call(item: int) -> None:
        if item == 2:
            began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    async def take(_: int, __: None) -> None:
        raise AssertionError("nothing was done")

    task = asyncio.create_task(in_order(range(9), call, take, at_once=3))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 4)), max_size=12))
def test_memory_gate_lets_all_through_and_never_more_than_fits(
    users: list[tuple[int, int]],
) -> None:
    """Users take so much for so many turns of the loop."""
    held: list[int] = []
    served = 0

    async def use(gate: MemoryGate, size: int, turns: int) -> None:
        nonlocal served
        async with gate.room(size):
            held.append(size)
            assert sum(held) <= 10 or [each for each in held if each] == [max(held)]
            for _ in range(turns):
                await asyncio.sleep(0)
            held.remove(size)
        served += 1

    async def run() -> None:
        gate = MemoryGate(10)
        async with asyncio.TaskGroup() as tasks:
            for size, turns in users:
                tasks.create_task(use(gate, size, turns))

    asyncio.run(asyncio.wait_for(run(), 5))
    assert served == len(users)


async def test_memory_gate_gives_room_back_after_an_error() -> None:
    gate = MemoryGate(10)
    with pytest.raises(Conflict):
        async with gate.room(10):
            raise Conflict("ours")
    async with asyncio.timeout(5), gate.room(10):
        pass


async def test_memory_gate_forgets_who_is_cancelled_while_waiting() -> None:
    gate, entered = MemoryGate(10), list[str]()

    async def use(name: str) -> None:
        async with gate.room(8):
            entered.append(name)

    async with gate.room(8):
        first = asyncio.create_task(use("first"))
        second = asyncio.create_task(use("second"))
        for _ in range(3):
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert entered == []
    async with asyncio.timeout(5):
        await second
    assert entered == ["second"]


@pytest.mark.parametrize("turns", range(5))
async def test_memory_gate_wakes_who_waits_however_often_others_are_cancelled(turns: int) -> None:
    """Room is given back at once: a second cancellation finds nothing to interrupt."""
    gate, go_on = MemoryGate(10), asyncio.Event()

    async def hold() -> None:
        async with gate.room(5):
            await go_on.wait()

    async def use() -> None:
        async with gate.room(8):
            pass

    async def pass_turns(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    holders = [asyncio.create_task(hold()) for _ in range(2)]
    await pass_turns(5)
    waiting = [asyncio.create_task(use()) for _ in range(3)]
    await pass_turns(5)
    for holder in holders:
        holder.cancel()
    await pass_turns(turns)
    for holder in holders:
        holder.cancel()
    await asyncio.wait(holders)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
