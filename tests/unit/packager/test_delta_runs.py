"""New chunks are put together so that what is alike, or one deflate stream, is in one delta."""

from __future__ import annotations

import random
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from chunks.delta import BASE_SIZE_MAX, TARGET_SIZE_MAX
from kit.object_storage.testing import MemoryStorage
from manifests.changes import missing_rows
from packager.chunk_source import ChunkSource
from packager.delta_runs import DEFLATED_RUN_SIZE_MAX, Run, runs_of, size_of
from packager.delta_sources import find_sources
from packager.title_store import TitleStore
from tests.delta_builds import Files, chunks_of, made_by, make, noise, publish_files, sprinkled
from tests.pushes import LIVE, TITLE

MB = 1_000_000


@asynccontextmanager
async def runs_between(
    folder: Path, old: Files, new: Files
) -> AsyncIterator[tuple[ChunkSource, list[Run]]]:
    """The new build's chunks, and the runs they are put into."""
    storage = MemoryStorage()
    first = await publish_files(storage, folder, "1", old)
    second = await publish_files(storage, folder, "2", new)
    store = TitleStore(storage, TITLE)
    rows = missing_rows(second, first.row_of.__contains__).tolist()
    with ThreadPoolExecutor(2) as threads:
        olds, news = ChunkSource(store, first, threads), ChunkSource(store, second, threads)
        runs = list(runs_of(olds, news, await find_sources(olds, news, rows, threads)))
        assert sorted(row for run in runs for row in run.rows) == rows
        for run in runs:
            assert size_of(news, run.rows) <= TARGET_SIZE_MAX
            assert size_of(olds, run.old_rows) <= BASE_SIZE_MAX
        yield news, runs


def deflated(seed: int, size: int, *, changed_at: int | None = None) -> bytes:
    """One long stream; changed somewhere in the middle, its end differs from there on."""
    chance = random.Random(seed)
    words = [chance.randbytes(5).hex() for _ in range(3000)]
    text = bytearray(" ".join(chance.choices(words, k=size // 11)).encode())
    if changed_at is not None:
        text[changed_at : changed_at + 400] = chance.randbytes(400)
    return zlib.compress(bytes(text), 6)


async def test_what_is_compressed_but_not_deflated_makes_long_runs(tmp_path: Path) -> None:
    content = noise(1, 5 * MB)
    async with runs_between(tmp_path, {"kernels": content}, {"kernels": sprinkled(content, 2)}) as (
        new,
        runs,
    ):
        [run] = runs
        assert size_of(new, run.rows) == len(content) > DEFLATED_RUN_SIZE_MAX
        assert (run.before, run.after) == ((), ())


async def test_rows_within_one_deflate_stream_are_looked_into(tmp_path: Path) -> None:
    """It begins in the first of them; the others look like noise."""
    old, new_ = deflated(1, 6 * MB), deflated(1, 6 * MB, changed_at=100)
    async with runs_between(tmp_path, {"a.pak": old}, {"a.pak": new_}) as (new, runs):
        assert size_of(new, runs[0].rows) <= DEFLATED_RUN_SIZE_MAX < len(new_)
        assert all(run.before or run.after for run in runs)


async def test_stream_that_began_in_a_row_that_stays_is_looked_into(tmp_path: Path) -> None:
    old, new_ = deflated(1, 6 * MB), deflated(1, 6 * MB, changed_at=3 * MB)
    async with runs_between(tmp_path, {"a.pak": old}, {"a.pak": new_}) as (_, runs):
        assert runs[0].rows[0] > 0, "some rows stay"
        assert all(run.before or run.after for run in runs)


async def test_file_after_a_stream_is_not_taken_for_its_end(tmp_path: Path) -> None:
    stream, content = deflated(1, 2 * MB), noise(1, 3 * MB)
    old = {"a.pak": stream, "b.bin": content}
    new_ = {"a.pak": deflated(1, 2 * MB, changed_at=100), "b.bin": sprinkled(content, 2)}
    async with runs_between(tmp_path, old, new_) as (new, runs):
        assert len(content) in {size_of(new, run.rows) for run in runs}


async def test_what_is_new_twice_is_fetched_once(tmp_path: Path) -> None:
    """Nothing of it was in the old build."""
    old = {name: noise(seed, 3 * MB // 2) for seed, name in enumerate("abc")}
    fresh = noise(7, 3 * MB // 2)
    new_ = {"a": fresh, "b": noise(8, 3 * MB // 2), "c": sprinkled(fresh, 9)}
    storage = MemoryStorage()
    first = await publish_files(storage, tmp_path, "1", old)
    second = await publish_files(storage, tmp_path, "2", new_)
    report = await make(storage, tmp_path / "cache")
    assert 0 < report.size < 3.1 * MB
    store = TitleStore(storage, TITLE)
    indexes = [ref.index for ref in (await store.head(LIVE)).deltas]
    made = await made_by(store, indexes, await chunks_of(store, first))
    assert made == await chunks_of(store, second)
