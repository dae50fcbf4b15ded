"""Edges that shield an origin together, as processes: one fetch, whatever becomes of one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from chunks.slices import SLICE_SIZE
from tests import titles
from tests.fleets import running_fleet, total
from tests.polling import eventually
from tests.served_edge import ServedEdge, running_served_edge
from tests.servers.ports import free_ports
from tests.servers.upstream import Fault, Upstream
from tests.stored_blobs import blobs_on_disk

pytestmark = pytest.mark.slow

title = titles.some_title(bundle_size=8 * SLICE_SIZE)
BUNDLE = title.bundle_address
LIST = BUNDLE.slice_list.path
PATHS = [BUNDLE.slice(index).path for index in range(8)]

NO_HEDGE = "edge.hedge_after_max=0"
"""A machine that is busy is no reason to ask another."""


@pytest.fixture
async def origin() -> AsyncIterator[Upstream]:
    origin = Upstream()
    origin.publish(title)
    async with origin.running():
        yield origin


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Every request has a connection of its own, so that every worker gets some."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def until_asked(origin: Upstream, path: str, count: int = 1) -> None:
    async def is_asked() -> bool:
        return origin.asked[path] >= count

    await eventually(is_asked, within_s=20)


async def until_waiting(edge: ServedEdge, session: aiohttp.ClientSession, count: int) -> None:
    async def all_wait() -> bool:
        return await total(edge, session, "playhead_edge_http_requests_running") >= count

    await eventually(all_wait, within_s=20)


def asking(
    edges: Sequence[ServedEdge], session: aiohttp.ClientSession, path: str, count: int
) -> list[asyncio.Task[bytes]]:
    """Have ``count`` consoles ask each edge."""
    return [
        asyncio.create_task(edge.fetch(session, path, console))
        for edge in edges
        for console in range(count)
    ]


async def test_three_edges_asked_at_once_for_what_is_new_ask_the_origin_once(
    origin: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with running_fleet(tmp_path, origin.url, NO_HEDGE, workers=(2, 2, 0)) as fleet:
        origin.gate.clear()
        waiting = asking(fleet.edges, session, BUNDLE.path, 8)
        await until_asked(origin, LIST)
        for edge in fleet.edges:
            await until_waiting(edge, session, 8)
        origin.gate.set()
        assert all(body == title.bundle for body in await asyncio.gather(*waiting))
        print(fleet.troubles())
        assert origin.asked == {LIST: 1, **dict.fromkeys(PATHS, 1)}
        shields = {edge.url for path in PATHS for edge in fleet.shields_of(path)[:1]}
        assert len(shields) > 1, "or the others were never asked"
        failures = "playhead_edge_upstream_failures_total"
        assert [await total(edge, session, failures) for edge in fleet.edges] == [0, 0, 0]


async def test_a_shield_killed_or_stopped_amid_fills_costs_nobody_an_answer(
    origin: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with running_fleet(tmp_path, origin.url, NO_HEDGE, workers=(0, 2, 0)) as fleet:
        for edge in fleet.edges:
            await edge.fetch(session, LIST)
        path, later = PATHS[:2]
        killed = fleet.shields_of(path)[0]
        stopped, left = (edge for edge in fleet.shields_of(later) if edge is not killed)
        origin.gate.clear()
        waiting = asking([stopped, left], session, path, 10)
        await until_asked(origin, path)
        killed.child.send_signal(signal.SIGKILL)
        await killed.ended()
        await until_asked(origin, path, 2)
        origin.gate.set()
        assert set(await asyncio.gather(*waiting)) == {title.slice(0)}
        assert origin.asked[path] <= 5, "of 20 consoles: a process asks once for all of its own"

        origin.gate.clear()
        waiting = asking([left], session, later, 10)
        once = [asyncio.create_task(answer(session, stopped, later)) for _ in range(10)]
        await until_asked(origin, later)
        await until_waiting(stopped, session, 10)
        stopped.child.send_signal(signal.SIGTERM)
        await stopped.until(lambda: bool(stopped.logged("draining")))
        origin.gate.set()
        assert set(await asyncio.gather(*waiting, *once)) == {title.slice(1)}
        assert origin.asked[later] <= 2, "who drains finishes what others wait for"
        assert await stopped.ended() == 0
        for index, path in enumerate(PATHS):
            assert await answer(session, left, path) == title.slice(index)


async def answer(session: aiohttp.ClientSession, edge: ServedEdge, path: str) -> bytes:
    """Ask once, and not again for what is broken off."""
    async with session.get(edge.url + path, headers=edge.lease_of(0)) as reply:
        assert reply.status == 200, await reply.read()
        return await reply.read()


async def test_a_shield_that_sends_wrong_bytes_is_left_and_told_of(
    origin: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    liar = Upstream()
    liar.publish(title)
    liar.spoil(Fault.FLIPPED)
    async with liar.running():
        settings = [f"edge.shields={liar.url}"]
        async with running_served_edge(tmp_path, origin.url, *settings, workers=2) as edge:
            waiting = asking([edge], session, BUNDLE.path, 10)
            assert all(body == title.bundle for body in await asyncio.gather(*waiting))
            metrics = await edge.metrics(session)
            found = [name for name, value in metrics.items() if value and "failures" in name]
            assert any(liar.url in name and "integrity" in name for name in found), found
            failed = edge.logged("upstream.failed")
            assert {event["upstream"] for event in failed} == {liar.url}
            assert await total(edge, session, "playhead_edge_verify_failures_total") >= 1
            assert 1 <= sum(liar.asked.values()) < sum(origin.asked.values())

            async def is_kept() -> bool:
                return len(blobs_on_disk(tmp_path / "edge")) == len(PATHS) + 1

            await eventually(is_kept)
            right = {title.slices.encode(), *(title.slice(index) for index in range(len(PATHS)))}
            assert {blob.read() for blob in blobs_on_disk(tmp_path / "edge")} == right


async def test_nodes_that_name_each_other_or_themselves_do_not_ask_in_circles(
    origin: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    own = f"http://127.0.0.1:{port}"
    settings = [f"edge.listen.port={port}", f"edge.shields={own}"]
    async with running_served_edge(tmp_path, origin.url, *settings, workers=2) as edge:
        # It was not told that this is itself.
        waiting = asking([edge], session, PATHS[0], 10)
        assert set(await asyncio.gather(*waiting)) == {title.slice(0)}
        assert (origin.asked[PATHS[0]], origin.asked[LIST]) == (1, 1)
        failed = edge.logged("upstream.failed")
        assert {event["upstream"] for event in failed} == {own}
        assert all("508" in event["detail"] for event in failed)
