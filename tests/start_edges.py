"""A vouched title behind a real origin and a real edge, and start calls made by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chunks.slices import SliceList
from kit.object_storage.testing import MemoryStorage
from manifests.names import Channel, TitleId
from manifests.start import Content, Part, Wish, encode_wish, start_path
from manifests.start_reader import AnswerReader
from tests.folder_publisher import LIVE, TITLE
from tests.serving import Node, Reply, running_edge, running_origin
from tests.vouched_edge import VouchedWorld


async def stored(world: VouchedWorld) -> MemoryStorage:
    """Return all of ``world`` as an origin has it in storage."""
    storage = MemoryStorage()
    for key, content in world.objects.items():
        if key.endswith("/trust"):
            continue  # made by origins
        await storage.put(key, content)
        if "/b/" in key:
            slices = SliceList.of(content)
            await storage.put(key.replace("/b/", "/s/"), slices.encode())
    return storage


@asynccontextmanager
async def edge_before(
    storage: MemoryStorage, cache: Path, **settings: Any
) -> AsyncIterator[tuple[Node, Node]]:
    """Serve ``storage``; yield the edge and its origin."""
    async with (
        running_origin(storage) as origin,
        running_edge(cache, origin.url, **settings) as edge,
    ):
        yield edge, origin


async def call(
    edge: Node,
    headers: Mapping[str, str] = MappingProxyType({}),
    *,
    title: TitleId = TITLE,
    channel: Channel = LIVE,
    wish: bytes = encode_wish(Wish()),
) -> Reply:
    """Make a start call."""
    url = edge.url + start_path(title, channel)
    async with edge.session.post(url, data=wish, headers=headers) as reply:
        return Reply(reply.status, reply.headers, await reply.read())


def parts_of(reply: Reply, title: TitleId = TITLE, channel: Channel = LIVE) -> list[Part]:
    """Read a whole answer."""
    assert reply.status == 200, reply
    reader = AnswerReader(title, channel)
    found = list(reader.feed(reply.body))
    assert reader.is_complete
    return found


def contents(parts: list[Part]) -> dict[str, bytes]:
    """Return what came, by path."""
    return {part.path: bytes(part.body) for part in parts if isinstance(part, Content)}
