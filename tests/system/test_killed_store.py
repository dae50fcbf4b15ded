"""A store whose process is killed at any moment: each blob is right afterwards, or a miss."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from chunks.chunk_id import digest_of
from tests.stored_blobs import bytes_taken
from tests.storing_child import MAX_BYTES, content_of, new_store

pytestmark = pytest.mark.slow


async def written_until_killed(folder: Path, seed: int, after_lines: int, wait_s: float) -> int:
    """Return how many blobs a child was about to write when it was killed."""
    words = [sys.executable, "-m", "tests.storing_child", str(folder), str(seed)]
    child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    last = 0
    async with asyncio.timeout(60):
        for _ in range(after_lines):
            line = await child.stdout.readline()
            last = int(line) if line.strip().isdigit() else last
        await asyncio.sleep(wait_s)  # somewhere within the writing of a blob
        child.kill()
        for line in (await child.stdout.read()).split():
            last = int(line) if line.isdigit() else last
        await child.wait()
    return last + 2


async def test_a_store_killed_anywhere_gives_right_bytes_or_none(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    counts = [
        await written_until_killed(tmp_path, run, chance.randrange(2, 80), chance.random() / 100)
        for run in range(8)
    ]
    store, found = new_store(tmp_path), 0
    async with store.open():
        for run, count in enumerate(counts):
            for content in (content_of(run, number) for number in range(count)):
                kept = await store.get(digest_of(content), digest_of(content))
                assert kept is None or kept == content
                found += kept is not None
        assert found == len(store.records()) > 0
        assert bytes_taken(tmp_path) <= MAX_BYTES
