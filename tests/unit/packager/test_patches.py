"""Making deltas: what they make, what is kept, what time and memory they may take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chunks.delta import BASE_SIZE_MAX, TARGET_SIZE_MAX, Method
from kit.object_storage.local import LocalStorage
from kit.object_storage.testing import MemoryStorage
from manifests.documents import Release
from packager.patches import DeltaTally
from packager.title_store import TitleStore
from tests.delta_builds import Files, chunks_of, made_by, make, noise, publish_files, sprinkled
from tests.pushes import TITLE, stored_objects

GAME, WORLD = noise(1, 900_000), noise(2, 700_000)
WORDS = b"".join(b"%d: the hero of number %d speaks\n" % (n, n * n) for n in range(9000))
OLD = {"game": GAME, "world": WORLD, "same": noise(3, 300_000)}
NEW = {"game": sprinkled(GAME, 1, every=500), "world": sprinkled(WORLD, 2), "same": OLD["same"],
       "words": WORDS}  # fmt: skip


async def pair(folder: Path, old: Files = OLD, new: Files = NEW) -> MemoryStorage:
    storage = MemoryStorage()
    await publish_files(storage, folder, "1", old)
    await publish_files(storage, folder, "2", new)
    return storage


async def test_deltas_make_the_chunks_that_are_new_and_no_other(tmp_path: Path) -> None:
    storage = await pair(tmp_path)
    report = await make(storage, tmp_path)
    store = TitleStore(storage, TITLE)
    builds = [await store.build(release.root) for release in await store.releases()]
    have, want = [await chunks_of(store, build) for build in builds]
    (known,) = await store.delta_sets()
    made = await made_by(store, [known.index], have)
    assert made == {chunk_id: want[chunk_id] for chunk_id in want.keys() - have.keys()}
    assert (report.count, report.size, report.target_size) == (
        known.count,
        known.size,
        known.target_size,
    )
    assert report.target_size == report.missing_size == sum(map(len, made.values()))
    assert report.size < report.plain_size / 10


async def test_the_index_is_all_a_reader_needs_to_know(tmp_path: Path) -> None:
    storage = await pair(tmp_path)
    report = await make(storage, tmp_path)
    store = TitleStore(storage, TITLE)
    (known,) = await store.delta_sets()
    index = await store.delta_index(known.index)
    assert (len(index), int(index.delta_sizes.sum())) == (report.count, report.size)
    assert known.index.size == report.index_size
    lzma = [at for at in range(len(index)) if index.methods[at] == Method.LZMA]
    assert all(len(index.base_rows(at)) == 0 for at in lzma)
    for at in range(len(index)):
        assert index.sizes[index.target_rows(at)].sum() <= TARGET_SIZE_MAX
        assert index.sizes[index.base_rows(at)].sum() <= BASE_SIZE_MAX


async def test_any_machine_makes_the_same_deltas(tmp_path: Path) -> None:
    storages = [await pair(tmp_path / name) for name in "ab"]
    for storage, workers in zip(storages, (1, 3), strict=True):
        await make(storage, tmp_path / f"cache{workers}", workers=workers)
    one, other = [await stored_objects(storage) for storage in storages]
    assert one == other


async def test_what_saves_nothing_is_not_kept(tmp_path: Path) -> None:
    storage = await pair(tmp_path, {"a": GAME}, {"b": noise(9, 800_000)})
    before = await stored_objects(storage)
    report = await make(storage, tmp_path)
    assert (report.count, report.size, report.index_size) == (0, 0, 0)
    assert report.missing_size == 800_000
    assert await stored_objects(storage) == before


@pytest.mark.parametrize(("fresh", "count"), [(896_000, 0), (400_000, 1)])
async def test_a_delta_is_kept_if_it_saves_one_percent(
    tmp_path: Path, fresh: int, count: int
) -> None:
    """Of 900 kB of noise so much is new; nothing but what is old can be saved."""
    new = noise(9, fresh) + GAME[fresh:]
    new = sprinkled(new, 4, every=60_000)
    storage = await pair(tmp_path, {"a": GAME}, {"a": new})
    assert (await make(storage, tmp_path)).count == count


async def test_a_few_bytes_are_not_worth_a_delta(tmp_path: Path) -> None:
    storage = await pair(tmp_path, {"a": noise(1, 3000)}, {"a": sprinkled(noise(1, 3000), 1, 500)})
    assert (await make(storage, tmp_path)).count == 0


async def test_once_the_time_is_spent_deltas_are_quick_ones(tmp_path: Path) -> None:
    storage = await pair(tmp_path)
    report = await make(storage, tmp_path, cpu_seconds_max=0)
    store = TitleStore(storage, TITLE)
    (known,) = await store.delta_sets()
    index = await store.delta_index(known.index)
    assert {Method(int(method)) for method in index.methods} == {Method.ZSTD}
    assert all(len(index.base_rows(at)) > 0 for at in range(len(index)))
    assert report.quick_count >= report.count > 0
    have = await chunks_of(store, await store.build((await store.release(1)).root))
    assert await made_by(store, [known.index], have)


@pytest.mark.parametrize(("cpu_seconds_max", "count"), [(60, 1), (0, 0)])
async def test_what_has_no_base_is_packed_while_there_is_time(
    tmp_path: Path, cpu_seconds_max: float, count: int
) -> None:
    storage = await pair(tmp_path, {"a": GAME}, {"b": WORDS})
    report = await make(storage, tmp_path, cpu_seconds_max=cpu_seconds_max)
    assert (report.count, report.quick_count) == (count, 1 - count)
    if count:
        (known,) = await TitleStore(storage, TITLE).delta_sets()
        assert len((await TitleStore(storage, TITLE).delta_index(known.index)).base_rows(0)) == 0


async def test_time_is_counted_over_what_was_done(tmp_path: Path) -> None:
    large = noise(4, 36_000_000)
    storage = await pair(tmp_path, {"a": large}, {"a": sprinkled(large, 1)})
    report = await make(storage, tmp_path, cpu_seconds_max=1e-9)
    assert 0 < report.quick_count < report.count
    assert report.cpu_seconds > 0
    store = TitleStore(storage, TITLE)
    (known,) = await store.delta_sets()
    assert (await store.delta_index(known.index)).methods[0] != Method.ZSTD, "the first had time"


@pytest.mark.slow
@pytest.mark.may_block
async def test_memory_is_bounded_whatever_the_size(tmp_path: Path) -> None:
    """Of 300 MB, most of it quick: what was searched before has taken its largest by then."""
    old = [noise(seed, 30_000_000) for seed in range(10)]
    storage = LocalStorage(tmp_path / "storage")
    for version, every in (("1", 0), ("2", 20_000)):
        files = {
            f"{at}": sprinkled(content, at, every) if every else content
            for at, content in enumerate(old)
        }
        await publish_files(storage, tmp_path, version, files)
    await storage.close()
    child = delta_child(tmp_path / "storage", tmp_path / "cache")
    assert child.returncode == 0, child.stderr
    count, _, peak = map(int, child.stdout.split())
    assert count > 30
    assert peak < 1 << 30


async def test_every_run_is_told_of_and_in_the_end_all_is_done(tmp_path: Path) -> None:
    storage = await pair(tmp_path)
    done: list[int] = []

    def hear(_: Release, tally: DeltaTally) -> None:
        done.append(tally.done_size)

    report = await make(storage, tmp_path, on_progress=hear)
    assert done == sorted(done)
    assert done[-1] == report.missing_size


def delta_child(storage: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Make deltas in a process of its own; twenty seconds of it may be spent on small ones."""
    return subprocess.run(
        [sys.executable, "-m", "tests.delta_child", str(storage), str(cache), "20", "4"],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
