"""What a console remembers of edges, in a file: read before it starts, written when it ends.

It is lost without harm: what is missing, damaged or of another version is found out anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from console.edge_memory import EdgeMemory, Remembered
from kit.clock import Clock
from kit.telemetry import get_logger

log = get_logger("console.memory")

FILE_SIZE_MAX = 256 << 10
"""64 edges and 64 hosts of the longest names have 200 KiB."""


@asynccontextmanager
async def remembered_in(path: Path, clock: Clock) -> AsyncIterator[EdgeMemory]:
    """Yield what ``path`` has; keep there what was learnt within the block.

    Of two processes that end together the later one's is kept.
    """
    found = await asyncio.to_thread(_read, path)
    memory = EdgeMemory(clock, found)
    try:
        yield memory
    finally:
        learnt = memory.remembered()
        if learnt != found:
            await asyncio.to_thread(_write, path, learnt)


def _read(path: Path) -> Remembered:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_SIZE_MAX + 1)
        if len(content) > FILE_SIZE_MAX:
            return Remembered()
        return msgspec.json.decode(content, type=Remembered)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.debug("edges.not_remembered", path=str(path), error=str(error))
        return Remembered()


def _write(path: Path, learnt: Remembered) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".edges-") as beside:
            made = Path(beside) / path.name
            made.write_bytes(msgspec.json.encode(learnt))
            made.replace(path)
    except OSError as error:
        log.debug("edges.not_kept", path=str(path), error=str(error))
