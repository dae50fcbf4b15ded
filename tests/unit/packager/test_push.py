"""Pushing a folder: what is published, what is stored again, and what is refused."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit.clock import ManualClock, SystemClock
from kit.errors import Conflict, InvalidInput, OutOfSpace, Unavailable
from kit.object_storage.local import LocalStorage
from kit.object_storage.testing import FULL, RESET, FaultyStorage, MemoryStorage
from kit.storage_lock import LockSettings
from manifests import locations
from manifests.documents import ObjectRef, Release
from manifests.names import Channel, Version
from packager.layout import Layout, LayoutGroup
from packager.progress import PushProgress
from packager.push import PushRequest, push
from packager.title_store import TitleStore
from packager.writer_lock import WriterLock
from tests.pushes import (
    LIVE,
    TITLE,
    FreeLock,
    published_tree,
    push_folder,
    stored_objects,
    tree_on_disk,
)
from tests.trees import write_tree
from tests.vouchers import Notary

BETA = Channel("beta")


@pytest.fixture
def build(tmp_path: Path) -> Path:
    write_tree(tmp_path / "build", seed=1)
    return tmp_path / "build"


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage(clock=ManualClock())


def big_file(path: Path, size: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))


async def test_what_is_pushed_is_what_was_in_the_folder(
    build: Path, storage: MemoryStorage
) -> None:
    report = await push_folder(storage, build)
    assert await published_tree(storage) == tree_on_disk(build)
    assert (report.outcome, report.counter) == ("published", 1)
    assert (
        report.build_size
        == sum(p.stat().st_size for p in build.rglob("*") if p.is_file())
        - (build / "latest.txt").stat().st_size
    )
    assert report.read_size == report.build_size
    assert report.changes.added == report.entry_count == len(tree_on_disk(build))


async def test_real_lock_is_held_and_given_back(build: Path, storage: MemoryStorage) -> None:
    clock = SystemClock()
    lock = WriterLock(storage, TITLE, clock=clock, settings=LockSettings(), command="push")
    await push_folder(storage, build, lock=lock, clock=clock)
    assert [found async for found in storage.list(locations.lock_prefix(TITLE))] == []


async def test_storage_is_the_same_for_any_number_of_threads(build: Path) -> None:
    big_file(build / "more.pak", 20_000_000)
    storages = [MemoryStorage(clock=ManualClock()) for _ in range(3)]
    for storage, workers in zip(storages, (1, 2, 7), strict=True):
        await push_folder(storage, build, workers=workers)
    first, *others = [await stored_objects(storage) for storage in storages]
    assert all(other == first for other in others)


async def test_golden_build_id(tmp_path: Path, storage: MemoryStorage) -> None:
    """Changes with the format, the cutter, and the version of zstd: see ``docs/format``."""
    write_tree(tmp_path / "build", seed=42)
    report = await push_folder(storage, tmp_path / "build")
    assert report.build_id == GOLDEN


GOLDEN = "8b68156e1d0852fa3ca673545b58bee08c82dd58541cdde96523b512c991d160"


async def test_pushing_again_reads_no_file_and_stores_nothing(
    build: Path, storage: MemoryStorage
) -> None:
    first = await push_folder(storage, build)
    before = await stored_objects(storage)
    again = await push_folder(storage, build)
    assert (again.outcome, again.counter, again.build_id) == ("unchanged", 1, first.build_id)
    assert (again.read_size, again.uploaded_size, again.new_chunk_count) == (0, 0, 0)
    assert again.changes.unchanged == again.entry_count
    assert await stored_objects(storage) == before


async def test_only_segments_that_changed_are_read(build: Path, storage: MemoryStorage) -> None:
    await push_folder(storage, build)
    (build / "world.pak").write_bytes(b"n" * 400_000)
    report = await push_folder(storage, build, "1.1")
    assert report.read_size == 400_000
    assert await published_tree(storage) == tree_on_disk(build)


async def test_file_touched_just_before_the_scan_is_read_again(
    build: Path, storage: MemoryStorage
) -> None:
    now = ManualClock(max(path.lstat().st_ctime for path in build.rglob("*")) + 1.0)
    await push_folder(storage, build, clock=now)
    again = await push_folder(storage, build)
    assert again.read_size == again.build_size
    assert (await push_folder(storage, build)).read_size == 0


async def test_cache_is_of_no_use_where_chunks_are_not_stored(build: Path) -> None:
    await push_folder(MemoryStorage(), build)
    elsewhere = MemoryStorage()
    report = await push_folder(elsewhere, build)
    assert report.read_size == report.build_size
    assert await published_tree(elsewhere) == tree_on_disk(build)


async def test_unchanged_chunks_are_not_stored_again(
    tmp_path: Path, build: Path, storage: MemoryStorage
) -> None:
    first = await push_folder(storage, build)
    write_tree(tmp_path / "next", seed=1, changes=1)
    report = await push_folder(storage, tmp_path / "next", "1.1")
    assert 0 < report.new_chunk_count < first.chunk_count / 2
    assert report.uploaded_size < first.uploaded_size / 2
    assert (report.changes.changed, report.changes.removed, report.changes.added) >= (1, 1, 1)
    assert await published_tree(storage) == tree_on_disk(tmp_path / "next")


async def test_lost_bundles_are_stored_again(build: Path, storage: MemoryStorage) -> None:
    await push_folder(storage, build)
    bundles = [found.key async for found in storage.list(locations.bundles_prefix(TITLE))]
    await storage.delete(bundles)
    report = await push_folder(storage, build)
    assert report.new_chunk_count == report.chunk_count
    assert await published_tree(storage) == tree_on_disk(build)


async def test_version_with_other_content_is_refused_before_anything_is_stored(
    build: Path, storage: MemoryStorage
) -> None:
    await push_folder(storage, build)
    before = await stored_objects(storage)
    big_file(build / "new.pak", 30_000_000)
    with pytest.raises(Conflict, match=r"version 1.0 of a-title .* release 1, with other content"):
        await push_folder(storage, build)
    assert await stored_objects(storage) == before


async def test_version_with_a_file_less_is_other_content(
    build: Path, storage: MemoryStorage
) -> None:
    await push_folder(storage, build)
    (build / "world.pak").unlink()
    with pytest.raises(Conflict, match="other content"):
        await push_folder(storage, build)


async def test_same_version_on_another_channel_points_to_the_release(
    build: Path, storage: MemoryStorage
) -> None:
    await push_folder(storage, build)
    report = await push_folder(storage, build, channel=BETA)
    assert (report.outcome, report.counter) == ("pointed", 1)
    assert await published_tree(storage, BETA) == tree_on_disk(build)


async def test_older_version_pushed_again_gets_a_new_release(
    tmp_path: Path, build: Path, storage: MemoryStorage
) -> None:
    """Consoles refuse a lower counter, so the head cannot simply move back."""
    first = await push_folder(storage, build)
    write_tree(tmp_path / "next", seed=1, changes=2)
    await push_folder(storage, tmp_path / "next", "1.1")
    again = await push_folder(storage, build)
    assert (again.outcome, again.counter, again.build_id) == ("published", 3, first.build_id)
    assert (await TitleStore(storage, TITLE).head(LIVE)).release.version == "1.0"


async def test_if_changed_makes_no_release_of_the_same_build(
    build: Path, storage: MemoryStorage
) -> None:
    await push_folder(storage, build)
    report = await push_folder(storage, build, "1.1", if_changed=True)
    assert (report.outcome, report.counter) == ("unchanged", 1)
    assert (await push_folder(storage, build, "1.1")).counter == 2


async def test_dry_run_stores_nothing_and_says_what_a_push_would(
    tmp_path: Path, build: Path, storage: MemoryStorage
) -> None:
    await push_folder(storage, build)
    before = await stored_objects(storage)
    write_tree(tmp_path / "next", seed=1, changes=2)
    dry = await push_folder(storage, tmp_path / "next", "1.1", dry_run=True)
    assert await stored_objects(storage) == before
    assert not (tmp_path / "next.cache").exists()
    real = await push_folder(storage, tmp_path / "next", "1.1")
    assert (dry.build_id, dry.uploaded_size) == (real.build_id, real.uploaded_size)
    assert dry.outcome == "dry-run"
    assert dry.explanation is not None


async def test_groups_are_packed_and_played_in_the_order_of_the_layout(
    build: Path, storage: MemoryStorage
) -> None:
    layout = Layout(
        group=(LayoutGroup("launch", ("world.pak", "run")), LayoutGroup("text", ("text/",)))
    )
    await push_folder(storage, build, layout=layout)
    store = TitleStore(storage, TITLE)
    published = await store.build((await store.head(LIVE)).release.root)
    assert [shard.name for shard in published.shards] == ["launch", "text", "rest"]
    assert [entry.path for entry in published.shards[0].entries] == ["world.pak", "run"]
    launch = published.chunks.bundle_indexes[published.shards[0].occurrences]
    offsets = published.chunks.offsets[published.shards[0].occurrences].tolist()
    assert launch.tolist() == sorted(launch.tolist())
    assert offsets[0] == 0
    assert await published_tree(storage) == tree_on_disk(build)


async def test_ignored_files_are_not_published(build: Path, storage: MemoryStorage) -> None:
    (build / ".playheadignore").write_text("text/\n")
    await push_folder(storage, build, ignore=["*.pak"])
    assert set(await published_tree(storage)) == {
        "engine.bin",
        "run",
        "empty.cfg",
        "saves",
        "latest.txt",
    }


@pytest.mark.parametrize("names", [("empty",), ("a", "b/c")])
async def test_build_of_only_empty_files_is_a_build(
    tmp_path: Path, storage: MemoryStorage, names: tuple[str, ...]
) -> None:
    for name in names:
        big_file(tmp_path / "build" / name, 0)
    report = await push_folder(storage, tmp_path / "build")
    assert (report.chunk_count, report.bundle_count) == (0, 0)
    assert await published_tree(storage) == tree_on_disk(tmp_path / "build")


async def test_file_that_changes_under_the_push_publishes_nothing(
    build: Path, storage: MemoryStorage
) -> None:
    class ChangesOnEntry(FreeLock):
        async def __aenter__(self) -> object:
            await asyncio.to_thread((build / "world.pak").write_bytes, b"changed")
            return self

    with pytest.raises(InvalidInput, match=r"world\.pak changed while it was read; push again"):
        await push_folder(storage, build, lock=ChangesOnEntry())
    store = TitleStore(storage, TITLE)
    assert (await store.heads(), await store.release_counters()) == ([], [])
    await push_folder(storage, build)
    assert await published_tree(storage) == tree_on_disk(build)


async def test_lock_lost_at_the_end_publishes_nothing(build: Path, storage: MemoryStorage) -> None:
    class Lost(FreeLock):
        async def check_held(self) -> None:
            raise Conflict("lost the lock")

    with pytest.raises(Conflict, match="lost the lock"):
        await push_folder(storage, build, lock=Lost())
    store = TitleStore(storage, TITLE)
    assert (await store.heads(), await store.release_counters()) == ([], [])


async def test_counter_that_was_taken_meanwhile_is_passed_over(
    build: Path, storage: MemoryStorage
) -> None:
    store = TitleStore(storage, TITLE)
    foreign = Release(
        title=TITLE,
        counter=1,
        version=Version("0.9"),
        created_at="2026-05-04T10:00:00Z",
        root=ObjectRef(digest="0" * 64, size=1),
    )

    class Raced(FreeLock):
        async def check_held(self) -> None:
            await store.add_release(foreign)

    report = await push_folder(storage, build, lock=Raced())
    assert report.counter == 2


@pytest.mark.parametrize("failing_put", range(6))
async def test_full_storage_is_told_and_the_next_push_goes_on(
    tmp_path: Path, storage: MemoryStorage, failing_put: int
) -> None:
    big_file(tmp_path / "build" / "a.pak", 20_000_000)
    full = FillsUp(storage, failing_put)
    with pytest.raises(OutOfSpace):
        await push_folder(full, tmp_path / "build")
    report = await push_folder(storage, tmp_path / "build")
    assert report.resumed_chunk_count > 0 or failing_put < 2
    undisturbed = MemoryStorage()
    await push_folder(undisturbed, tmp_path / "build", cache_folder=tmp_path / "other")
    assert await stored_objects(storage) == await stored_objects(undisturbed)


async def test_answer_lost_by_the_storage_is_an_error_and_resumed(
    tmp_path: Path, storage: MemoryStorage
) -> None:
    big_file(tmp_path / "build" / "a.pak", 3_000_000)
    faulty = FaultyStorage(storage)
    faulty.next("put_if_absent", RESET)
    with pytest.raises(Unavailable):
        await push_folder(faulty, tmp_path / "build")
    await push_folder(faulty, tmp_path / "build")
    assert await published_tree(storage) == tree_on_disk(tmp_path / "build")


async def test_cancelled_push_is_resumed(tmp_path: Path, storage: MemoryStorage) -> None:
    big_file(tmp_path / "build" / "a.pak", 40_000_000)

    class Cancels:
        def show(self, progress: PushProgress) -> None:
            if progress.uploaded_size:
                pushing.cancel()

    request = PushRequest(
        source=tmp_path / "build",
        version=Version("1.0"),
        channel=LIVE,
        cache_folder=tmp_path / "cache",
    )
    store = TitleStore(storage, TITLE)
    pushing = asyncio.create_task(
        push(
            store,
            request,
            lock=FreeLock(),
            clock=ManualClock(),
            display=Cancels(),
            voucher=Notary(),
        )
    )
    with pytest.raises(asyncio.CancelledError):
        await pushing
    report = await push(store, request, lock=FreeLock(), clock=ManualClock(), voucher=Notary())
    assert report.resumed_chunk_count > 0
    assert await published_tree(storage) == tree_on_disk(tmp_path / "build")


async def test_resumed_push_of_other_files_publishes_those(
    tmp_path: Path, storage: MemoryStorage
) -> None:
    big_file(tmp_path / "build" / "a.pak", 30_000_000)
    with pytest.raises(OutOfSpace):
        await push_folder(FillsUp(storage, 6), tmp_path / "build")
    big_file(tmp_path / "build" / "0.pak", 300_000, seed=1)
    with (tmp_path / "build" / "a.pak").open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"edited")
    report = await push_folder(storage, tmp_path / "build")
    assert report.resumed_chunk_count > 0
    assert report.new_chunk_count > 0
    assert await published_tree(storage) == tree_on_disk(tmp_path / "build")


@pytest.mark.parametrize("killed_at_put", [0, 1, 2, 5, 8, 11])
async def test_killed_push_resumes_to_what_an_undisturbed_one_stores(
    tmp_path: Path, killed_at_put: int
) -> None:
    big_file(tmp_path / "build" / "a.pak", 18_000_000)
    big_file(tmp_path / "build" / "b.pak", 18_000_000, seed=2)
    killed = pushing_child(tmp_path, "killed", killed_at_put)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for name in ("killed", "undisturbed"):
        whole = pushing_child(tmp_path, name, None)
        assert whole.returncode == 0, whole.stderr
    killed_storage = LocalStorage(tmp_path / "killed")
    undisturbed = LocalStorage(tmp_path / "undisturbed")
    try:
        assert await stored_objects(killed_storage) == await stored_objects(undisturbed)
        assert await published_tree(killed_storage) == tree_on_disk(tmp_path / "build")
    finally:
        await killed_storage.close()
        await undisturbed.close()


async def test_display_sees_everything_done(build: Path, storage: MemoryStorage) -> None:
    class Keeps:
        def __init__(self) -> None:
            self.seen: list[PushProgress] = []

        def show(self, progress: PushProgress) -> None:
            self.seen.append(progress)

    display = Keeps()
    request = PushRequest(
        source=build, version=Version("1"), channel=LIVE, cache_folder=build.with_name("cache")
    )
    report = await push(
        TitleStore(storage, TITLE),
        request,
        lock=FreeLock(),
        clock=ManualClock(),
        display=display,
        voucher=Notary(),
    )
    done = [progress.done_size for progress in display.seen]
    assert done == sorted(done)
    assert done[-1] == display.seen[-1].total_size == report.build_size


@pytest.mark.slow
@pytest.mark.may_block
async def test_hundred_thousand_tiny_files(tmp_path: Path, storage: MemoryStorage) -> None:
    for index in range(100_000):
        folder = tmp_path / "build" / f"{index % 100:02}"
        if index < 100:
            folder.mkdir(parents=True)
        (folder / f"{index}").write_bytes(b"%d" % index)
    report = await push_folder(storage, tmp_path / "build")
    assert report.entry_count == 100_000
    assert (await push_folder(storage, tmp_path / "build")).read_size == 0
    assert await published_tree(storage) == tree_on_disk(tmp_path / "build")


@pytest.mark.slow
@pytest.mark.may_block
async def test_memory_is_bounded_whatever_the_size(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        for index in range(8):
            file.seek(index * (192 << 20))
            file.write(os.urandom(48 << 20))
        file.truncate(1536 << 20)
    (tmp_path / "build").mkdir()
    (tmp_path / "big").rename(tmp_path / "build" / "big")
    child = pushing_child(tmp_path, "storage", None)
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) < 300 << 20


class FillsUp(FaultyStorage):
    """Takes so many new objects and then is full."""

    def __init__(self, base: MemoryStorage, room_count: int) -> None:
        super().__init__(base)
        self._room_count = room_count

    async def put_if_absent(self, key: str, data: bytes | bytearray | memoryview) -> bool:
        if self.calls["put_if_absent"] >= self._room_count:
            self.next("put_if_absent", FULL)
        return await super().put_if_absent(key, data)


def pushing_child(
    folder: Path, name: str, killed_at_put: int | None
) -> subprocess.CompletedProcess[str]:
    """Push ``folder/build`` in a process of its own; print its largest memory in bytes."""
    arguments = [str(folder), name, "" if killed_at_put is None else str(killed_at_put)]
    return subprocess.run(
        [sys.executable, "-m", "tests.pushing_child", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
