"""Push a folder in a process of its own, which kills itself before its n-th put if told to.

Usage: ``python -m tests.pushing_child FOLDER NAME [N]`` pushes FOLDER/build to FOLDER/NAME.
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
from tests.pushes import push_folder


class Killing(FaultyStorage):
    """Kills the process before the n-th put."""

    def __init__(self, base: ObjectStorage, left: int) -> None:
        super().__init__(base)
        self._left = left

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1
        return await super().put_if_absent(key, data)


async def main(folder: Path, name: str, killed_at_put: str) -> None:
    local = LocalStorage(folder / name)
    storage = Killing(local, int(killed_at_put)) if killed_at_put else local
    await push_folder(storage, folder / "build", cache_folder=folder / f"{name}.cache")
    await local.close()
    print(peak_bytes())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
