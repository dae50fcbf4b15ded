"""A store that is written to until it is killed: ``python -m tests.storing_child FOLDER SEED``.

It prints a line when it is open, and one for every blob once it is located.
"""

from __future__ import annotations

import asyncio
import random
import sys
from itertools import count
from pathlib import Path

from prometheus_client import CollectorRegistry

from chunks.chunk_id import digest_of
from edge.metrics import EdgeMetrics
from edge.store.store import Store
from kit.clock import SystemClock

MAX_BYTES = 4 << 20


def new_store(folder: Path) -> Store:
    metrics = EdgeMetrics(CollectorRegistry())
    return Store(folder, max_bytes=MAX_BYTES, threads=2, metrics=metrics, clock=SystemClock())


def content_of(seed: int, number: int) -> bytes:
    """Return blob ``number`` of a run; the sizes are those of lists, pages and slices in small."""
    chance = random.Random(f"{seed} {number}")
    return chance.randbytes(chance.choice([100, 5000, 60_000, 200_000]))


async def main(folder: Path, seed: int) -> None:
    store = new_store(folder)
    async with store.open():
        print("open", flush=True)
        for number in count():
            content = content_of(seed, number)
            name = digest_of(content)
            if await store.put(name, name, content) is not None:
                print(number, flush=True)
            if number % 7 == 0:
                store.drop([digest_of(content_of(seed, number // 2))])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
