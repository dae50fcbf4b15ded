"""Several edges in front of one upstream that are shields for each other, as processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from kit.rendezvous import ranked
from tests.served_edge import ServedEdge, key_in, running_served_edge
from tests.servers.ports import free_ports


@dataclass(frozen=True)
class Fleet:
    """The edges, in the order of their numbers of workers."""

    edges: Sequence[ServedEdge]

    def shields_of(self, path: str) -> list[ServedEdge]:
        """Return which edges are asked for ``path`` before origins, the first first."""
        by_url = {edge.url: edge for edge in self.edges}
        return [by_url[url] for url in ranked(sorted(by_url), path.encode())]

    def troubles(self) -> list[dict[str, Any]]:
        """Return what the edges logged that somebody should look at."""
        return [
            event
            for edge in self.edges
            for event in edge.events
            if event.get("level") not in {"info", "debug"}
        ]


@asynccontextmanager
async def running_fleet(
    folder: Path, upstream: str, *settings: str, workers: Sequence[int]
) -> AsyncIterator[Fleet]:
    """Run an edge of so many workers each until the block is left; all have the same keys."""
    for _ in range(2):  # made, and read once: msgspec learns a type by one thread
        await asyncio.to_thread(key_in, folder / "keys" / "leases.json")
    ports = free_ports(len(workers))
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    shared = [f"edge.shields={','.join(urls)}", *settings]
    async with AsyncExitStack() as stack:
        starting = [
            running_served_edge(
                folder,
                upstream,
                f"edge.listen.port={port}",
                f"edge.own_url={url}",
                f"edge.cache_dir=edge-{port}",
                *shared,
                workers=count,
            )
            for port, url, count in zip(ports, urls, workers, strict=True)
        ]
        edges = await asyncio.gather(*(stack.enter_async_context(each) for each in starting))
        yield Fleet(edges)


async def total(edge: ServedEdge, session: aiohttp.ClientSession, name: str) -> float:
    """Return the sum of all samples of a metric, over workers and labels."""
    metrics = await edge.metrics(session)
    return sum(value for sample, value in metrics.items() if sample.partition("{")[0] == name)
