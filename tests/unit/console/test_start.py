"""A console that starts: one request brings what it asks for at first, and nothing is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from console.platform_api import Console
from console.settings import TrustSettings
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from kit.object_storage.testing import MemoryStorage
from kit.units import Seconds
from manifests.start import (
    Absent,
    Content,
    Part,
    answer_header,
    encode_end,
    encode_part,
)
from tests.consoles import differences, impatient_settings
from tests.faulty_edge import FaultyEdge, serving_faulty
from tests.folder_publisher import LIVE, TITLE
from tests.leases import AnyLease
from tests.serving import Node
from tests.start_edges import call, edge_before, parts_of, stored
from tests.vouched_edge import VouchedWorld

pytestmark = pytest.mark.may_block

Change = Callable[[list[Part]], bytes]


@dataclass
class Stage:
    """A vouched title, a real edge before it, and one that passes start calls on as it likes."""

    world: VouchedWorld
    storage: MemoryStorage
    edge: Node
    front: FaultyEdge

    @asynccontextmanager
    async def console(self, *urls: str) -> AsyncIterator[Console]:
        settings = impatient_settings(
            *(urls or (self.front.url,)),
            trust=TrustSettings(root=self.world.root),
            http=ClientSettings(stall_after=Seconds(1), connect_within=Seconds(1)),
        )
        async with HttpClient(settings.http) as http:
            yield Console(settings, http, AnyLease(), self.world.clock)

    async def answering(self, change: Change) -> None:
        """Have the front answer start calls with what ``change`` makes of the right parts."""
        parts = parts_of(await call(self.edge))

        async def answer(_request: web.Request, _body: bytes) -> web.Response:
            return web.Response(body=change(parts))

        self.front.start = answer

    async def installs(self) -> tuple[int, int]:
        """Install through the front; return how many requests it was asked, and how many failed."""
        async with self.console() as console:
            report = await console.install(TITLE, self.world.game_at("new"), channel=LIVE)
        assert await differences(self.world.folder / "source", self.world.folder / "new") == []
        assert report.requests == len(self.front.asked) + len(self.front.starts)
        return len(self.front.asked), report.failed_requests


def whole(parts: list[Part]) -> bytes:
    return answer_header() + b"".join(map(encode_part, parts)) + encode_end()
