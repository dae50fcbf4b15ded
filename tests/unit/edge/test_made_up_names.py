"""How an edge holds players, and not the nodes that ask for many players, to a budget of misses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from chunks.chunk_id import digest_of
from edge.misses import ADDRESS, PLAYER
from kit.clock import ManualClock
from kit.object_storage.testing import MemoryStorage
from manifests.addresses import HeadAddress, ManifestAddress
from manifests.lease import HEADER
from manifests.names import Channel, TitleId
from tests import titles
from tests.leases import gate_at, lease_at
from tests.serving import Node, Reply, running_edge, running_origin

NOW_S = 1_800_000_000
title = titles.some_title()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_S)


@pytest.fixture
async def edge(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Node]:
    storage, gate = MemoryStorage(), gate_at(clock)
    await titles.put(storage, title)
    node_lease = lease_at(clock, None)
    async with (
        running_origin(storage, guard=gate) as origin,
        running_edge(tmp_path, origin.url, guard=gate, node_lease=node_lease, clock=clock) as edge,
    ):
        yield edge


async def made_up(edge: Node, lease: str, count: int) -> list[int]:
    statuses = []
    for number in range(count):
        path = ManifestAddress(titles.TITLE, digest_of(f"{number}".encode())).path
        statuses.append((await show(edge, path, lease)).status)
    return statuses


async def show(edge: Node, path: str, lease: str) -> Reply:
    return await edge.ask(path, **{HEADER: lease})


async def test_a_player_has_a_budget_that_comes_back(edge: Node, clock: ManualClock) -> None:
    lease = lease_at(clock, titles.TITLE)
    statuses = await made_up(edge, lease, PLAYER.burst + 10)
    assert statuses == [404] * PLAYER.burst + [429] * 10
    assert (await show(edge, title.manifest_address.path, lease)).status == 429
    clock.advance(2)
    assert (await show(edge, title.manifest_address.path, lease)).status == 200


async def test_a_node_that_asks_for_many_players_has_none(edge: Node, clock: ManualClock) -> None:
    statuses = await made_up(edge, lease_at(clock, None), PLAYER.burst + 10)
    assert set(statuses) == {404}


async def test_what_the_edge_has_is_served_however_many_made_up_titles_are_asked_for(
    edge: Node,
) -> None:
    assert (await edge.ask(title.head_address.path)).status == 200
    statuses = [
        (await edge.ask(HeadAddress(TitleId(f"made-up-{number}"), Channel("live")).path)).status
        for number in range(ADDRESS.burst + 10)
    ]
    assert statuses == [404] * ADDRESS.burst + [429] * 10
    assert (await edge.ask(title.head_address.path)).status == 200
    assert (await edge.ask(title.release_address.path)).status == 429


async def test_who_floods_from_one_address_holds_up_no_other(
    edge: Node, clock: ManualClock
) -> None:
    for number in range(ADDRESS.burst + 1):
        await edge.ask(HeadAddress(TitleId(f"made-up-{number}"), Channel("live")).path)
    path = title.release_address.path
    assert (await edge.ask(path)).status == 429
    assert (await show(edge, path, lease_at(clock, titles.TITLE))).status == 429
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with (
        aiohttp.ClientSession(connector=connector) as elsewhere,
        elsewhere.get(edge.url + path) as reply,
    ):
        assert reply.status == 200


async def test_a_node_asks_for_heads_and_releases_of_all_its_clients(
    edge: Node, clock: ManualClock
) -> None:
    lease = lease_at(clock, None)
    statuses = {
        (await show(edge, HeadAddress(TitleId(f"new-{n}"), Channel("live")).path, lease)).status
        for n in range(ADDRESS.burst + 10)
    }
    assert statuses == {404}
    assert (await edge.ask(title.release_address.path)).status == 200
