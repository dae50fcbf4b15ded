"""A console that kills itself: ``python -m tests.dying_child URL FOLDER EFFECTS``.

Once the script of a commit is written, it counts what it does to the disk, and before doing one
thing more than ``EFFECTS`` it is gone, as by kill -9.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from console.platform_api import Console
from console.script import SCRIPT
from kit.http_client import HttpClient
from tests.believing import BelievingHeads
from tests.consoles import impatient_settings
from tests.leases import AnyLease

EFFECTS = ("write", "pwrite", "fsync", "rename", "unlink", "ftruncate", "mkdir", "rmdir")


class Effects:
    """Calls ``at_last`` instead of the system once there were so many effects since the script."""

    def __init__(self, count: int, at_last: Callable[[], None]) -> None:
        self._left = count
        self._at_last = at_last
        self._is_armed = False

    def install(self, replace: Callable[[str, Any], None]) -> None:
        for name in EFFECTS:
            replace(name, self._counting(name, getattr(os, name)))

    def _counting(self, name: str, effect: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **options: Any) -> Any:
            if self._is_armed:
                self._left -= 1
                if self._left < 0:
                    self._at_last()
            done = effect(*args, **options)
            self._is_armed = self._is_armed or (name == "rename" and args[1] == SCRIPT)
            return done

        return count


async def main(url: str, folder: Path, effects: int) -> None:
    Effects(effects, lambda: os.kill(os.getpid(), signal.SIGKILL)).install(
        lambda name, effect: setattr(os, name, effect)
    )
    settings = impatient_settings(url)
    async with HttpClient(settings.http) as http:
        await Console(settings, http, AnyLease(), new_heads=BelievingHeads).update(folder)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
