"""Real origins and edges on ports of their own, inside the test's event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

import edge.routes
import origin.routes
from edge.crew import ALONE, Crew
from edge.settings import EdgeSettings
from kit.clock import Clock
from kit.http_settings import ListenSettings
from kit.object_storage import Reader
from kit.service import Binder, serving
from kit.units import Seconds
from manifests.lease_gate import Guard
from manifests.names import TitleId
from origin.settings import OriginSettings

LISTEN = ListenSettings(drain_for=Seconds(5), linger_for=Seconds(0), turn_within=Seconds(0))
"""Whatever a test does beside them in their event loop, they refuse nothing for want of time."""


class OpenHouse:
    """Lets in everybody: for tests of what is served, not to whom."""

    def check(self, token: str | None, title: TitleId) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Looked up in any case."""
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass(frozen=True)
class Node:
    """A server under test."""

    url: str
    binder: Binder
    session: aiohttp.ClientSession

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """Ask for ``path``; ``If_None_Match=...`` sets that header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, headers=named) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    def metric(self, name: str, **labels: str) -> float:
        """Return what a metric of this node stands at; 0 if it was never touched."""
        return self.binder.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running(binder: Binder) -> AsyncIterator[Node]:
    async with aiohttp.ClientSession() as session, serving([binder]) as [address]:
        yield Node(address.url, binder, session)


@asynccontextmanager
async def running_origin(
    reader: Reader,
    listen: ListenSettings = LISTEN,
    guard: Guard | None = None,
    **settings: Any,
) -> AsyncIterator[Node]:
    binder = Binder("origin", listen)
    origin.routes.bind(binder, reader, OriginSettings(**settings), guard or OpenHouse())
    async with running(binder) as node:
        yield node


@asynccontextmanager
async def running_edge(
    cache_dir: Path,
    *upstreams: str,
    listen: ListenSettings = LISTEN,
    clock: Clock | None = None,
    guard: Guard | None = None,
    node_lease: str = "",
    crew: Crew = ALONE,
    **settings: Any,
) -> AsyncIterator[Node]:
    binder = Binder("edge", listen)
    chosen = EdgeSettings(upstreams=upstreams, cache_dir=cache_dir, **settings)
    edge.routes.bind(binder, chosen, guard or OpenHouse(), lambda: node_lease, clock, crew=crew)
    async with running(binder) as node:
        yield node
