"""Make deltas in a process of its own, which kills itself before its n-th write if told to.

Usage: ``python -m tests.delta_child FOLDER CACHE CPU_SECONDS WORKERS [N]`` makes the deltas of the
title stored in FOLDER; prints how many, how many an earlier attempt had stored, and the largest
memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from kit.buffers import Buffer
from kit.memory import peak_bytes
from kit.object_storage import ObjectStorage
from kit.object_storage.local import LocalStorage
from kit.object_storage.testing import FaultyStorage
from tests.delta_builds import make_all


class Killing(FaultyStorage):
    """Kills the process before the n-th write."""

    def __init__(self, base: ObjectStorage, left: int) -> None:
        super().__init__(base)
        self._left = left

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        self._count()
        return await super().put_if_absent(key, data)

    async def put(self, key: str, data: Buffer) -> None:
        self._count()
        await super().put(key, data)

    def _count(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


async def main(
    folder: Path, cache: Path, cpu_seconds: str, workers: str, killed_at: str = ""
) -> None:
    local = LocalStorage(folder)
    storage = Killing(local, int(killed_at)) if killed_at else local
    reports = await make_all(
        storage, cache, cpu_seconds_max=float(cpu_seconds), workers=int(workers)
    )
    await local.close()
    count = sum(each.count for each in reports)
    print(count, sum(each.resumed_count for each in reports), peak_bytes())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
