"""Concurrent calls for a key share one task."""

from __future__ import annotations

import asyncio

import pytest

from kit.errors import Unavailable
from kit.single_flight import SingleFlight


class Work:
    """Something slow, that counts how often it is begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.done = asyncio.Event()
        self.fails = False

    async def run(self) -> str:
        self.begun += 1
        await self.done.wait()
        if self.fails:
            raise Unavailable("down")
        return f"result {self.begun}"


async def test_concurrent_calls_are_one() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    calls = [asyncio.create_task(flights.run("a", work.run)) for _ in range(10)]
    await asyncio.sleep(0)
    assert ("a" in flights, "b" in flights, len(flights)) == (True, False, 1)
    work.done.set()
    assert await asyncio.gather(*calls) == ["result 1"] * 10
    assert len(flights) == 0


async def test_a_later_call_begins_anew() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    work.done.set()
    assert [await flights.run("a", work.run) for _ in range(2)] == ["result 1", "result 2"]


async def test_keys_do_not_wait_for_each_other() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    slow, quick = Work(), Work()
    quick.done.set()
    waiting = asyncio.create_task(flights.run("slow", slow.run))
    assert await flights.run("quick", quick.run) == "result 1"
    slow.done.set()
    await waiting


async def test_a_caller_that_leaves_takes_nobody_along() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    leaving, staying = (asyncio.create_task(flights.run("a", work.run)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    work.done.set()
    assert await staying == "result 1"
    assert leaving.cancelled()


async def test_a_failure_is_everybodys_and_is_forgotten() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    work.fails = True
    work.done.set()
    failed = await asyncio.gather(
        *(flights.run("a", work.run) for _ in range(3)), return_exceptions=True
    )
    assert [type(error) for error in failed] == [Unavailable] * 3
    assert work.begun == 1
    work.fails = False
    assert await flights.run("a", work.run) == "result 2"


async def test_closing_ends_what_is_under_way() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    call = asyncio.create_task(flights.run("a", work.run))
    await asyncio.sleep(0)
    await flights.close()
    assert len(flights) == 0
    with pytest.raises(asyncio.CancelledError):
        await call
