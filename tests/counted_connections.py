"""A door before a server that counts who comes in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass
class Door:
    """Where to knock, and how many connections were accepted."""

    url: str
    accepted: int = 0


@asynccontextmanager
async def counted(url: str) -> AsyncIterator[Door]:
    """Lead every connection on to the server at ``url``."""
    target = urlsplit(url)
    door = Door("")
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1 << 16):
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        door.accepted += 1
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        for way in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(carry(*way))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(lead, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    door.url = f"http://{host}:{port}"
    try:
        yield door
    finally:
        server.close()
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
