"""An edge process when something breaks amid its work: no client notices, nothing wrong is sent."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from chunks.slices import SLICE_SIZE
from tests import titles
from tests.disks import memory_disk
from tests.fleets import total
from tests.polling import eventually
from tests.served_edge import ServedEdge, running_served_edge
from tests.servers.upstream import Fault, Upstream
from tests.stored_blobs import blobs_on_disk

pytestmark = pytest.mark.slow

COUNT = 12
title = titles.some_title(bundle_size=COUNT * SLICE_SIZE)
BUNDLE = title.bundle_address
PATHS = [BUNDLE.slice(index).path for index in range(COUNT)]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def origin() -> AsyncIterator[Upstream]:
    origin = Upstream()
    origin.publish(title)
    async with origin.running():
        yield origin


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def answer(session: aiohttp.ClientSession, edge: ServedEdge, path: str) -> bytes:
    """Ask once, and not again for what is broken off."""
    async with session.get(edge.url + path, headers=edge.lease_of(0)) as reply:
        assert reply.status == 200, await reply.read()
        return await reply.read()


async def until_kept(folder: Path, count: int = COUNT + 1) -> None:
    async def is_kept() -> bool:
        return len(blobs_on_disk(folder)) == count

    await eventually(is_kept, within_s=20)


async def test_what_clients_asked_for_who_have_all_left_is_fetched_once_and_kept(
    origin: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with running_served_edge(tmp_path, origin.url, workers=2) as edge:
        await answer(session, edge, BUNDLE.slice_list.path)
        origin.gate.clear()
        waiting = [asyncio.create_task(answer(session, edge, PATHS[0])) for _ in range(20)]

        async def all_wait() -> bool:
            running = await total(edge, session, "playhead_edge_http_requests_running")
            return origin.asked[PATHS[0]] > 0 and running >= 20

        async def all_left() -> bool:
            return await total(edge, session, "playhead_edge_http_requests_running") == 0

        await eventually(all_wait, within_s=20)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await eventually(all_left, within_s=20)
        origin.gate.set()
        await until_kept(tmp_path / "edge", 2)
        assert await answer(session, edge, PATHS[0]) == title.slice(0)
        assert origin.asked[PATHS[0]] == 1


async def test_what_an_upstream_spoils_amid_a_download_is_had_from_the_next(
    origin: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    faulty = Upstream()
    faulty.publish(title)
    faults = [Fault.RESET, Fault.FLIPPED, Fault.CUT, Fault.LONGER, Fault.SHORTER, Fault.BROKEN]
    faulty.faults = dict(zip(PATHS[1::2], faults, strict=True))
    async with faulty.running():
        upstreams = f"{faulty.url},{origin.url}"
        settings = ["edge.cool_down_for=0.05s"]
        async with running_served_edge(tmp_path, upstreams, *settings) as edge:
            waiting = [answer(session, edge, BUNDLE.path) for _ in range(5)]
            assert all(body == title.bundle for body in await asyncio.gather(*waiting))
            await until_kept(tmp_path / "edge")
            right = {title.slices.encode(), *(title.slice(index) for index in range(COUNT))}
            assert {blob.read() for blob in blobs_on_disk(tmp_path / "edge")} == right
            assert faulty.asked.total() + origin.asked.total() <= 2 * (COUNT + 1)
            assert {each["upstream"] for each in edge.logged("upstream.failed")} == {faulty.url}


async def test_a_full_disk_makes_it_a_proxy_and_costs_no_client_an_answer(
    origin: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with memory_disk(tmp_path / "disk", COUNT // 2) as disk:
        settings = [f"edge.cache_dir={disk / 'edge'}"]
        async with running_served_edge(tmp_path, origin.url, *settings, workers=2) as edge:
            for _ in range(3):
                waiting = [answer(session, edge, BUNDLE.path) for _ in range(4)]
                waiting += [answer(session, edge, title.manifest_address.path)]
                *bodies, manifest = await asyncio.gather(*waiting)
                assert all(body == title.bundle for body in bodies)
                assert manifest == title.manifest
            assert await total(edge, session, "playhead_edge_not_cached_total") > 0
            assert await total(edge, session, "playhead_edge_worker_restarts") == 0
            assert not [event for event in edge.events if "Traceback" in str(event)]
            async with session.get(edge.url + "/healthz") as reply:
                assert reply.status == 200


async def test_a_segment_that_rots_under_a_running_edge_is_never_sent(
    origin: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with running_served_edge(tmp_path, origin.url) as edge:
        assert await answer(session, edge, BUNDLE.path) == title.bundle
        await until_kept(tmp_path / "edge")
        for blob in blobs_on_disk(tmp_path / "edge")[::2]:
            blob.rot()
        for _ in range(3):
            waiting = [answer(session, edge, BUNDLE.path) for _ in range(4)]
            assert all(body == title.bundle for body in await asyncio.gather(*waiting))
        disk = [
            value
            for name, value in (await edge.metrics(session)).items()
            if "verify_failures_total" in name and 'where="disk"' in name
        ]
        assert sum(disk) >= 1


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("keeps", [True, False], ids=["kept connections", "new connections"])
async def test_stopped_under_the_load_of_fifty_clients_it_answers_every_request(
    origin: Upstream, session: aiohttp.ClientSession, tmp_path: Path, workers: int, keeps: bool
) -> None:
    """A connection that was refused is no request; one that was closed had none under way."""
    async with running_served_edge(tmp_path, origin.url, workers=workers) as edge:
        for _ in range(8):
            await answer(session, edge, PATHS[0])
        seen: Counter[str] = Counter()
        host, _, port = edge.url.removeprefix("http://").partition(":")
        [(name, lease)] = edge.lease_of(0).items()
        asked = f"GET {PATHS[0]} HTTP/1.1\r\nHost: x\r\n{name}: {lease}\r\n\r\n".encode()

        async def client() -> None:
            while True:
                try:
                    reader, writer = await asyncio.open_connection(host, int(port))
                except ConnectionRefusedError:
                    return
                is_open = True
                while is_open:
                    writer.write(asked)
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 200 ")
                    assert await reader.readexactly(SLICE_SIZE) == title.slice(0)
                    seen["stopping" if b"\r\nConnection: close" in head else "before"] += 1
                    is_open = keeps and b"\r\nConnection: close" not in head
                writer.close()

        clients = [asyncio.create_task(client()) for _ in range(50)]

        async def is_busy() -> bool:
            return seen["before"] > 200

        await eventually(is_busy, within_s=30)
        edge.child.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)
        assert await edge.ended() == 0
        assert seen["stopping"] >= (50 if keeps else 0)
