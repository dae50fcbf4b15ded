"""A real edge process, ended in both ways a process ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from chunks.slices import SLICE_SIZE
from tests import titles
from tests.polling import eventually
from tests.servers.edge_process import EdgeProcess, running_process
from tests.servers.upstream import Upstream
from tests.stored_blobs import blobs_on_disk

title = titles.some_title(bundle_size=24 * SLICE_SIZE)
PATH = title.bundle_address.path
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    upstream.publish(title)
    async with upstream.running():
        yield upstream


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def fetch(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as reply:
        assert reply.status == 200
        return await reply.read()


async def takes_no_more(edge: EdgeProcess) -> bool:
    host, _, port = edge.url.removeprefix("http://").partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionError:
        return True
    writer.close()
    return False


async def test_a_killed_edge_serves_its_cache_again(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    paths = [PATH, title.head_address.path]
    async with running_process(tmp_path, upstream.url) as edge:
        before = [await fetch(session, edge.url + path) for path in paths]

        async def is_written() -> bool:
            documents = [file.suffix for file in tmp_path.glob("documents/*")]
            return len(blobs_on_disk(tmp_path)) == 25 and documents == [".json"]

        await eventually(is_written)
        edge.child.send_signal(signal.SIGKILL)
        assert await edge.ended() == -signal.SIGKILL
    async with running_process(tmp_path, NOBODY) as edge:
        assert [await fetch(session, edge.url + path) for path in paths] == before
        assert before[0] == title.bundle


async def test_an_edge_killed_while_it_fills_is_none_the_worse(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with running_process(tmp_path, upstream.url) as edge:
        async with session.get(edge.url + PATH) as reply:
            await reply.content.readexactly(SLICE_SIZE)
            edge.child.send_signal(signal.SIGKILL)
        await edge.ended()
    async with running_process(tmp_path, upstream.url) as edge:
        assert await fetch(session, edge.url + PATH) == title.bundle


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_edge_finishes_what_it_began(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path, number: signal.Signals
) -> None:
    async with running_process(tmp_path, upstream.url) as edge:
        upstream.gate.clear()
        waiting = [asyncio.create_task(fetch(session, edge.url + PATH)) for _ in range(20)]

        async def is_asked() -> bool:
            return bool(upstream.asked)

        await eventually(is_asked)
        edge.child.send_signal(number)
        await eventually(lambda: takes_no_more(edge))
        upstream.gate.set()
        assert all(body == title.bundle for body in await asyncio.gather(*waiting))
        assert await edge.ended() == 0


async def test_a_stopped_edge_waits_for_a_client_in_mid_body(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with running_process(tmp_path, upstream.url) as edge:
        async with session.get(edge.url + PATH) as reply:
            first = await reply.content.readexactly(10)
            edge.child.send_signal(signal.SIGTERM)
            await eventually(lambda: takes_no_more(edge))
            assert first + await reply.read() == title.bundle
        assert await edge.ended() == 0
