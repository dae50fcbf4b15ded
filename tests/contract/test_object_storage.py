"""What every object storage keeps, whatever it is made of and whatever is stacked on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from kit.buffers import Buffer
from kit.clock import SystemClock
from kit.errors import IntegrityError, InvalidInput, NotFound
from kit.object_storage import ObjectStorage
from kit.object_storage.local import LocalStorage
from kit.object_storage.s3 import S3Storage
from kit.object_storage.testing import FaultyStorage, MemoryStorage
from kit.object_storage.wrappers import Measured, Retrying, RetrySettings
from kit.units import MIB, ByteSize
from tests.publishing_service import NoRules, running_service
from tests.servers.swift import Swift

WRAPPERS: dict[str, Callable[[ObjectStorage], ObjectStorage]] = {
    "bare": lambda base: base,
    "retrying": lambda base: Retrying(base, settings=RetrySettings(), random=Random(1)),
    "measured": lambda base: Measured(base, registry=CollectorRegistry(), clock=SystemClock()),
    "faulty": FaultyStorage,
}
ADAPTERS: list[Any] = ["memory", "local", "remote"]
# These start a server.
ADAPTERS += [pytest.param(name, marks=pytest.mark.slow) for name in ("s3", "remote to s3")]

BODY = bytes(range(256)) * 4
ESCAPES = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    ".hidden",
    "a/.tmp/b",
    "a\\b",
    "a b",
    "a\n",
    "a\0",
    "ä",
    "%2e%2e/a",
    "a" * 256,
    "a/" * 256 + "a",
]


def s3_storage(request: pytest.FixtureRequest) -> S3Storage:
    swift: Swift = request.getfixturevalue("swift")
    return S3Storage(
        msgspec.structs.replace(
            swift.settings(),
            list_page=7,
            multipart_above=ByteSize(6 * MIB),
            part_size=ByteSize(5 * MIB),
        )
    )


@pytest.fixture(params=ADAPTERS)
async def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStorage]:
    match request.param:
        case "memory":
            yield MemoryStorage()
        case "local":
            local = LocalStorage(tmp_path / "storage")
            yield local
            await local.close()
        case "remote":
            local = LocalStorage(tmp_path / "storage")
            async with running_service(local, tmp_path, NoRules()) as service:
                yield service.storage()
            await local.close()
        case "s3":
            s3 = s3_storage(request)
            yield s3
            await s3.close()
        case "remote to s3":
            s3 = s3_storage(request)
            async with running_service(s3, tmp_path, NoRules(), presigner=s3) as service:
                yield service.storage()
            await s3.close()


@pytest.fixture(params=list(WRAPPERS))
def storage(request: pytest.FixtureRequest, adapter: ObjectStorage) -> ObjectStorage:
    return WRAPPERS[request.param](adapter)


async def keys(storage: ObjectStorage, prefix: str = "") -> list[str]:
    return [found.key async for found in storage.list(prefix)]


async def test_what_was_put_comes_back(storage: ObjectStorage) -> None:
    assert await storage.put_if_absent("bundles/3f/a.bundle", BODY)
    assert await storage.get("bundles/3f/a.bundle", size_max=len(BODY)) == BODY


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_any_buffer_can_be_put(
    storage: ObjectStorage, kind: Callable[[bytes], Buffer]
) -> None:
    await storage.put_if_absent("once", kind(BODY))
    await storage.put("head", kind(BODY))
    assert await storage.get("once", size_max=len(BODY)) == BODY
    assert await storage.get("head", size_max=len(BODY)) == BODY


async def test_an_empty_object_is_an_object(storage: ObjectStorage) -> None:
    assert await storage.put_if_absent("empty", b"")
    assert not await storage.put_if_absent("empty", b"x")
    assert await storage.get("empty", size_max=0) == b""
    assert await storage.read("empty", 0, 0) == b""
    assert (await storage.stat("empty")).size == 0


async def test_second_put_if_absent_does_not_overwrite(storage: ObjectStorage) -> None:
    assert await storage.put_if_absent("a", b"first")
    assert not await storage.put_if_absent("a", b"second")
    assert await storage.get("a", size_max=10) == b"first"


async def test_put_replaces(storage: ObjectStorage) -> None:
    await storage.put("channels/live", b"release 1")
    await storage.put("channels/live", b"2")
    assert await storage.get("channels/live", size_max=10) == b"2"
    assert (await storage.stat("channels/live")).size == 1


async def test_racing_writers_leave_one_whole_object(storage: ObjectStorage) -> None:
    bodies = [bytes([writer]) * 65536 for writer in range(12)]
    stored = await asyncio.gather(*(storage.put_if_absent("raced", body) for body in bodies))
    assert any(stored)
    assert await storage.get("raced", size_max=65536) in {
        body for body, is_stored in zip(bodies, stored, strict=True) if is_stored
    }
    assert not await storage.put_if_absent("raced", b"late")


@pytest.mark.parametrize("adapter", ["memory", "local"], indirect=True)
async def test_of_racing_writers_exactly_one_stores(storage: ObjectStorage) -> None:
    stored = await asyncio.gather(*(storage.put_if_absent("raced", BODY) for _ in range(32)))
    assert stored.count(True) == 1


async def test_a_reader_never_sees_part_of_a_replacement(storage: ObjectStorage) -> None:
    bodies = {bytes([version]) * 50_000 for version in range(6)}
    await storage.put("head", next(iter(bodies)))

    async def write() -> None:
        for body in bodies:
            await storage.put("head", body)

    writing = asyncio.create_task(write())
    while not writing.done():
        assert await storage.get("head", size_max=50_000) in bodies
        await asyncio.sleep(0)  # storage in memory never waits, and would starve the writer
    await writing


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 0), (0, 1), (0, 1024), (1, 1022), (511, 2), (1023, 1), (1024, 0), (700, 0)],
)
async def test_a_range_is_exactly_its_bytes(
    storage: ObjectStorage, start: int, length: int
) -> None:
    await storage.put_if_absent("ranged", BODY)
    assert await storage.read("ranged", start, length) == BODY[start : start + length]


@pytest.mark.parametrize(
    ("start", "length"), [(0, 1025), (1023, 2), (1024, 1), (1025, 0), (5000, 10), (0, 1 << 40)]
)
async def test_a_range_past_the_end_is_an_error(
    storage: ObjectStorage, start: int, length: int
) -> None:
    await storage.put_if_absent("ranged", BODY)
    with pytest.raises(IntegrityError, match="ranged"):
        await storage.read("ranged", start, length)


async def test_an_object_larger_than_expected_is_not_read(storage: ObjectStorage) -> None:
    await storage.put_if_absent("large", BODY)
    with pytest.raises(IntegrityError, match=r"large.*1024.*1023"):
        await storage.get("large", size_max=1023)


async def test_what_is_not_there_is_not_found(storage: ObjectStorage) -> None:
    await storage.put_if_absent("folder/object", BODY)
    for key in ("absent", "folder/absent", "absent/object", "folder", "folder/object/below"):
        with pytest.raises(NotFound, match=key):
            await storage.get(key, size_max=10)
        with pytest.raises(NotFound, match=key):
            await storage.read(key, 0, 0)
        with pytest.raises(NotFound, match=key):
            await storage.stat(key)


async def test_stat_tells_size_and_time(storage: ObjectStorage) -> None:
    before = time.time()
    await storage.put_if_absent("dated", BODY)
    found = await storage.stat("dated")
    assert (found.key, found.size) == ("dated", len(BODY))
    # Swift gives whole seconds; the kernel's file times lag behind by a tick.
    assert before - 1.1 <= found.modified_at <= time.time() + 1.1


async def test_a_listing_is_in_order_of_whole_keys(storage: ObjectStorage) -> None:
    # "-" and "." sort before "/", digits and letters after it: folders must not come first.
    names = ["a-b", "a.b", "a/b", "a/b-c", "a/c/d", "a0", "aa", "b", "Z", "_", "a/B", "a/10", "a/9"]
    for key in names:
        await storage.put_if_absent(key, b"")
    assert await keys(storage) == sorted(names)


async def test_a_prefix_may_end_anywhere(storage: ObjectStorage) -> None:
    for key in ["bundles/3e/x", "bundles/3f/a", "bundles/3f/b", "bundles/40/c", "bundles-old/d"]:
        await storage.put_if_absent(key, b"")
    assert await keys(storage, "bundles/3f/") == ["bundles/3f/a", "bundles/3f/b"]
    assert await keys(storage, "bundles/3f/b") == ["bundles/3f/b"]
    assert await keys(storage, "bundles/3") == ["bundles/3e/x", "bundles/3f/a", "bundles/3f/b"]
    assert await keys(storage, "bundles-") == ["bundles-old/d"]
    assert await keys(storage, "bundles/3f/b/") == []
    assert await keys(storage, "nothing/here") == []


async def test_a_listing_knows_sizes(storage: ObjectStorage) -> None:
    await storage.put_if_absent("a/b", BODY)
    (found,) = [found async for found in storage.list("a/")]
    assert found == await storage.stat("a/b")


async def test_an_empty_storage_lists_nothing(storage: ObjectStorage) -> None:
    assert await keys(storage) == []
    await storage.delete(["absent"])


async def test_a_listing_goes_on_past_its_page(storage: ObjectStorage) -> None:
    names = [f"many/{index % 3}/{index:03}" for index in range(30)]  # a page is 7 in this suite
    await asyncio.gather(*(storage.put_if_absent(key, b"") for key in names))
    assert await keys(storage, "many/") == sorted(names)


@pytest.mark.parametrize("adapter", ["memory", "local"], indirect=True)
async def test_thousands_are_listed_and_deleted(storage: ObjectStorage) -> None:
    names = [f"many/{index:04}" for index in range(1_200)]
    for start in range(0, len(names), 250):
        await asyncio.gather(
            *(storage.put_if_absent(key, b"") for key in names[start : start + 250])
        )
    assert await keys(storage) == names
    await storage.delete(names[1:])
    assert await keys(storage) == names[:1]


async def test_what_was_deleted_is_gone_and_the_rest_stays(storage: ObjectStorage) -> None:
    for key in ("a/1", "a/2", "b"):
        await storage.put_if_absent(key, BODY)
    await storage.delete(["a/1", "never/was", "a/1", "b"])
    assert await keys(storage) == ["a/2"]
    with pytest.raises(NotFound):
        await storage.get("a/1", size_max=len(BODY))
    assert await storage.put_if_absent("a/1", b"again")


async def test_deleting_nothing_is_fine(storage: ObjectStorage) -> None:
    await storage.delete([])


async def test_a_large_object_comes_back_whole(storage: ObjectStorage) -> None:
    body = Random(7).randbytes(20 * MIB + 1)
    assert await storage.put_if_absent("large", body)
    assert not await storage.put_if_absent("large", body[:-1] + b"x")
    assert (await storage.stat("large")).size == len(body)
    assert await storage.get("large", size_max=len(body)) == body
    assert await storage.read("large", 5 * MIB - 3, 10 * MIB) == body[5 * MIB - 3 :][: 10 * MIB]
    await storage.put("large", body[::-1])
    assert await storage.get("large", size_max=len(body)) == body[::-1]
    await storage.delete(["large"])
    assert await keys(storage) == []


@pytest.mark.parametrize("adapter", ["memory", "local"], indirect=True)
@pytest.mark.parametrize("key", ESCAPES)
async def test_what_is_no_key_is_refused_everywhere(storage: ObjectStorage, key: str) -> None:
    with pytest.raises(InvalidInput):
        await storage.get(key, size_max=1)
    with pytest.raises(InvalidInput):
        await storage.read(key, 0, 1)
    with pytest.raises(InvalidInput):
        await storage.stat(key)
    with pytest.raises(InvalidInput):
        await storage.put(key, b"")
    with pytest.raises(InvalidInput):
        await storage.put_if_absent(key, b"")
    with pytest.raises(InvalidInput):
        await storage.delete([key])


@pytest.mark.parametrize("prefix", ["/", "..", "../", "a/../", "a//", ".t", "a b", "ä"])
async def test_what_begins_no_key_is_refused_as_prefix(storage: ObjectStorage, prefix: str) -> None:
    with pytest.raises(InvalidInput):
        await keys(storage, prefix)


async def test_the_longest_key_works(storage: ObjectStorage) -> None:
    key = "k" * 255 + "/" + "e" * 255 + "/"
    assert len(key) == 512
    key = key[:-2] + "/y"
    assert await storage.put_if_absent(key, b"here")
    assert await keys(storage, key) == [key]
    assert await storage.get(key, size_max=4) == b"here"


async def test_a_cancelled_write_leaves_nothing_or_the_whole(storage: ObjectStorage) -> None:
    for round_ in range(5):
        writing = asyncio.create_task(storage.put_if_absent(f"cancelled/{round_}", BODY))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    for key in await keys(storage, "cancelled/"):
        assert await storage.get(key, size_max=len(BODY)) == BODY
    assert await storage.put_if_absent("after", BODY)
