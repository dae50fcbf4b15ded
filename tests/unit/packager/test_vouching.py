"""No channel plays what is not vouched for, and what is not finished is vouched for again."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.clock import ManualClock
from kit.errors import Denied, NotFound, Unavailable
from kit.object_storage.testing import SLOW_DOWN, FaultyStorage, MemoryStorage
from kit.storage_lock import LockSettings
from manifests.documents import Release
from manifests.names import Channel
from packager.findings import Rule
from packager.releases import promote, rollback
from packager.title_store import TitleStore
from packager.verify import verify
from packager.writer_lock import WriterLock
from tests.publishing import BETA, LIVE, TITLE, publish
from tests.pushes import push_folder
from tests.vouchers import Notary

CLOCK = ManualClock(1_777_888_000)


class Refuses:
    """Vouches for nothing."""

    async def vouch(self, release: Release, channel: Channel) -> None:
        raise Denied(f"title {release.title} is another publisher's")


class Looks:
    """Vouches, and notes what the channel played just then."""

    def __init__(self, store: TitleStore) -> None:
        self.store = store
        self.seen: list[tuple[int, int | None]] = []

    async def vouch(self, release: Release, channel: Channel) -> None:
        assert await self.store.release(release.counter) == release
        try:
            playing = (await self.store.head(channel)).release.counter
        except NotFound:
            playing = None
        self.seen.append((release.counter, playing))


@pytest.fixture
def store() -> TitleStore:
    return TitleStore(FaultyStorage(MemoryStorage(clock=CLOCK)), TITLE)


def lock_of(store: TitleStore) -> WriterLock:
    return WriterLock(store.storage, TITLE, clock=CLOCK, settings=LockSettings(), command="a test")


def build(folder: Path, content: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text(content)
    return folder


@pytest.mark.may_block
async def test_push_has_the_stored_release_vouched_for_before_the_head_moves(
    store: TitleStore, tmp_path: Path
) -> None:
    looks = Looks(store)
    for content, version in (("one", "1"), ("two", "2"), ("two", "2")):
        await push_folder(store.storage, build(tmp_path / "b", content), version, voucher=looks)
    assert looks.seen == [(1, None), (2, 1), (2, 2)]


@pytest.mark.may_block
async def test_push_that_is_not_vouched_for_leaves_the_channel(
    store: TitleStore, tmp_path: Path
) -> None:
    await push_folder(store.storage, build(tmp_path / "b", "one"), "1")
    with pytest.raises(Denied):
        await push_folder(store.storage, build(tmp_path / "b", "two"), "2", voucher=Refuses())
    assert (await store.head(LIVE)).release.counter == 1
    report = await push_folder(store.storage, build(tmp_path / "b", "two"), "2")
    assert (report.outcome, report.counter) == ("pointed", 2)


@pytest.mark.may_block
async def test_push_cut_off_between_vouching_and_the_head_goes_on(
    store: TitleStore, tmp_path: Path
) -> None:
    assert isinstance(store.storage, FaultyStorage)
    notary = Notary()
    store.storage.next("put", SLOW_DOWN)
    with pytest.raises(Unavailable):
        await push_folder(store.storage, build(tmp_path / "b", "one"), "1", voucher=notary)
    await push_folder(store.storage, build(tmp_path / "b", "one"), "1", voucher=notary)
    assert [release.counter for release, _ in notary.vouched] == [1, 1]
    assert (await store.head(LIVE)).release.counter == 1


async def test_promotion_and_rollback_are_vouched_for_before_the_head_moves(
    store: TitleStore,
) -> None:
    await publish(store, {"a": b"one"}, "1", clock=CLOCK)
    await publish(store, {"a": b"two"}, "2", clock=CLOCK)
    looks = Looks(store)
    async with lock_of(store) as lock:
        await promote(store, lock, 1, BETA, voucher=looks)
        await promote(store, lock, 1, BETA, voucher=looks)
        await rollback(store, lock, LIVE, clock=CLOCK, voucher=looks)
    assert looks.seen == [(1, None), (1, 1), (3, 2)]


async def test_refused_promotion_and_rollback_leave_the_channel(store: TitleStore) -> None:
    await publish(store, {"a": b"one"}, "1", clock=CLOCK)
    await publish(store, {"a": b"two"}, "2", clock=CLOCK)
    async with lock_of(store) as lock:
        with pytest.raises(Denied):
            await promote(store, lock, 1, BETA, voucher=Refuses())
        with pytest.raises(Denied):
            await rollback(store, lock, LIVE, clock=CLOCK, voucher=Refuses())
    assert (await store.head(LIVE)).release.counter == 2
    assert [head.channel for head in await store.heads()] == [LIVE]


class Doubts:
    """Believes nothing of the beta channel."""

    async def doubt(self, release: Release, channel: Channel) -> str | None:
        return f"no word on release {release.counter}" if channel == BETA else None


async def test_head_that_consoles_would_refuse_is_found(store: TitleStore) -> None:
    await publish(store, {"a": b"one"}, "1", clock=CLOCK)
    await publish(store, {"a": b"two"}, "2", BETA, clock=CLOCK)
    [problem] = (await verify(store, witness=Doubts())).problems
    assert (problem.rule, problem.releases) == (Rule.TRUST, (2,))
    assert (problem.key, problem.detail) == ("t/a-title/h/beta", "no word on release 2")
