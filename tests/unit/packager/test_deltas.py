"""Adding delta sets to what is published: known once, resumed after any kill, named by heads."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit.clock import ManualClock
from kit.errors import Conflict, NotFound, OutOfSpace
from kit.object_storage.local import LocalStorage
from kit.object_storage.testing import FULL, FaultyStorage, MemoryStorage
from kit.storage_lock import LockSettings
from manifests import locations
from manifests.names import Channel
from packager.deltas import delta_journal_path
from packager.releases import promote, rollback
from packager.settings import DeltaSettings, SweepSettings
from packager.sweep import plan_sweep, sweep
from packager.title_store import TitleStore
from packager.writer_lock import WriterLock
from tests.delta_builds import (
    chunks_of,
    made_by,
    make,
    noise,
    publish_files,
    sprinkled,
    write_files,
)
from tests.pushes import LIVE, TITLE, FreeLock, push_folder, stored_objects
from tests.vouchers import Notary

BETA = Channel("beta")
GAME = noise(1, 600_000)
FILES = [{"game": sprinkled(GAME, seed)} for seed in range(4)]


@pytest.fixture
async def storage(tmp_path: Path) -> MemoryStorage:
    """Three releases, the last one live."""
    storage = MemoryStorage(clock=ManualClock(1_000_000))
    for number in range(3):
        await publish_files(storage, tmp_path, f"1.{number}", FILES[number])
    return storage


async def named(storage: MemoryStorage, channel: Channel = LIVE) -> list[tuple[int, int]]:
    head = await TitleStore(storage, TITLE).head(channel)
    return [(ref.base, ref.target) for ref in head.deltas]


async def test_by_default_the_newest_is_led_to_from_the_one_before(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    report = await make(storage, tmp_path)
    assert (report.base, report.target, report.was_there) == (2, 3, False)
    assert report.count > 0
    assert await named(storage) == [(2, 3)]


@pytest.mark.parametrize(("base", "target"), [(1, 3), ("1.0", "1.2"), (1, None), ("1.0", 3)])
async def test_releases_are_named_by_counter_or_version(
    storage: MemoryStorage, tmp_path: Path, base: str | int, target: str | int | None
) -> None:
    report = await make(storage, tmp_path, base, target)
    assert (report.base, report.target) == (1, 3)
    assert await named(storage) == [(1, 3)]


async def test_a_chain_is_named_by_the_head_it_leads_to(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    await make(storage, tmp_path, 1, 2)
    assert await named(storage) == []
    await make(storage, tmp_path, 2, 3)
    assert await named(storage) == [(2, 3), (1, 2)]


async def test_a_set_that_is_there_is_not_made_again(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    first = await make(storage, tmp_path)
    before = await stored_objects(storage)
    again = await make(storage, tmp_path)
    assert again.was_there
    assert (again.count, again.size, again.index_size) == (
        first.count,
        first.size,
        first.index_size,
    )
    assert again.cpu_seconds == 0
    assert await stored_objects(storage) == before


async def test_a_head_that_does_not_name_it_yet_is_mended(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    """As after a kill between the set and the head."""
    await make(storage, tmp_path)
    complete = await stored_objects(storage)
    store = TitleStore(storage, TITLE)
    head = await store.head(LIVE)
    await store.set_head(type(head)(title=TITLE, channel=LIVE, release=head.release))
    assert await named(storage) == []
    assert (await make(storage, tmp_path)).was_there
    assert await stored_objects(storage) == complete


async def test_releases_of_one_build_are_refused(storage: MemoryStorage, tmp_path: Path) -> None:
    await publish_files(storage, tmp_path, "1.3", FILES[2])
    with pytest.raises(Conflict, match="releases 3 and 4 of a-title are of one build"):
        await make(storage, tmp_path, 3, 4)


@pytest.mark.parametrize(("base", "target"), [(9, None), ("9.9", 3), (1, 7), (None, 1)])
async def test_a_release_that_is_not_there_is_named(
    storage: MemoryStorage, tmp_path: Path, base: str | int | None, target: int | None
) -> None:
    with pytest.raises(NotFound, match=r"title a-title has no"):
        await make(storage, tmp_path, base, target)


async def test_lock_lost_at_the_end_makes_nothing_known_and_nothing_is_lost(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    class Lost(FreeLock):
        async def check_held(self) -> None:
            raise Conflict("lost the lock")

    with pytest.raises(Conflict, match="lost the lock"):
        await make(storage, tmp_path, lock=Lost())
    assert await TitleStore(storage, TITLE).delta_sets() == []
    report = await make(storage, tmp_path)
    assert report.resumed_count == report.count > 0
    assert not delta_journal_path(tmp_path, TITLE).exists()


@pytest.mark.parametrize("failing_write", range(3))
async def test_full_storage_is_told_and_the_next_call_goes_on(
    storage: MemoryStorage, tmp_path: Path, failing_write: int
) -> None:
    class FillsUp(FaultyStorage):
        async def put_if_absent(self, key: str, data: bytes | bytearray | memoryview) -> bool:
            if self.calls["put_if_absent"] == failing_write:
                self.next("put_if_absent", FULL)
            return await super().put_if_absent(key, data)

    with pytest.raises(OutOfSpace):
        await make(FillsUp(storage), tmp_path)
    report = await make(storage, tmp_path)
    assert report.count > 0
    assert (report.resumed_count > 0) is (failing_write == 2)
    assert await named(storage) == [(2, 3)]


async def test_a_journal_of_another_pair_is_not_in_the_way(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    class Lost(FreeLock):
        async def check_held(self) -> None:
            raise Conflict("lost the lock")

    with pytest.raises(Conflict):
        await make(storage, tmp_path, 1, 2, lock=Lost())
    report = await make(storage, tmp_path, 2, 3)
    assert report.resumed_count == 0
    assert await named(storage) == [(2, 3)]


async def test_a_journal_of_nonsense_is_begun_anew(storage: MemoryStorage, tmp_path: Path) -> None:
    journal = delta_journal_path(tmp_path, TITLE)
    await asyncio.to_thread(journal.write_bytes, b"PHDJ\x01\0\0\0" + b"nonsense" * 9)
    assert (await make(storage, tmp_path)).count > 0


async def test_what_the_journal_promises_and_a_sweep_deleted_is_made_again(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    class Lost(FreeLock):
        async def check_held(self) -> None:
            raise Conflict("lost the lock")

    before = await stored_objects(storage)
    with pytest.raises(Conflict):
        await make(storage, tmp_path, lock=Lost())
    await storage.delete([key for key in await stored_objects(storage) if key not in before])
    await make(storage, tmp_path)
    store = TitleStore(storage, TITLE)
    (known,) = await store.delta_sets()
    have = await chunks_of(store, await store.build((await store.release(2)).root))
    assert await made_by(store, [known.index], have)


async def test_what_is_swept_between_making_and_naming_is_not_named(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    before = await stored_objects(storage)

    class Swept(FreeLock):
        async def __aenter__(self) -> object:
            await storage.delete([k for k in await stored_objects(storage) if k not in before])
            return self

    with pytest.raises(Conflict, match="swept while more were made; run it again"):
        await make(storage, tmp_path, lock=Swept())
    assert await TitleStore(storage, TITLE).delta_sets() == []
    await make(storage, tmp_path)
    assert await named(storage) == [(2, 3)]


async def test_promotion_names_what_leads_to_the_release(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    await make(storage, tmp_path)
    store = TitleStore(storage, TITLE)
    async with lock_of(store) as lock:
        await promote(store, lock, 3, BETA, voucher=Notary())
    assert await named(storage, BETA) == [(2, 3)]


async def test_rollback_names_what_leads_to_the_build_it_goes_back_to(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    await make(storage, tmp_path, 1, 2)
    await make(storage, tmp_path, 3, 2)
    store = TitleStore(storage, TITLE)
    async with lock_of(store) as lock:
        move = await rollback(store, lock, LIVE, clock=ManualClock(1_000_000), voucher=Notary())
    assert move.head.release.counter == 4
    assert await named(storage) == [(3, 4), (1, 4)]


def lock_of(store: TitleStore) -> WriterLock:
    return WriterLock(
        store.storage, TITLE, clock=ManualClock(1_000_000), settings=LockSettings(), command="test"
    )


async def test_a_push_that_waits_is_live_at_once_with_its_deltas(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    report = await push_folder(
        storage,
        write_files(tmp_path / "next", FILES[3]),
        "1.3",
        wait_deltas=DeltaSettings(),
    )
    assert report.deltas is not None
    assert (report.deltas[0].base, report.previous_counter, report.counter) == (3, 3, 4)
    assert (await named(storage))[0] == (3, 4)
    assert (await make(storage, tmp_path)).was_there


async def test_a_push_that_does_not_wait_is_live_without_them(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    await make(storage, tmp_path)
    report = await push_folder(storage, write_files(tmp_path / "next", FILES[3]), "1.3")
    assert report.deltas is None
    assert (await TitleStore(storage, TITLE).head(LIVE)).release.counter == 4
    assert await named(storage) == []
    await make(storage, tmp_path)
    assert await named(storage) == [(3, 4), (2, 3)]


async def test_a_first_push_and_one_of_the_same_build_have_nothing_to_wait_for(
    tmp_path: Path,
) -> None:
    storage = MemoryStorage()
    source = write_files(tmp_path / "build", FILES[0])
    for version in ("1", "2"):
        report = await push_folder(storage, source, version, wait_deltas=DeltaSettings())
        assert report.deltas is None
    assert await TitleStore(storage, TITLE).delta_sets() == []


async def test_a_sweep_keeps_what_heads_name_and_deletes_the_rest(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    await make(storage, tmp_path, 2, 3)
    kept = await stored_objects(storage)
    await make(storage, tmp_path, 3, 1)
    odd = (await stored_objects(storage)).keys() - kept.keys()
    assert {key.split("/")[2] for key in odd} == {"b", "s", "m", "d"}
    clock = ManualClock(2_000_000)
    later = MemoryStorage(clock=clock)
    later.__dict__.update(storage.__dict__ | {"_clock": clock})
    store = TitleStore(later, TITLE)
    lock = WriterLock(later, TITLE, clock=clock, settings=LockSettings(), command="sweep")
    async with lock:
        plan = await plan_sweep(store, lock, SweepSettings())
        await sweep(store, lock, plan)
    assert await stored_objects(later) == kept
    assert [d.key for d in plan.stages[0]] == [locations.delta_set_key(TITLE, 3, 1)]


WRITES_WHEN_UNDISTURBED = 7
"""Two bundles and their slice lists, the index, the set, the head."""


@pytest.fixture(scope="module")
def large_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases on disk whose quick deltas fill more than one bundle."""
    folder = tmp_path_factory.mktemp("large")
    old = [noise(seed, 2_000_000) for seed in range(20)]
    new = [noise(seed + 100, 1_000_000) + content[1_000_000:] for seed, content in enumerate(old)]

    async def publish() -> None:
        storage = LocalStorage(folder / "storage")
        for version, contents in (("1", old), ("2", new)):
            files = {f"{at:02}": content for at, content in enumerate(contents)}
            await publish_files(storage, folder, version, files)
        await storage.close()

    asyncio.run(publish())
    return folder / "storage"


