"""A sweep deletes what nothing needs, never what something does, and stops where it cannot tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from kit.clock import ManualClock
from kit.errors import Conflict, Unavailable
from kit.object_storage.testing import SLOW_DOWN, FaultyStorage, MemoryStorage
from kit.storage_lock import LockSettings
from kit.units import Seconds
from manifests import locations
from manifests.documents import Head, Release
from packager.releases import rollback
from packager.settings import SweepSettings
from packager.sweep import SweepPlan, plan_sweep, sweep
from packager.title_store import TitleStore
from packager.verify import verify
from packager.writer_lock import WriterLock
from tests.publishing import BETA, LIVE, TITLE, page_refs, places_of, publish, store_build
from tests.vouchers import Notary

GRACE_S = 1000.0
ONLY_NEWEST = SweepSettings(keep=1, grace=Seconds(GRACE_S))
LOCK = LockSettings(wait=Seconds(0))


class MortalStorage(MemoryStorage):
    """Dies amid a deletion once ``deletes_left`` objects are gone."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.deletes_left: int | None = None
        self.deleted: list[str] = []

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            if "/w/" not in key:
                if self.deletes_left == 0:
                    raise Unavailable("the process was killed")
                if self.deletes_left is not None:
                    self.deletes_left -= 1
                self.deleted.append(key)
            await super().delete([key])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_777_888_000)


@pytest.fixture
def storage(clock: ManualClock) -> MortalStorage:
    return MortalStorage(clock)


@pytest.fixture
def store(storage: MortalStorage) -> TitleStore:
    return TitleStore(storage, TITLE)


@pytest.fixture
async def fresh(store: TitleStore, clock: ManualClock) -> list[Release]:
    """Three releases, just made, of which the last two share a chunk."""
    return [
        await publish(store, {"a": b"a" * 900}, "1.0", clock=clock),
        await publish(store, {"b": b"b" * 900, "c": b"c" * 900}, "1.1", clock=clock),
        await publish(store, {"c": b"c" * 900, "d": b"d" * 900}, "1.2", clock=clock),
    ]


@pytest.fixture
def aged(fresh: list[Release], clock: ManualClock) -> list[Release]:
    """The same three, older than the grace time."""
    clock.advance(GRACE_S + 1)
    return fresh


async def planned(
    store: TitleStore, clock: ManualClock, settings: SweepSettings = ONLY_NEWEST
) -> SweepPlan:
    async with WriterLock(store.storage, TITLE, clock=clock, settings=LOCK, command="t") as lock:
        return await plan_sweep(store, lock, settings)


async def swept(
    store: TitleStore, clock: ManualClock, settings: SweepSettings = ONLY_NEWEST
) -> SweepPlan:
    async with WriterLock(store.storage, TITLE, clock=clock, settings=LOCK, command="t") as lock:
        plan = await plan_sweep(store, lock, settings)
        await sweep(store, lock, plan)
        return plan


async def keys_in(store: TitleStore) -> set[str]:
    return {stat.key async for stat in store.storage.list("t/")}


async def keys_of(store: TitleStore, release: Release) -> set[str]:
    """Everything a release needs, found as a console finds it."""
    pages = await page_refs(store, release.root)
    bundles = {place.bundle.bundle_id for place in (await places_of(store, release.root)).values()}
    return {
        locations.release_key(TITLE, release.counter),
        *(locations.manifest_key(TITLE, ref.raw_digest) for ref in (release.root, *pages)),
        *(locations.bundle_key(TITLE, bundle_id) for bundle_id in bundles),
        *(locations.slice_list_key(TITLE, bundle_id) for bundle_id in bundles),
    }


def deleted_by(plan: SweepPlan) -> set[str]:
    return {deletion.key for stage in plan.stages for deletion in stage}


