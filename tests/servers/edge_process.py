"""An edge as a process of its own: ``python -m tests.servers.edge_process CACHE_DIR UPSTREAM``.

With a third word ``guarded`` it asks for leases by the key of tests.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import edge.routes
from edge.settings import EdgeSettings
from kit.clock import SystemClock
from kit.http_settings import ListenSettings
from kit.service import Binder, run
from kit.telemetry import configure
from tests.leases import gate_at
from tests.serving import OpenHouse


@dataclass(frozen=True)
class EdgeProcess:
    """The process, once it listens."""

    url: str
    child: asyncio.subprocess.Process

    async def ended(self) -> int:
        """Wait for its end and return its exit code."""
        async with asyncio.timeout(20):
            return await self.child.wait()


@asynccontextmanager
async def running_process(
    cache_dir: Path, upstream: str, *, is_guarded: bool = False
) -> AsyncIterator[EdgeProcess]:
    words = [sys.executable, "-m", __name__, str(cache_dir), upstream]
    words += ["guarded"] if is_guarded else []
    child = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    assert child.stderr is not None
    try:
        async with asyncio.timeout(20):
            while (event := json.loads(await child.stderr.readline()))["event"] != "listening":
                pass
        log = asyncio.create_task(child.stderr.read())  # or its pipe would fill up
        yield EdgeProcess(event["url"], child)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
    await log


if __name__ == "__main__":
    configure(json=True)
    binder = Binder("edge", ListenSettings())
    chosen = EdgeSettings(cache_dir=Path(sys.argv[1]), upstreams=(sys.argv[2],))
    guard = gate_at(SystemClock()) if sys.argv[3:] == ["guarded"] else OpenHouse()
    edge.routes.bind(binder, chosen, guard, lambda: "")
    run([binder])