def delta_child(
    storage: Path, cache: Path, *, killed_at: int | None = None
) -> subprocess.CompletedProcess[str]:
    told = [] if killed_at is None else [str(killed_at)]
    return subprocess.run(
        [sys.executable, "-m", "tests.delta_child", str(storage), str(cache), "0", "2", *told],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("killed_at", range(WRITES_WHEN_UNDISTURBED))
async def test_killed_at_any_write_the_next_goes_on_to_what_an_undisturbed_one_stores(
    large_pair: Path, tmp_path: Path, killed_at: int
) -> None:
    for name in ("killed", "undisturbed"):
        shutil.copytree(large_pair, tmp_path / name)
    killed = delta_child(tmp_path / "killed", tmp_path / "cache", killed_at=killed_at)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    whole = [
        delta_child(tmp_path / "killed", tmp_path / "cache"),
        delta_child(tmp_path / "undisturbed", tmp_path / "other cache"),
    ]
    assert [child.returncode for child in whole] == [0, 0], [child.stderr for child in whole]
    counts = [tuple(map(int, child.stdout.split()[:2])) for child in whole]
    if killed_at <= 5:
        assert counts[0][0] == counts[1][0]
        assert (counts[0][1] > 0) is (killed_at >= 2), "what was stored and noted is not made again"
        assert (counts[0][1] == counts[0][0]) is (killed_at >= 4)
    storages = [LocalStorage(tmp_path / name) for name in ("killed", "undisturbed")]
    one, other = [await stored_objects(storage) for storage in storages]
    for storage in storages:
        await storage.close()
    assert one == other
    assert killed_at == 6 or not (tmp_path / "cache" / f"{TITLE}.deltas").exists()
