"""What retries and metrics add to an object storage."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from kit.clock import ManualClock
from kit.errors import Denied, IntegrityError, NotFound, OutOfSpace, Unavailable
from kit.object_storage.testing import (
    FULL,
    RESET,
    SLOW_DOWN,
    After,
    Before,
    BitFlipped,
    FaultyStorage,
    MemoryStorage,
    Truncated,
)
from kit.object_storage.wrappers import Measured, Retrying, RetrySettings
from kit.units import Seconds


class Pauses:
    """A sleep that takes no time and remembers how long it was asked for."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked_s.append(seconds)


@pytest.fixture
def faulty() -> FaultyStorage:
    return FaultyStorage(MemoryStorage())


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def retrying(faulty: FaultyStorage, pauses: Pauses) -> Retrying:
    return Retrying(faulty, settings=RetrySettings(), random=Random(3), sleep=pauses)


async def test_a_slow_down_is_waited_out(retrying: Retrying, faulty: FaultyStorage) -> None:
    await retrying.put("a", b"x")
    faulty.next("get", SLOW_DOWN, SLOW_DOWN)
    assert await retrying.get("a", size_max=1) == b"x"
    assert faulty.calls["get"] == 3


async def test_every_operation_is_retried(retrying: Retrying, faulty: FaultyStorage) -> None:
    for operation in ("get", "read", "stat", "list", "put_if_absent", "put", "delete"):
        faulty.next(operation, SLOW_DOWN)
    await retrying.put("a", b"xy")
    assert not await retrying.put_if_absent("a", b"z")
    assert await retrying.get("a", size_max=2) == b"xy"
    assert await retrying.read("a", 1, 1) == b"y"
    assert (await retrying.stat("a")).size == 2
    assert [found.key async for found in retrying.list("")] == ["a"]
    await retrying.delete(["a"])
    assert set(faulty.calls.values()) == {2}


async def test_a_write_whose_answer_was_lost_is_found_done(
    retrying: Retrying, faulty: FaultyStorage
) -> None:
    faulty.next("put_if_absent", RESET)
    assert not await retrying.put_if_absent("a", b"x")
    assert await retrying.get("a", size_max=1) == b"x"


async def test_a_call_is_given_up_after_its_attempts(
    retrying: Retrying, faulty: FaultyStorage
) -> None:
    faulty.next("stat", *[SLOW_DOWN] * 10)
    with pytest.raises(Unavailable, match="SlowDown"):
        await retrying.stat("a")
    assert faulty.calls["stat"] == 4


@pytest.mark.parametrize("error", [NotFound("a"), Denied("a"), OutOfSpace("a"), OSError("a")])
async def test_what_a_retry_cannot_help_is_not_retried(
    retrying: Retrying, faulty: FaultyStorage, error: Exception
) -> None:
    faulty.next("get", Before(error))
    with pytest.raises(type(error)):
        await retrying.get("a", size_max=1)
    assert faulty.calls["get"] == 1


async def test_pauses_grow_to_a_ceiling_and_are_drawn_below_it(
    faulty: FaultyStorage, pauses: Pauses
) -> None:
    settings = RetrySettings(
        attempts_max=9, pause_first=Seconds(1), pause_max=Seconds(8), budget_reserve=1000
    )
    retrying = Retrying(faulty, settings=settings, random=Random(5), sleep=pauses)
    for _ in range(50):
        faulty.next("stat", *[SLOW_DOWN] * 9)
        with pytest.raises(Unavailable):
            await retrying.stat("a")
    for attempt, ceiling_s in enumerate([1, 2, 4, 8, 8, 8, 8, 8]):
        drawn = pauses.asked_s[attempt::8]
        assert max(drawn) <= ceiling_s
        assert max(drawn) > ceiling_s * 0.8  # the whole width is used, not
        assert min(drawn) < ceiling_s * 0.2  # a fixed pause with some noise


async def test_an_outage_costs_the_storage_a_fifth_more(
    retrying: Retrying, faulty: FaultyStorage
) -> None:
    for _ in range(500):
        faulty.next("stat", *[SLOW_DOWN] * 4)
        with pytest.raises(Unavailable):
            await retrying.stat("a")
    assert 500 * 1.2 - 1 <= faulty.calls["stat"] <= 500 * 1.2 + 10


async def test_a_listing_that_broke_off_goes_on_without_gap_or_repeat(
    retrying: Retrying, faulty: FaultyStorage
) -> None:
    names = [f"k{index}" for index in range(9)]
    for key in names:
        await retrying.put(key, b"")
    broken = Unavailable("connection reset")
    faulty.next("list", After(broken, 4), After(broken, 2), SLOW_DOWN, After(broken, 8))
    assert [found.key async for found in retrying.list("")] == names


async def test_a_listing_without_progress_is_given_up(
    retrying: Retrying, faulty: FaultyStorage
) -> None:
    faulty.next("list", *[SLOW_DOWN] * 10)
    with pytest.raises(Unavailable):
        _ = [found async for found in retrying.list("")]
    assert faulty.calls["list"] == 4


async def test_a_faulty_read_spoils_what_it_is_told_to(faulty: FaultyStorage) -> None:
    await faulty.put("a", b"\x00\x00\x00")
    faulty.next("get", Truncated(2), BitFlipped(9))
    assert await faulty.get("a", size_max=3) == b"\x00\x00"
    assert await faulty.get("a", size_max=3) == b"\x00\x02\x00"
    assert await faulty.get("a", size_max=3) == b"\x00\x00\x00"


async def test_a_full_storage_stores_nothing(faulty: FaultyStorage) -> None:
    faulty.next("put_if_absent", FULL)
    with pytest.raises(OutOfSpace):
        await faulty.put_if_absent("a", b"x")
    with pytest.raises(NotFound):
        await faulty.stat("a")


class Slow(MemoryStorage):
    """Takes two seconds of a clock that stands still otherwise."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self._time = clock

    async def get(self, key: str, *, size_max: int) -> bytes:
        self._time.advance(2)
        return await super().get(key, size_max=size_max)

    async def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        if key == "never-ends":
            await asyncio.Event().wait()
        await super().put(key, data)


async def test_calls_are_timed_by_operation_and_outcome() -> None:
    clock, registry = ManualClock(), CollectorRegistry()
    measured = Measured(Slow(clock), registry=registry, clock=clock)
    await measured.put_if_absent("a", b"xyz")
    await measured.put_if_absent("a", b"xyz")
    await measured.get("a", size_max=3)
    with pytest.raises(NotFound):
        await measured.get("b", size_max=3)
    with pytest.raises(IntegrityError):
        await measured.get("a", size_max=2)
    async for _ in measured.list(""):
        clock.advance(100)  # the reader's time, not the storage's
    writing = asyncio.create_task(measured.put("never-ends", b""))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)

    def seen(what: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"playhead_object_storage_{what}", labels)

    def seconds(operation: str, outcome: str) -> tuple[float | None, float | None]:
        labels = {"operation": operation, "outcome": outcome}
        return seen("call_seconds_count", **labels), seen("call_seconds_sum", **labels)

    assert seconds("get", "ok") == (1, 2)
    assert seconds("get", "not-found") == (1, 2)
    assert seconds("get", "integrity") == (1, 2)
    assert seconds("put_if_absent", "ok") == (2, 0)
    assert seconds("put", "cancelled") == (1, 0)
    assert seconds("list", "ok") == (1, 0)
    assert seen("moved_bytes_total", operation="get") == 3
    assert seen("moved_bytes_total", operation="put_if_absent") == 3  # what was there is not moved
