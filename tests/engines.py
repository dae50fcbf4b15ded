"""Whatever may serve as an edge, behind it an origin that counts, and the gate of leases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from edge.engines import gate as gate_door
from edge.engines.nginx_build import NginxBuild
from edge.engines.plan import EnginePlan
from edge.engines.settings import GateSettings
from kit.clock import SystemClock
from kit.service import Binder, serving
from kit.units import Seconds
from manifests.lease import HEADER, Lease
from manifests.lease_gate import Gate
from manifests.names import TitleId
from tests import titles
from tests.leases import gate_at, lease_at
from tests.servers.engines import running_engine, some_plan
from tests.servers.upstream import Upstream
from tests.serving import LISTEN, Reply, running_edge

ENGINES = ["edge", "nginx", "varnish"]


class Witness:
    """A guard that remembers which leases it was shown."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.shown: set[str | None] = set()

    def check(self, token: str | None, title: TitleId) -> Lease:
        self.shown.add(token)
        return self._gate.check(token, title)


@dataclass
class Engine:
    """An edge of any kind, and what stands behind it."""

    name: str
    url: str
    origin: Upstream
    gate: Gate
    session: aiohttp.ClientSession
    cache_dir: Path
    plan: EnginePlan | None = None
    """Of nginx and Varnish."""
    shown: set[str | None] = field(default_factory=set)
    """Leases shown to the edge behind nginx or Varnish."""
    gate_door: AsyncExitStack = field(default_factory=AsyncExitStack)
    """Close it, and nobody answers at the gate."""
    clock: SystemClock = field(default_factory=SystemClock)

    def lease(self, title: TitleId = titles.TITLE) -> str:
        return lease_at(self.clock, title)

    async def ask(
        self, path: str, method: str = "GET", *, lease: str | None = "", **headers: str
    ) -> Reply:
        """Ask for ``path`` with a lease for its title, another one, or none."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if lease is not None:
            named[HEADER] = lease or self.lease()
        async with self.session.request(method, self.url + path, headers=named) as reply:
            return Reply(reply.status, reply.headers, await reply.read())


@asynccontextmanager
async def gate_serving(folder: Path, gate: Gate, remember_s: float) -> AsyncIterator[None]:
    """Answer engines at the socket in ``folder``."""
    binder, clock = Binder("gate", LISTEN), SystemClock()
    settings = GateSettings(socket=folder / "gate.sock", remember_for=Seconds(remember_s))
    gate_door.bind(binder, settings, gate, lambda: lease_at(clock, None), clock)
    async with serving([binder]):
        yield


@asynccontextmanager
async def asking() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that takes bytes as they come, on as many connections as it is asked to."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
    ) as session:
        yield session


@asynccontextmanager
async def running(
    name: str,
    folder: Path,
    origin: Upstream,
    *,
    remember_s: float = 1,
    build: NginxBuild | None = None,
    **settings: Any,
) -> AsyncIterator[Engine]:
    """Run an edge of one kind in front of ``origin``, which runs already."""
    clock = SystemClock()
    gate = gate_at(clock)
    witness = Witness(gate)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(asking())
        node = await stack.enter_async_context(
            running_edge(
                folder / "edge",
                origin.url,
                guard=witness,
                node_lease=lease_at(clock, None),
                # As docs/operating/engines.md has it, so that ages do not add up.
                head_fresh_for=Seconds(30 if name == "edge" else 0),
            )
        )
        if name == "edge":
            yield Engine(name, node.url, origin, gate, session, folder / "edge")
            return
        async with in_front(
            name, folder, gate, node.url, remember_s=remember_s, build=build, **settings
        ) as it:
            it.origin, it.shown = origin, witness.shown
            yield it


@asynccontextmanager
async def in_front(
    name: str,
    folder: Path,
    gate: Gate,
    *upstreams: str,
    remember_s: float = 1,
    build: NginxBuild | None = None,
    **settings: Any,
) -> AsyncIterator[Engine]:
    """Run nginx or Varnish with a gate, in front of anything."""
    plan = some_plan(folder, *upstreams, **settings)
    async with AsyncExitStack() as door, asking() as session:
        await door.enter_async_context(gate_serving(folder, gate, remember_s))
        async with running_engine(plan, name, build) as url:
            yield Engine(
                name, url, Upstream(), gate, session, plan.cache_dir, plan=plan, gate_door=door
            )
