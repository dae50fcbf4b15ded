"""Channels only move to higher counters; going back is a new release of an older build."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from kit.clock import ManualClock
from kit.errors import Conflict, FormatError, IntegrityError, NotFound, Unavailable
from kit.object_storage.testing import RESET, SLOW_DOWN, FaultyStorage, MemoryStorage
from kit.storage_lock import LockSettings
from kit.units import Seconds
from manifests import locations
from manifests.documents import Head, Release
from manifests.names import Channel
from packager.releases import list_releases, promote, rollback
from packager.title_store import TitleStore
from packager.writer_lock import WriterLock
from tests.publishing import BETA, LIVE, TITLE, publish
from tests.vouchers import Notary

OLD: Mapping[str, bytes] = {"a": b"a" * 300, "b": b"the first b"}
NEW: Mapping[str, bytes] = {"a": b"a" * 300, "b": b"the second b"}

clock = ManualClock(1_777_888_000)


@pytest.fixture
def storage() -> FaultyStorage:
    return FaultyStorage(MemoryStorage(clock=clock))


@pytest.fixture
def store(storage: FaultyStorage) -> TitleStore:
    return TitleStore(storage, TITLE)


@pytest.fixture
async def lock(storage: FaultyStorage) -> AsyncIterator[WriterLock]:
    settings = LockSettings(wait=Seconds(0))
    async with WriterLock(storage, TITLE, clock=clock, settings=settings, command="t") as lock:
        yield lock


async def points_to(store: TitleStore, channel: Channel) -> Release:
    return (await store.head(channel)).release


async def test_the_list_is_newest_first_with_sizes_and_channels(store: TitleStore) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", BETA, clock=clock)
    newer, older = await list_releases(store)
    assert (older.release.counter, older.release.version) == (1, "1.0")
    assert (older.installed_size, older.channels) == (311, (LIVE,))
    assert (newer.installed_size, newer.channels) == (312, (BETA,))
    assert older.release.created_at == "2026-05-04T09:46:40Z"


async def test_listing_a_title_that_has_nothing_names_it(store: TitleStore) -> None:
    with pytest.raises(NotFound, match="title a-title: nothing was published"):
        await list_releases(store)


async def test_a_release_whose_root_is_damaged_is_listed_without_its_size(
    store: TitleStore,
) -> None:
    old = await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", clock=clock)
    await store.storage.put(locations.manifest_key(TITLE, old.root.raw_digest), b"{}")
    sizes = [row.installed_size for row in await list_releases(store)]
    assert sizes == [312, None]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "release 1 of a-title is damaged"),
        (b'{"format":2,"new":true}', "release 1 of a-title has format 2"),
        (b'{"format":1,"title":"a-ti', "release 1 of a-title is damaged"),
    ],
)
async def test_a_damaged_release_is_named(
    store: TitleStore, content: bytes, complaint: str
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await store.storage.put(locations.release_key(TITLE, 1), content)
    with pytest.raises(FormatError, match=complaint):
        await list_releases(store)


@pytest.mark.parametrize("which", ["1.1", 2])
async def test_promote_moves_a_channel_forward(
    store: TitleStore, lock: WriterLock, which: str | int
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    newer = await publish(store, NEW, "1.1", BETA, clock=clock)
    move = await promote(store, lock, which, LIVE, voucher=Notary())
    assert move.is_new
    assert move.head == await store.head(LIVE)
    assert await points_to(store, LIVE) == newer


async def test_promote_makes_a_new_channel(store: TitleStore, lock: WriterLock) -> None:
    only = await publish(store, OLD, "1.0", clock=clock)
    assert (await promote(store, lock, "1.0", BETA, voucher=Notary())).is_new
    assert await points_to(store, BETA) == only


async def test_promoting_twice_changes_nothing(
    store: TitleStore, storage: FaultyStorage, lock: WriterLock
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await promote(store, lock, 1, BETA, voucher=Notary())
    writes = storage.calls["put"]
    assert not (await promote(store, lock, 1, BETA, voucher=Notary())).is_new
    assert storage.calls["put"] == writes


async def test_promote_refuses_to_go_back_and_says_what_to_use(
    store: TitleStore, lock: WriterLock
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    newer = await publish(store, NEW, "1.1", clock=clock)
    with pytest.raises(Conflict, match=r"at release 2 \(1.1\), newer than 1 \(1.0\).*rollback"):
        await promote(store, lock, "1.0", LIVE, voucher=Notary())
    assert await points_to(store, LIVE) == newer


@pytest.mark.parametrize("which", ["9.9", 7, "2"])
async def test_a_release_that_is_not_there_is_named_with_those_that_are(
    store: TitleStore, lock: WriterLock, which: str | int
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    with pytest.raises(NotFound, match=rf"no release .*{which}.*1 \(1.0\)"):
        await promote(store, lock, which, LIVE, voucher=Notary())


async def test_rollback_is_a_new_release_of_the_older_build(
    store: TitleStore, lock: WriterLock
) -> None:
    old = await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", clock=clock)
    move = await rollback(store, lock, LIVE, "1.0", clock=clock, voucher=Notary())
    again = await points_to(store, LIVE)
    assert move == type(move)(Head(title=TITLE, channel=LIVE, release=again), is_new=True)
    assert (again.counter, again.version, again.root) == (3, "1.0", old.root)
    assert again == await store.release(3)


async def test_rollback_without_a_target_takes_the_build_before(
    store: TitleStore, lock: WriterLock
) -> None:
    first = await publish(store, {"z": b"zero"}, "0.9", clock=clock)
    await publish(store, OLD, "1.0", clock=clock)
    await publish(store, OLD, "1.0.1", clock=clock)  # the same build under another label
    await rollback(store, lock, LIVE, clock=clock, voucher=Notary())
    again = await points_to(store, LIVE)
    assert (again.counter, again.root) == (4, first.root)


async def test_rolling_back_twice_to_the_same_release_changes_nothing(
    store: TitleStore, lock: WriterLock
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", clock=clock)
    await rollback(store, lock, LIVE, 1, clock=clock, voucher=Notary())
    assert not (await rollback(store, lock, LIVE, 1, clock=clock, voucher=Notary())).is_new
    assert await store.release_counters() == [1, 2, 3]


@pytest.mark.parametrize("to", [None, 1, "1.0"])
async def test_a_rollback_that_died_before_the_head_is_finished_not_repeated(
    store: TitleStore, storage: FaultyStorage, lock: WriterLock, to: str | int | None
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", clock=clock)
    storage.next("put", SLOW_DOWN)
    with pytest.raises(Unavailable):
        await rollback(store, lock, LIVE, to, clock=clock, voucher=Notary())
    assert (await points_to(store, LIVE)).counter == 2
    await rollback(store, lock, LIVE, to, clock=clock, voucher=Notary())
    assert (await points_to(store, LIVE)).counter == 3
    assert await store.release_counters() == [1, 2, 3]


async def test_a_rollback_whose_answer_was_lost_is_finished_not_repeated(
    store: TitleStore, storage: FaultyStorage, lock: WriterLock
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", clock=clock)
    storage.next("put_if_absent", RESET)
    with pytest.raises(Unavailable):
        await rollback(store, lock, LIVE, clock=clock, voucher=Notary())
    await rollback(store, lock, LIVE, clock=clock, voucher=Notary())
    assert await store.release_counters() == [1, 2, 3]


async def test_rolled_back_and_promoted_again_takes_the_newer_counter(
    store: TitleStore, lock: WriterLock
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", clock=clock)
    await rollback(store, lock, LIVE, clock=clock, voucher=Notary())
    with pytest.raises(Conflict, match="rollback"):
        await promote(store, lock, "1.1", LIVE, voucher=Notary())
    again = (await rollback(store, lock, LIVE, "1.1", clock=clock, voucher=Notary())).head.release
    assert (again.counter, again.version) == (4, "1.1")


async def test_rollback_does_not_go_forward(store: TitleStore, lock: WriterLock) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", BETA, clock=clock)
    with pytest.raises(Conflict, match=r"release 2 \(1.1\) is newer.*Use promote"):
        await rollback(store, lock, LIVE, 2, clock=clock, voucher=Notary())


async def test_rollback_needs_a_channel_and_an_older_build(
    store: TitleStore, lock: WriterLock
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    with pytest.raises(NotFound, match="title a-title has no channel beta"):
        await rollback(store, lock, BETA, clock=clock, voucher=Notary())
    with pytest.raises(NotFound, match=r"no release of another build older than 1 \(1.0\)"):
        await rollback(store, lock, LIVE, clock=clock, voucher=Notary())


async def test_a_counter_is_never_used_again_even_if_its_release_is_gone(
    store: TitleStore, lock: WriterLock
) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", clock=clock)
    await store.storage.delete([locations.release_key(TITLE, 2)])
    await rollback(store, lock, LIVE, clock=clock, voucher=Notary())
    assert (await points_to(store, LIVE)).counter == 3


async def test_a_damaged_root_is_not_rolled_back_to(store: TitleStore, lock: WriterLock) -> None:
    old = await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", clock=clock)
    await store.storage.put(locations.manifest_key(TITLE, old.root.raw_digest), b"{}")
    with pytest.raises(IntegrityError, match=f"root {old.root.digest} of a-title"):
        await rollback(store, lock, LIVE, clock=clock, voucher=Notary())
    assert await store.release_counters() == [1, 2]


async def test_a_damaged_root_is_not_promoted(store: TitleStore, lock: WriterLock) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    newer = await publish(store, NEW, "1.1", BETA, clock=clock)
    await store.storage.delete([locations.manifest_key(TITLE, newer.root.raw_digest)])
    with pytest.raises(NotFound, match=newer.root.digest):
        await promote(store, lock, 2, LIVE, voucher=Notary())
    assert (await points_to(store, LIVE)).counter == 1


async def test_nothing_moves_once_the_lock_is_lost(store: TitleStore) -> None:
    await publish(store, OLD, "1.0", clock=clock)
    await publish(store, NEW, "1.1", clock=clock)
    settings, mine = LockSettings(wait=Seconds(0)), ManualClock()
    storage = store.storage
    async with WriterLock(storage, TITLE, clock=mine, settings=settings, command="t") as lock:
        mine.advance(61)
        with pytest.raises(Conflict, match="lost the lock"):
            await rollback(store, lock, LIVE, clock=clock, voucher=Notary())
        with pytest.raises(Conflict, match="lost the lock"):
            await promote(store, lock, 2, BETA, voucher=Notary())
    assert await store.release_counters() == [1, 2]
    assert [head.channel for head in await store.heads()] == [LIVE]
