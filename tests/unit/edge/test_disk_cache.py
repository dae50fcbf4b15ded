"""The cache on disk: what it keeps, what it notices, and what it survives."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from chunks.chunk_id import Digest, digest_of
from edge.disk_cache import DiskCache
from edge.metrics import EdgeMetrics
from kit.errors import SettingsError

KIB = 1024


class Opened:
    """A cache and what it counts."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.registry = CollectorRegistry()
        self.folder = folder
        self.cache = DiskCache(
            folder, max_bytes=max_bytes, threads=2, metrics=EdgeMetrics(self.registry)
        )

    async def keep(self, content: bytes) -> Digest:
        digest = digest_of(content)
        await self.cache.put(digest, content)
        return digest

    async def get(self, digest: Digest) -> bytes | None:
        return await self.cache.get(digest, digest)

    def file(self, digest: Digest) -> Path:
        return self.folder / digest.hex()[:2] / digest.hex()

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"playhead_edge_{name}", labels) or 0.0


@asynccontextmanager
async def opened(folder: Path, max_bytes: int = 100 * KIB) -> AsyncIterator[Opened]:
    it = Opened(folder, max_bytes)
    async with it.cache.open():
        yield it


def blob(seed: int, size: int = 10 * KIB) -> bytes:
    return random.Random(seed).randbytes(size)


def bytes_on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        assert digest in it.cache
        assert await it.get(digest) == blob(1)
        assert await it.get(digest_of(b"other")) is None


async def test_the_budget_holds_on_disk(tmp_path: Path) -> None:
    async with opened(tmp_path, 95 * KIB) as it:
        for seed in range(50):
            await it.keep(blob(seed, (seed % 7 + 1) * KIB * 3))
            assert bytes_on_disk(tmp_path) <= 95 * KIB
            assert it.metric("cached_bytes") == bytes_on_disk(tmp_path)
        assert it.metric("evictions_total") > 0


async def test_a_restart_finds_what_was_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digests = [await it.keep(blob(seed)) for seed in range(5)]
    async with opened(tmp_path) as it:
        assert [await it.get(digest) for digest in digests] == [blob(s) for s in range(5)]


async def test_a_restart_with_a_smaller_budget_drops_the_oldest(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digests = [await it.keep(blob(seed)) for seed in range(5)]
        for age, digest in enumerate(digests):
            os.utime(it.file(digest), (age, age))
    async with opened(tmp_path, 20 * KIB) as it:
        assert [digest in it.cache for digest in digests] == [False, False, False, True, True]
        assert bytes_on_disk(tmp_path) == 20 * KIB


async def test_a_restart_deletes_what_was_half_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        stray = it.file(digest_of(b"x")).with_suffix(".part")
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"half")
    async with opened(tmp_path):
        assert not stray.exists()


async def test_a_restart_leaves_files_of_others_alone(tmp_path: Path) -> None:
    mine = tmp_path / "ab" / "readme.txt"
    mine.parent.mkdir()
    mine.write_text("not a blob")
    async with opened(tmp_path) as it:
        assert it.metric("cached_blobs") == 0
    assert mine.exists()


@pytest.mark.parametrize("size", [0, 10 * KIB - 1, 10 * KIB + 1])
async def test_a_file_of_another_size_is_noticed_and_dropped(tmp_path: Path, size: int) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        it.file(digest).write_bytes(blob(1, size))
        assert await it.get(digest) is None
        assert not it.file(digest).exists()
        assert it.metric("verify_failures_total", where="disk") == 1


async def test_a_flipped_bit_is_noticed_and_mended(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        damaged = bytearray(blob(1))
        damaged[5000] ^= 4
        it.file(digest).write_bytes(damaged)
        assert await it.get(digest) is None
        assert digest not in it.cache
        await it.keep(blob(1))
        assert await it.get(digest) == blob(1)


async def test_a_file_that_vanished_is_a_miss(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        it.file(digest).unlink()
        assert await it.get(digest) is None
        assert digest not in it.cache


async def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    async with opened(tmp_path, 5 * KIB) as it:
        digest = await it.keep(blob(1))
        assert digest not in it.cache
        assert it.metric("not_cached_total", reason="too-large") == 1


async def test_two_edges_do_not_share_a_folder(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(SettingsError, match=r"edge\.cache_dir: another edge works on"):
            async with opened(tmp_path):
                pass


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"edge\.cache_dir: .*file/cache"):
        async with opened(tmp_path / "file" / "cache"):
            pass


async def test_a_full_disk_keeps_less_and_harms_nothing(small_disk: Path) -> None:
    async with opened(small_disk, 10_000 * KIB) as it:
        digests = [await it.keep(blob(seed)) for seed in range(20)]
        assert it.metric("not_cached_total", reason="disk") > 0
        assert list(small_disk.rglob("*.part")) == []
        for seed, digest in enumerate(digests):
            assert await it.get(digest) in {None, blob(seed)}
        assert it.metric("verify_failures_total", where="disk") == 0


async def test_a_blob_under_another_name_is_held_against_its_digest(tmp_path: Path) -> None:
    name, digest = digest_of(b"a title's own"), digest_of(blob(1))
    async with opened(tmp_path) as it:
        await it.cache.put(name, blob(1))
        assert await it.cache.get(name, digest) == blob(1)
        assert await it.get(digest) is None
        assert await it.cache.get(name, digest_of(blob(2))) is None
        assert it.metric("verify_failures_total", where="disk") == 1
