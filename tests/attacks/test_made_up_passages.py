"""A client says that its request has passed nodes which it has not, or all that there may be.

Behind the edge that it asks is another: were that believed, it would call each such request a
circle, and be taken for an upstream that fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.clock import SystemClock
from kit.object_storage.testing import MemoryStorage
from manifests.lease import HEADER
from tests import titles
from tests.leases import gate_at, lease_at
from tests.serving import Node, running_edge, running_origin

clock = SystemClock()
title = titles.some_title()
NODES = [f"playhead; node=made-up-{index}" for index in range(3)]


@dataclass(frozen=True)
class Tiers:
    """An edge, the edge that it asks, and whose leases they believe."""

    outer: Node
    inner: Node
    lease: str


@pytest.fixture
async def tiers(tmp_path: Path) -> AsyncIterator[Tiers]:
    storage = MemoryStorage()
    await titles.put(storage, title)
    gate, node_lease = gate_at(clock), lease_at(clock, None)
    async with (
        running_origin(storage) as origin,
        running_edge(tmp_path / "inner", origin.url, guard=gate) as inner,
        running_edge(tmp_path / "outer", inner.url, guard=gate, node_lease=node_lease) as outer,
    ):
        yield Tiers(outer, inner, lease_at(clock, title.bundle_address.title))


async def test_a_client_that_makes_up_where_it_has_been_makes_no_upstream_fail(
    tiers: Tiers,
) -> None:
    bundle = title.bundle_address
    content = [bundle.slice(0).path, bundle.slice_list.path, title.manifest_address.path]
    documents = [title.head_address.path, title.release_address.path]
    said = {HEADER: tiers.lease, "CDN-Loop": ", ".join(NODES)}
    for path in (*documents, *content):
        reply = await tiers.outer.ask(path, **said)
        assert reply.status == 200, (path, reply.body)
    missing = await tiers.outer.ask("/trust/9.root.json", **{"CDN-Loop": ", ".join(NODES)})
    assert missing.status == 404
    assert tiers.outer.metric("playhead_edge_upstreams_avoided") == 0


async def test_what_a_node_says_of_where_a_request_has_been_is_believed(tiers: Tiers) -> None:
    said = {HEADER: lease_at(clock, None), "CDN-Loop": ", ".join([*NODES, NODES[0]])}
    for path in (title.head_address.path, title.bundle_address.path, "/trust/9.root.json"):
        reply = await tiers.inner.ask(path, **said)
        assert (reply.status, reply.json()["code"]) == (508, "loop-detected"), path
