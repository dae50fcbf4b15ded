"""Whatever may serve as an edge, behind it an origin that counts, and the gate of leases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from edge.engines import gate as gate_door
from edge.engines.plan import EnginePlan
from edge.engines.settings import GateSettings
from kit.clock import SystemClock
from kit.service import Binder, serving
from kit.units import Seconds
from manifests.lease import HEADER
from manifests.lease_gate import Gate
from manifests.names import TitleId
from tests import titles
from tests.leases import gate_at, lease_at
from tests.servers.engines import running_engine, some_plan
from tests.servers.upstream import Upstream
from tests.serving import LISTEN, Reply, running_edge

ENGINES = ["edge", "nginx", "varnish"]


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
async def running(
    name: str, folder: Path, origin: Upstream, *, remember_s: float = 1, **settings: Any
) -> AsyncIterator[Engine]:
    """Run an edge of one kind in front of ``origin``, which runs already."""
    clock = SystemClock()
    gate = gate_at(clock)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        )
        node = await stack.enter_async_context(
            running_edge(
                folder / "edge",
                origin.url,
                guard=gate,
                node_lease=lease_at(clock, None),
                # As docs/operating/engines.md has it, so that ages do not add up.
                **({} if name == "edge" else {"head_fresh_for": Seconds(0)}),
            )
        )
        if name == "edge":
            yield Engine(name, node.url, origin, gate, session, folder / "edge")
            return
        await stack.enter_async_context(gate_serving(folder, gate, remember_s))
        plan = some_plan(folder, node.url, **settings)
        url = await stack.enter_async_context(running_engine(plan, name))
        yield Engine(name, url, origin, gate, session, plan.cache_dir, plan)
