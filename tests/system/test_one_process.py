"""Origin and edge in one process, as ``playhead serve origin edge`` runs them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

import edge.routes
import origin.routes
from edge.settings import EdgeSettings
from kit.http_settings import ListenSettings
from kit.object_storage.testing import MemoryStorage
from kit.service import Binder, serving
from origin.settings import OriginSettings
from tests import titles
from tests.polling import eventually
from tests.servers.ports import free_ports
from tests.serving import OpenHouse

title = titles.some_title()


class Gated(MemoryStorage):
    """Reads wait until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = 0

    async def read(self, key: str, start: int, length: int) -> bytes:
        self.waiting += 1
        await self.gate.wait()
        return await super().read(key, start, length)


async def test_the_edge_finishes_before_the_origin_it_fetches_from_goes(tmp_path: Path) -> None:
    storage = Gated()
    await titles.put(storage, title)
    [port] = free_ports(1)
    first = Binder("origin", ListenSettings(port=port))
    origin.routes.bind(first, storage, OriginSettings(), OpenHouse())
    second = Binder("edge", ListenSettings())
    upstream = f"http://127.0.0.1:{port}"
    # One fill at a time: most of the body is still to be asked for when the end comes.
    settings = EdgeSettings(upstreams=(upstream,), cache_dir=tmp_path, fills_max=1)
    edge.routes.bind(second, settings, OpenHouse(), lambda: "")
    async with aiohttp.ClientSession() as session:
        async with serving([first, second]) as [_, address]:
            url = address.url + title.bundle_address.path

            async def fetch() -> bytes:
                async with session.get(url) as reply:
                    return await reply.read()

            asking = asyncio.create_task(fetch())

            async def is_waiting() -> bool:
                return storage.waiting > 0

            await eventually(is_waiting)

            async def open_once_draining() -> None:
                async def is_draining() -> bool:
                    return second.state.is_draining

                await eventually(is_draining)
                storage.gate.set()

            opening = asyncio.create_task(open_once_draining())
        await opening
        assert await asking == title.bundle
