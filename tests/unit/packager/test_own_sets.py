"""Builds farther back: which get a delta set of their own, and what of it is made anew."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit.clock import ManualClock
from kit.errors import Conflict
from kit.object_storage.local import LocalStorage
from kit.object_storage.testing import MemoryStorage
from kit.storage_lock import LockSettings
from manifests import locations
from manifests.delta_index import StoredDelta
from manifests.documents import Release
from packager.chains import cost_of
from packager.delta_report import ways_to
from packager.deltas import delta_journal_path
from packager.own_sets import is_worth
from packager.patches import DeltaTally
from packager.settings import DeltaSettings, SweepSettings
from packager.sweep import plan_sweep, sweep
from packager.title_store import TitleStore
from packager.verify import verify
from packager.writer_lock import WriterLock
from tests.delta_builds import (
    Files,
    chunks_of,
    made_by,
    make,
    make_all,
    noise,
    publish_files,
    recompiled,
    write_files,
)
from tests.pushes import LIVE, TITLE, FreeLock, push_folder, stored_objects
from tests.vouchers import Notary

PROGRAM = bytes(byte & 0x3F for byte in noise(1, 700_000))
"""Less than noise, as programs are: it makes runs of its own."""
ASSETS = [noise(10 + number, 400_000) for number in range(4)]


def all_again(version: int) -> Files:
    """A program, recompiled for each version: the same addresses change every time."""
    return {"game": recompiled(PROGRAM, version)}


def one_asset_each(version: int) -> Files:
    """Assets, of which each version changes another."""
    return {
        f"asset{number}": recompiled(asset, 1) if number < version else asset
        for number, asset in enumerate(ASSETS)
    }


def some_again(version: int) -> Files:
    """Both: of all that changes, a part changes every time."""
    return {**all_again(version), **one_asset_each(version)}


async def publish(folder: Path, kind: object, count: int) -> MemoryStorage:
    storage = MemoryStorage(clock=ManualClock(1_000_000))
    for version in range(count):
        await publish_files(storage, folder, f"1.{version}", kind(version))  # type: ignore[operator]
    return storage


async def deltas_of(store: TitleStore, base: int, target: int) -> list[StoredDelta]:
    (found,) = [d for d in await store.delta_sets() if (d.base, d.target) == (base, target)]
    index = await store.delta_index(found.index)
    return [index.delta(number) for number in range(len(index))]


async def known(storage: MemoryStorage) -> list[tuple[int, int]]:
    return [(each.base, each.target) for each in await TitleStore(storage, TITLE).delta_sets()]


async def test_a_program_that_is_recompiled_each_time_gets_a_set_from_each_build(
    tmp_path: Path,
) -> None:
    storage = await publish(tmp_path, all_again, 4)
    for target in (2, 3, 4):
        reports = await make_all(storage, tmp_path, target=target)
        assert [each.base for each in reports] == list(range(target - 1, 0, -1))
        assert all(each.count > 0 and each.omitted is None for each in reports)
    head = await TitleStore(storage, TITLE).head(LIVE)
    assert [(ref.base, ref.target) for ref in head.deltas][:3] == [(3, 4), (2, 4), (1, 4)]


@pytest.mark.parametrize("kind", [all_again, some_again, one_asset_each])
async def test_three_releases_behind_costs_three_percent_more_than_a_dedicated_set_at_most(
    tmp_path: Path, kind: object
) -> None:
    storage = await publish(tmp_path, kind, 4)
    for target in (2, 3, 4):
        await make_all(storage, tmp_path, target=target)
    store = TitleStore(storage, TITLE)
    releases = await store.releases()
    for way in await ways_to(store, releases[-1], releases):
        alone = await publish(tmp_path / f"from {way.base}", kind, 4)
        (dedicated,) = [await make(alone, tmp_path / f"cache {way.base}", way.base, 4)]
        (found,) = await TitleStore(alone, TITLE).delta_sets()
        old, new = [await store.build(releases[each - 1].root) for each in (way.base, 4)]
        index = await TitleStore(alone, TITLE).delta_index(found.index)
        assert dedicated.count > 0
        assert way.size <= cost_of(old, new, [index]).size * 1.03 + 4096


async def test_where_each_release_changed_something_else_no_set_is_made_and_it_says_why(
    tmp_path: Path,
) -> None:
    storage = await publish(tmp_path, one_asset_each, 4)
    for target in (2, 3, 4):
        nearest, *others = await make_all(storage, tmp_path, target=target)
        assert nearest.count > 0
        for each in others:
            assert each.omitted is not None
            assert each.omitted.reason == "few-stones"
            assert each.omitted.spared_size < 4096
            assert each.count == each.cpu_seconds == 0
    assert await known(storage) == [(1, 2), (2, 3), (3, 4)]


async def test_what_other_sets_have_is_borrowed_and_only_the_rest_is_made(tmp_path: Path) -> None:
    storage = await publish(tmp_path, some_again, 3)
    await make_all(storage, tmp_path, target=2)
    nearest, own = await make_all(storage, tmp_path, target=3)
    assert 0 < own.borrowed_count < own.count
    assert own.missing_size > nearest.missing_size
    store = TitleStore(storage, TITLE)
    steps = {*await deltas_of(store, 1, 2), *await deltas_of(store, 2, 3)}
    shared = steps & {*await deltas_of(store, 1, 3)}
    assert (len(shared), sum(each.size for each in shared)) == (
        own.borrowed_count,
        own.borrowed_size,
    )
    verdict = await verify(store, witness=Notary())
    assert verdict.is_sound, verdict.problems
    assert verdict.applied_delta_count == verdict.delta_count


async def test_an_own_set_makes_all_that_is_new_of_the_older_build_alone(tmp_path: Path) -> None:
    storage = await publish(tmp_path, some_again, 3)
    await make_all(storage, tmp_path, target=2)
    await make_all(storage, tmp_path, target=3)
    store = TitleStore(storage, TITLE)
    releases = await store.releases()
    have, want = [await chunks_of(store, await store.build(releases[at].root)) for at in (0, 2)]
    (found,) = [d for d in await store.delta_sets() if (d.base, d.target) == (1, 3)]
    made = await made_by(store, [found.index], have)
    assert made == {chunk_id: want[chunk_id] for chunk_id in want.keys() - have.keys()}


async def test_once_the_time_is_used_up_no_more_sets_are_made(tmp_path: Path) -> None:
    storage = await publish(tmp_path, all_again, 3)
    await make_all(storage, tmp_path, target=2, cpu_seconds_max=0)
    _, own = await make_all(storage, tmp_path, target=3, cpu_seconds_max=0)
    assert own.omitted is not None
    assert own.omitted.reason == "no-time"
    assert await known(storage) == [(1, 2), (2, 3)]


async def test_a_reach_of_one_is_the_release_before_alone(tmp_path: Path) -> None:
    storage = await publish(tmp_path, all_again, 3)
    await make_all(storage, tmp_path, target=2)
    assert len(await make_all(storage, tmp_path, target=3, reach=1)) == 1


async def test_releases_of_one_build_and_builds_that_come_again_are_looked_at_once(
    tmp_path: Path,
) -> None:
    storage = MemoryStorage(clock=ManualClock(1_000_000))
    for version, build in enumerate((0, 1, 1, 0, 2)):
        await publish_files(storage, tmp_path, f"1.{version}", all_again(build))
    reports = await make_all(storage, tmp_path)
    assert [each.base for each in reports] == [4, 3]


class LostOnce(FreeLock):
    """Cannot be held when it is asked for the n-th time."""

    def __init__(self, number: int) -> None:
        self.left = number

    async def check_held(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise Conflict("lost the lock")


async def test_ended_between_sets_the_nearest_is_known_and_the_next_call_goes_on(
    tmp_path: Path,
) -> None:
    storage = await publish(tmp_path, all_again, 3)
    await make_all(storage, tmp_path, target=2)
    with pytest.raises(Conflict, match="lost the lock"):
        await make_all(storage, tmp_path, target=3, lock=LostOnce(2))
    assert await known(storage) == [(1, 2), (2, 3)]
    head = await TitleStore(storage, TITLE).head(LIVE)
    assert [(ref.base, ref.target) for ref in head.deltas] == [(2, 3), (1, 2)]
    assert delta_journal_path(tmp_path, TITLE).exists()
    nearest, own = await make_all(storage, tmp_path, target=3)
    assert nearest.was_there
    assert own.resumed_count == own.count > 0
    assert not delta_journal_path(tmp_path, TITLE).exists()
    assert await known(storage) == [(1, 2), (1, 3), (2, 3)]


async def test_made_again_all_of_it_was_there(tmp_path: Path) -> None:
    storage = await publish(tmp_path, all_again, 3)
    await make_all(storage, tmp_path, target=2)
    await make_all(storage, tmp_path, target=3)
    assert [each.was_there for each in await make_all(storage, tmp_path, target=3)] == [True, True]


async def test_progress_says_which_set_is_being_made(tmp_path: Path) -> None:
    storage = await publish(tmp_path, all_again, 3)
    await make_all(storage, tmp_path, target=2)
    heard: dict[int, tuple[int, int]] = {}

    def hear(base: Release, tally: DeltaTally) -> None:
        heard[base.counter] = tally.done_size, tally.missing_size

    await make_all(storage, tmp_path, target=3, on_progress=hear)
    assert list(heard) == [2, 1]
    assert all(done == missing for done, missing in heard.values())


async def test_a_push_that_waits_makes_them_all_before_it_is_live(tmp_path: Path) -> None:
    storage = await publish(tmp_path, all_again, 2)
    await make_all(storage, tmp_path)
    source = write_files(tmp_path / "next", all_again(2))
    report = await push_folder(storage, source, "1.2", wait_deltas=DeltaSettings())
    assert report.deltas is not None
    assert [(each.base, each.omitted) for each in report.deltas] == [(2, None), (1, None)]
    head = await TitleStore(storage, TITLE).head(LIVE)
    assert [(ref.base, ref.target) for ref in head.deltas] == [(2, 3), (1, 3), (1, 2)]


async def test_a_sweep_keeps_bundles_that_an_own_set_borrows_from(tmp_path: Path) -> None:
    """Though the set that they were made for is named no more."""
    storage = await publish(tmp_path, some_again, 3)
    await make_all(storage, tmp_path, target=2)
    await make_all(storage, tmp_path, target=3)
    store = TitleStore(storage, TITLE)
    head = await store.head(LIVE)
    own = tuple(ref for ref in head.deltas if (ref.base, ref.target) == (1, 3))
    await store.set_head(type(head)(title=TITLE, channel=LIVE, release=head.release, deltas=own))
    clock = ManualClock(2_000_000)
    later = MemoryStorage(clock=clock)
    later.__dict__.update(storage.__dict__ | {"_clock": clock})
    swept = TitleStore(later, TITLE)
    lock = WriterLock(later, TITLE, clock=clock, settings=LockSettings(), command="sweep")
    async with lock:
        plan = await plan_sweep(swept, lock, SweepSettings())
        await sweep(swept, lock, plan)
    gone = {deletion.key for stage in plan.stages for deletion in stage}
    assert locations.delta_set_key(TITLE, 2, 3) in gone
    verdict = await verify(swept, witness=Notary())
    assert verdict.is_sound, verdict.problems
    assert verdict.applied_delta_count == verdict.delta_count > 0


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("killed_at", range(10))
async def test_killed_at_any_write_of_two_sets_the_next_goes_on_to_what_an_undisturbed_one_stores(
    tmp_path: Path, killed_at: int
) -> None:
    """Each set is a bundle, its slice list, an index, the set and the head."""
    storage = LocalStorage(tmp_path / "killed")
    for version in range(3):
        await publish_files(storage, tmp_path, f"1.{version}", all_again(version))
    await make_all(storage, tmp_path / "other cache", target=2)
    await storage.close()
    shutil.copytree(tmp_path / "killed", tmp_path / "undisturbed")
    killed = delta_child(tmp_path / "killed", tmp_path / "cache", str(killed_at))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for name, cache in (("killed", "cache"), ("undisturbed", "other cache")):
        whole = delta_child(tmp_path / name, tmp_path / cache)
        assert whole.returncode == 0, whole.stderr
    storages = [LocalStorage(tmp_path / name) for name in ("killed", "undisturbed")]
    one, other = [await stored_objects(storage) for storage in storages]
    for storage in storages:
        await storage.close()
    assert one == other


def delta_child(storage: Path, cache: Path, *killed_at: str) -> subprocess.CompletedProcess[str]:
    """Make the deltas of the newest release in a process of its own."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.delta_child",
            str(storage),
            str(cache),
            "60",
            "1",
            *killed_at,
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("way_size", "spared_size", "expected"),
    [
        (1_030_000, 30_000, False),
        (1_030_000, 30_001, True),
        (5_000, 4_095, False),
        (5_000, 4_096, True),
        (0, 0, False),
        (9, -9, False),
    ],
)
def test_a_set_is_worth_it_if_the_way_in_steps_costs_three_percent_more(
    way_size: int, spared_size: int, expected: bool
) -> None:
    assert is_worth(way_size, spared_size) is expected