async def test_what_only_old_releases_need_goes_and_the_rest_stays(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    needed = await keys_of(store, aged[2]) | {locations.head_key(TITLE, LIVE)}
    plan = await swept(store, clock)
    assert await keys_in(store) == needed
    assert [live.release for live in plan.live] == [aged[2]]
    assert (await verify(store, witness=Notary())).is_sound


async def test_a_plan_says_what_how_much_and_why_and_deletes_nothing(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    before = await keys_in(store)
    plan = await planned(store, clock)
    assert await keys_in(store) == before
    sizes = {s.key: s.size async for s in store.storage.list("t/")}
    assert deleted_by(plan) == before - await keys_of(store, aged[2]) - {
        locations.head_key(TITLE, LIVE)
    }
    assert (plan.count, plan.size) == (len(deleted_by(plan)), sum(map(sizes.get, deleted_by(plan))))  # type: ignore[arg-type]
    assert plan.live[0].reasons == ("channel live points to it", "one of the newest 1")
    assert {deletion.why for stage in plan.stages for deletion in stage} == {
        "release superseded and older than what is kept",
        "root, page or delta index of no live release",
        "slice list of a bundle that no live release needs",
        "bundle that no live release needs",
    }


async def test_the_newest_releases_are_kept(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    await swept(store, clock, SweepSettings(keep=2, grace=Seconds(GRACE_S)))
    assert await store.release_counters() == [2, 3]
    assert (await verify(store, witness=Notary())).is_sound


async def test_what_a_channel_points_to_is_kept_however_old(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    await store.set_head(Head(title=TITLE, channel=BETA, release=aged[0]))
    await swept(store, clock)
    assert await store.release_counters() == [1, 3]
    assert (await verify(store, witness=Notary())).is_sound


async def test_a_rolled_back_build_is_kept_by_its_new_release(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    async with WriterLock(store.storage, TITLE, clock=clock, settings=LOCK, command="t") as lock:
        await rollback(store, lock, LIVE, 1, clock=clock, voucher=Notary())
    clock.advance(GRACE_S + 1)
    await swept(store, clock)
    assert await store.release_counters() == [4]
    assert (await verify(store, witness=Notary())).is_sound


async def test_nothing_younger_than_the_grace_time_is_deleted(
    store: TitleStore, clock: ManualClock, fresh: list[Release]
) -> None:
    clock.advance(GRACE_S)
    plan = await swept(store, clock)
    assert plan.count == 0
    assert await store.release_counters() == [1, 2, 3]
    assert [live.reasons[-1] for live in plan.live] == [
        "new, or left by a channel, within the grace time"
    ] * 3


async def test_a_release_is_kept_for_the_grace_time_after_its_channel_left_it(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    await publish(store, {"e": b"e" * 900}, "1.3", clock=clock)
    clock.advance(GRACE_S)
    await swept(store, clock)
    assert await store.release_counters() == [3, 4]
    assert (await verify(store, witness=Notary())).is_sound
    clock.advance(1)
    await swept(store, clock)
    assert await store.release_counters() == [4]


async def test_what_a_dead_push_left_is_kept_for_the_grace_time(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    await swept(store, clock)
    before = await keys_in(store)
    await store_build(store, {"e": b"e" * 900})
    left = await keys_in(store) - before
    clock.advance(GRACE_S)
    plan = await swept(store, clock)
    assert await keys_in(store) == before | left
    assert (plan.spared_count, plan.spared_size > 0) == (len(left), True)
    clock.advance(1)
    await swept(store, clock)
    assert await keys_in(store) == before


async def test_a_bundle_is_kept_as_long_as_its_slice_list(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    doomed = [d.key for d in (await planned(store, clock)).stages[2]]
    for key in doomed:
        await store.storage.put(key, await store.storage.get(key, size_max=9999))
    await swept(store, clock)
    left = await keys_in(store)
    assert {key.replace("/s/", "/b/") for key in doomed} | set(doomed) <= left


async def test_ages_are_told_by_the_storages_clock(store: TitleStore, fresh: list[Release]) -> None:
    fast = ManualClock(2_777_888_000)
    assert (await swept(store, fast)).count == 0


async def test_objects_of_strange_names_are_left_alone(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    strange = {f"t/{TITLE}/{part}/README.txt" for part in "mbs"}
    strange |= {f"t/{TITLE}/r/1", "t/another-title/b/" + "0" * 64}
    for key in strange:
        await store.storage.put(key, b"mine")
    clock.advance(GRACE_S + 1)
    await swept(store, clock)
    assert strange <= await keys_in(store)


async def test_a_title_without_anything_has_nothing_to_sweep(
    store: TitleStore, clock: ManualClock
) -> None:
    assert (await swept(store, clock)).count == 0


Damage = Callable[[TitleStore, Release], Awaitable[None]]


async def cut_head(store: TitleStore, _: Release) -> None:
    await store.storage.put(locations.head_key(TITLE, LIVE), b'{"format":1')


async def strange_head(store: TitleStore, _: Release) -> None:
    await store.storage.put(f"{locations.heads_prefix(TITLE)}Live", b"")


async def new_format(store: TitleStore, release: Release) -> None:
    await store.storage.put(locations.release_key(TITLE, release.counter), b'{"format":2}')


async def other_release(store: TitleStore, release: Release) -> None:
    key = locations.release_key(TITLE, release.counter)
    content = await store.storage.get(key, size_max=9999)
    await store.storage.put(key, content.replace(b'"1.2"', b'"1.3"'))


async def cut_root(store: TitleStore, release: Release) -> None:
    await store.storage.put(locations.manifest_key(TITLE, release.root.raw_digest), b"{")


async def no_root(store: TitleStore, release: Release) -> None:
    await store.storage.delete([locations.manifest_key(TITLE, release.root.raw_digest)])


async def damaged_page(store: TitleStore, release: Release) -> None:
    (page,) = await page_refs(store, release.root)
    await store.storage.put(locations.manifest_key(TITLE, page.raw_digest), bytes(page.size))


async def no_page(store: TitleStore, release: Release) -> None:
    (page,) = await page_refs(store, release.root)
    await store.storage.delete([locations.manifest_key(TITLE, page.raw_digest)])


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (cut_head, "head of a-title/live is damaged"),
        (strange_head, "'Live'"),
        (new_format, "release 3 of a-title has format 2"),
        (other_release, "what release 3 of a-title is"),
        (cut_root, r"what release 3 \(1.2\) of a-title needs: root .* digest"),
        (no_root, r"what release 3 \(1.2\) of a-title needs: t/a-title/m/.* no such object"),
        (damaged_page, r"what release 3 \(1.2\) of a-title needs: page .* digest"),
        (no_page, r"what release 3 \(1.2\) of a-title needs: t/a-title/m/.* no such object"),
    ],
)
async def test_nothing_is_deleted_if_it_cannot_be_told_what_is_needed(
    store: TitleStore, clock: ManualClock, aged: list[Release], damage: Damage, named: str
) -> None:
    await damage(store, aged[2])
    before = await keys_in(store)
    with pytest.raises(Conflict, match=f"nothing was deleted, as it cannot be told .*{named}"):
        await swept(store, clock)
    assert await keys_in(store) == before


async def test_a_damaged_release_that_is_not_live_hinders_nobody(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    await cut_root(store, aged[0])
    clock.advance(GRACE_S + 1)
    await swept(store, clock)
    assert await store.release_counters() == [3]


async def test_storage_that_does_not_answer_is_no_reason_to_delete(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    before = await keys_in(store)
    faulty = FaultyStorage(store.storage)
    async with WriterLock(faulty, TITLE, clock=clock, settings=LOCK, command="t") as lock:
        faulty.next("get", SLOW_DOWN)
        with pytest.raises(Unavailable):
            await plan_sweep(TitleStore(faulty, TITLE), lock, ONLY_NEWEST)
    assert await keys_in(store) == before


async def test_deleting_goes_against_the_order_of_publishing(
    store: TitleStore, storage: MortalStorage, clock: ManualClock, aged: list[Release]
) -> None:
    await swept(store, clock)
    kinds = [key.split("/")[2] for key in storage.deleted]
    assert list(dict.fromkeys(kinds)) == ["r", "m", "s", "b"]
    assert kinds == sorted(kinds, key="rmsb".index)


async def test_a_sweep_killed_anywhere_leaves_whole_releases_and_the_next_one_finishes(
    store: TitleStore, storage: MortalStorage, clock: ManualClock, aged: list[Release]
) -> None:
    kept = await keys_of(store, aged[2]) | {locations.head_key(TITLE, LIVE)}
    kills = 0
    while True:
        storage.deletes_left = 1
        try:
            await swept(store, clock)
            break
        except Unavailable:
            kills += 1
            assert (await verify(store, witness=Notary())).is_sound
    assert kills > 5
    assert await keys_in(store) == kept


async def test_a_sweep_that_lost_the_lock_stops(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    mine = ManualClock()
    async with WriterLock(store.storage, TITLE, clock=mine, settings=LOCK, command="t") as lock:
        plan = await plan_sweep(store, lock, ONLY_NEWEST)
        before = await keys_in(store)
        mine.advance(61)
        with pytest.raises(Conflict, match="lost the lock"):
            await sweep(store, lock, plan)
        assert await keys_in(store) == before
    assert deleted_by(plan)


async def test_progress_counts_up_to_all(
    store: TitleStore, clock: ManualClock, aged: list[Release]
) -> None:
    heard: list[int] = []
    async with WriterLock(store.storage, TITLE, clock=clock, settings=LOCK, command="t") as lock:
        plan = await plan_sweep(store, lock, ONLY_NEWEST)
        await sweep(store, lock, plan, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == plan.count
