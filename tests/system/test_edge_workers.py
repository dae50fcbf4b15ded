"""An edge of several processes: one to the outside, whatever becomes of one of them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from chunks.slices import SLICE_SIZE
from tests import titles
from tests.polling import eventually
from tests.served_edge import ServedEdge, running_served_edge, starting_edge
from tests.servers.upstream import Upstream

pytestmark = pytest.mark.slow

title = titles.some_title(bundle_size=24 * SLICE_SIZE)
BUNDLE = title.bundle_address
SLICE = BUNDLE.slice(3).path
HEAD = title.head_address.path


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    upstream.publish(title)
    async with upstream.running():
        yield upstream


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Every request has a connection of its own, so that every worker gets some."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def until_asked(upstream: Upstream, path: str) -> None:
    async def is_asked() -> bool:
        return upstream.asked[path] > 0

    await eventually(is_asked, within_s=20)


async def running(edge: ServedEdge, session: aiohttp.ClientSession) -> list[float]:
    """Return how many requests each worker serves, but those that ask for this."""
    metrics = await edge.metrics(session)
    return [metrics[f'playhead_edge_http_requests_running{{worker="{i}"}}'] for i in (0, 1)]


async def test_a_thousand_consoles_and_a_new_blob_are_one_fetch(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    settings = ["edge.listen.requests_max=2000"]
    async with running_served_edge(tmp_path, upstream.url, *settings, workers=2) as edge:
        upstream.gate.clear()
        asking = [
            asyncio.create_task(edge.fetch(session, SLICE, console)) for console in range(1000)
        ]
        await until_asked(upstream, BUNDLE.slice_list.path)

        async def all_wait() -> bool:
            serving = await running(edge, session)
            assert min(serving) > 100 or sum(serving) < 1000, "both have some"
            return sum(serving) == 1000

        await eventually(all_wait, within_s=30)
        upstream.gate.set()
        assert all(body == title.slice(3) for body in await asyncio.gather(*asking))
        assert upstream.asked == {SLICE: 1, BUNDLE.slice_list.path: 1}
        metrics = await edge.metrics(session)
        for name, expected in {"fills_total": 2, "sibling_failures_total": 0}.items():
            found = [metrics[f'playhead_edge_{name}{{worker="{i}"}}'] for i in (0, 1)]
            assert sum(found) == expected, name


async def test_documents_are_one_fetch_too(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with running_served_edge(tmp_path, upstream.url, workers=2) as edge:
        upstream.gate.clear()
        asking = [asyncio.create_task(edge.fetch(session, HEAD)) for _ in range(60)]
        await until_asked(upstream, HEAD)

        async def all_wait() -> bool:
            serving = await running(edge, session)
            return sum(serving) == 60

        await eventually(all_wait, within_s=20)
        upstream.gate.set()
        assert set(await asyncio.gather(*asking)) == {title.head}
        assert upstream.asked[HEAD] == 1


@pytest.mark.parametrize("killed", [0, 1])
async def test_a_worker_killed_amid_a_fill_costs_no_client_its_bytes(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path, killed: int
) -> None:
    async with running_served_edge(tmp_path, upstream.url, workers=2) as edge:
        for _ in range(20):
            await edge.fetch(session, BUNDLE.slice_list.path)
        upstream.gate.clear()
        asking = [asyncio.create_task(edge.fetch(session, BUNDLE.path)) for _ in range(40)]
        await until_asked(upstream, BUNDLE.slice(0).path)
        os.kill(edge.pid_of(killed), signal.SIGKILL)
        await edge.until(lambda: bool(edge.logged("worker.ended")))
        upstream.gate.set()
        bodies = await asyncio.gather(*asking)
        assert all(body == title.bundle for body in bodies)
        await edge.until(lambda: len(edge.logged("worker.started")) == 3)
        [ended] = edge.logged("worker.ended")
        assert (ended["worker"], ended["exit_code"]) == (killed, -signal.SIGKILL)

        async def is_back() -> bool:
            restarts = f'playhead_edge_worker_restarts{{worker="{killed}"}}'
            return (await edge.metrics(session)).get(restarts) == 1

        await eventually(is_back, within_s=20)
        edge.child.send_signal(signal.SIGTERM)
        assert await edge.ended() == 0


async def test_a_worker_that_hangs_is_done_without(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with running_served_edge(tmp_path, upstream.url, workers=2) as edge:
        os.kill(edge.pid_of(0), signal.SIGSTOP)
        try:
            # Whoever the kernel gives to the one that hangs is served by nobody: ask until the
            # other has one.
            paths = [BUNDLE.slice(index).path for index in range(24)]

            async def first_of_many(path: str) -> bytes:
                asking = [asyncio.create_task(edge.fetch(session, path)) for _ in range(12)]
                done, late = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)
                return done.pop().result()

            async with asyncio.timeout(40):
                for index in (0, 1, 2, 3):
                    assert await first_of_many(paths[index]) == title.slice(index)
        finally:
            os.kill(edge.pid_of(0), signal.SIGCONT)
        await edge.until(lambda: bool(edge.logged("sibling.failed")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stopping_amid_responses_loses_none(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path, number: signal.Signals
) -> None:
    async with running_served_edge(tmp_path, upstream.url, workers=2) as edge:
        upstream.gate.clear()

        async def once(path: str) -> bytes:
            async with session.get(edge.url + path, headers=edge.lease_of(0)) as reply:
                return await reply.read()

        asking = [asyncio.create_task(once(BUNDLE.path)) for _ in range(40)]

        async def all_wait() -> bool:
            serving = await running(edge, session)
            return sum(serving) == 40

        await eventually(all_wait, within_s=20)
        edge.child.send_signal(number)
        await edge.until(lambda: len(edge.logged("draining")) == 3)
        upstream.gate.set()
        bodies = await asyncio.gather(*asking)
        assert all(body == title.bundle for body in bodies)
        assert await edge.ended() == 0
        assert not any(edge.is_running(edge.pid_of(worker)) for worker in (0, 1))


async def test_a_supervisor_that_is_killed_leaves_nothing_behind(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_served_edge(tmp_path, upstream.url, workers=2) as edge:
        workers = [edge.pid_of(worker) for worker in (0, 1)]
        edge.child.send_signal(signal.SIGKILL)
        await edge.until(lambda: not any(map(edge.is_running, workers)), within_s=5)


async def test_workers_that_cannot_start_end_it_with_their_exit_code(
    upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "edge").write_text("no folder")
    settings = [f"edge.upstreams={upstream.url}", "edge.listen.port=0", "edge.workers=2"]
    async with starting_edge(tmp_path, *settings) as edge:
        assert await edge.ended() == 2
    assert any("edge.cache_dir" in event.get("text", "") for event in edge.events)


async def test_an_address_in_use_is_said_before_any_worker_starts(
    upstream: Upstream, tmp_path: Path
) -> None:
    with closing(socket.socket()) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = [f"edge.listen.port={port}", "edge.workers=2"]
        async with starting_edge(tmp_path, *settings) as edge:
            assert await edge.ended() == 2
    assert not edge.logged("worker.started")
    assert any("edge.listen.port" in event.get("text", "") for event in edge.events)


async def test_any_worker_answers_for_all(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with running_served_edge(tmp_path, upstream.url, workers=3) as edge:
        for _ in range(8):
            metrics = await edge.metrics(session)
            workers = [f'playhead_edge_worker_restarts{{worker="{index}"}}' for index in range(3)]
            assert [metrics[worker] for worker in workers] == [0, 0, 0]
            async with session.get(f"{edge.url}/readyz") as reply:
                assert (reply.status, (await reply.json())["faults"]) == (200, {})
