"""What an origin makes of its storage: faults, limits, readiness."""

from __future__ import annotations

import asyncio

import pytest

from chunks.slices import SLICE_SIZE
from kit.errors import Unavailable
from kit.object_storage.testing import (
    Before,
    BitFlipped,
    FaultyStorage,
    MemoryStorage,
    Operation,
)
from origin.slice_lists import SliceLists
from tests import titles
from tests.serving import running_origin

title = titles.some_title()
SLICE = title.bundle_address.slice(0).path
DOWN = Before(Unavailable("no route to host"))


async def published() -> FaultyStorage:
    storage = MemoryStorage()
    await titles.put(storage, title)
    return FaultyStorage(storage)


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        (title.head_address.path, "get"),
        (title.slice_list_address.path, "get"),
        (title.manifest_address.path, "stat"),
        (title.manifest_address.path, "read"),
        (SLICE, "get"),
        (SLICE, "read"),
        (title.bundle_address.path, "read"),
    ],
)
async def test_storage_that_is_down_is_503(path: str, operation: Operation) -> None:
    storage = await published()
    async with running_origin(storage) as origin:
        storage.next(operation, DOWN)
        reply = await origin.ask(path)
        assert (reply.status, reply.json()["code"]) == (503, "unavailable")
        assert reply.headers["Retry-After"] == "1"
        assert (await origin.ask(path)).status == 200


async def test_a_damaged_slice_list_is_502_and_not_remembered() -> None:
    storage = await published()
    async with running_origin(storage) as origin:
        storage.next("get", BitFlipped(100))
        reply = await origin.ask(SLICE)
        assert (reply.status, reply.json()["code"]) == (502, "integrity")
        assert (await origin.ask(SLICE)).status == 200


async def test_a_bundle_that_is_shorter_than_its_list_says_is_502() -> None:
    storage = MemoryStorage()
    await titles.put(storage, title)
    await storage.put(title.bundle_address.key, title.bundle[:SLICE_SIZE])
    async with running_origin(storage) as origin:
        reply = await origin.ask(title.bundle_address.slice(1).path)
        assert (reply.status, reply.json()["code"]) == (502, "integrity")


async def test_a_slice_list_is_read_once() -> None:
    storage = await published()
    async with running_origin(storage) as origin:
        for index in (0, 1, 2, 0):
            await origin.ask(title.bundle_address.slice(index).path)
    assert storage.calls["get"] == 1


async def test_remembered_slice_lists_stay_within_their_budget() -> None:
    storage = MemoryStorage()
    many = [titles.some_title(seed=seed, bundle_size=1000) for seed in range(10)]
    for each in many:
        await titles.put(storage, each)
    counting = FaultyStorage(storage)
    lists = SliceLists(counting, asyncio.Semaphore(1), max_bytes=3 * 600)
    for _ in range(2):
        for each in many:
            await lists.get(each.slice_list_address)
    assert counting.calls["get"] == 20  # a cycle longer than the cache never hits
    for _ in range(3):
        await lists.get(many[-1].slice_list_address)
    assert counting.calls["get"] == 20


class Crowded(MemoryStorage):
    """Notes how many reads are under way at once."""

    def __init__(self) -> None:
        super().__init__()
        self.running = 0
        self.most = 0
        self.longest = 0

    async def read(self, key: str, start: int, length: int) -> bytes:
        self.running += 1
        self.most = max(self.most, self.running)
        self.longest = max(self.longest, length)
        await asyncio.sleep(0)
        self.running -= 1
        return await super().read(key, start, length)


async def test_reads_are_few_at_a_time_and_of_1_mib_at_most() -> None:
    storage = Crowded()
    await titles.put(storage, title)
    async with running_origin(storage, reads_max=3) as origin:
        replies = await asyncio.gather(*(origin.ask(title.bundle_address.path) for _ in range(20)))
    assert all(reply.body == title.bundle for reply in replies)
    assert (storage.most, storage.longest) == (3, SLICE_SIZE)


async def test_an_origin_is_ready_when_storage_answers() -> None:
    storage = await published()
    async with running_origin(storage) as origin:
        assert (await origin.ask("/readyz")).status == 200
        storage.next("stat", DOWN)
        assert (await origin.ask("/readyz")).status == 503
        assert (await origin.ask("/healthz")).status == 200
