"""Everything at once, by chance: no client of an edge ever gets wrong bytes, and it comes back.

The chance is one number, ``TEST_SEED``; ``PLAYHEAD_CHAOS_S`` has it go on for longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from chunks.slices import SLICE_SIZE
from tests import titles
from tests.polling import eventually
from tests.seeds import run_seed
from tests.served_edge import ServedEdge, running_served_edge
from tests.servers.upstream import Fault, Upstream
from tests.stored_blobs import blobs_on_disk

pytestmark = pytest.mark.slow

FOR_S = float(os.environ.get("PLAYHEAD_CHAOS_S", "6"))
LIVES = max(2, round(FOR_S / 10))
CLIENTS = 6
PATIENCE = aiohttp.ClientTimeout(total=20)
"""A connection that the kernel gave to a worker which was killed before it accepted."""
COUNT = 6
BUILDS = [titles.some_title(seed=seed, bundle_size=COUNT * SLICE_SIZE) for seed in range(4)]
OBJECTS = {
    path: content
    for build in BUILDS
    for path, content in (
        (build.bundle_address.path, build.bundle),
        (build.manifest_address.path, build.manifest),
        (build.slice_list_address.path, build.slices.encode()),
        *((build.bundle_address.slice(i).path, build.slice(i)) for i in range(COUNT)),
    )
}
FAULTS = [Fault.RESET, Fault.CUT, Fault.FLIPPED, Fault.BROKEN, Fault.SHORTER, Fault.NONSENSE]


@dataclass
class World:
    """An edge that is done wrong, by two upstreams of which one is sound, and its clients."""

    folder: Path
    chance: random.Random
    faulty: Upstream
    sound: Upstream
    session: aiohttp.ClientSession
    edge: ServedEdge | None = None
    seen: Counter[str] = field(default_factory=Counter)
    is_over: bool = False

    @asynccontextmanager
    async def running_edge(self, workers: int) -> AsyncIterator[ServedEdge]:
        """Run one, which is killed at the end, whatever it does."""
        upstreams = f"{self.faulty.url},{self.sound.url}"
        # Less than there is, so that something is always evicted.
        settings = ["edge.max_bytes=12MiB", "edge.cool_down_for=0.2s"]
        async with running_served_edge(self.folder, upstreams, *settings, workers=workers) as edge:
            self.edge = edge
            yield edge

    async def life_of_an_edge(self, lasts_s: float) -> None:
        """Do it harm for so long, kill all of it amid whatever it does, and have its disk rot."""
        workers = self.chance.choice([0, 2])
        harm = [self.spoil, self.spoil, self.mend, self.stall]
        harm += [self.kill_worker] if workers else []
        async with self.running_edge(workers):
            until = time.monotonic() + lasts_s
            while time.monotonic() < until:
                await self.chance.choice(harm)()
                await asyncio.sleep(self.chance.random() / 2)
        blobs = blobs_on_disk(self.folder / "edge")
        for blob in self.chance.sample(blobs, min(3, len(blobs))):
            blob.rot()

    async def client(self, chance: random.Random) -> None:
        """Ask for anything, in all ways; an answer is right or broken off."""
        while not self.is_over:
            path = chance.choice(sorted(OBJECTS))
            content = OBJECTS[path]
            start = chance.randrange(len(content)) if chance.random() < 0.5 else 0
            end = chance.randrange(start, len(content)) + 1 if start else len(content)
            asked = {"Range": f"bytes={start}-{end - 1}"} if start else {}
            edge = self.edge
            if edge is None:
                await asyncio.sleep(0.01)
                continue
            try:
                headers = edge.lease_of(chance.randrange(99)) | asked
                url = edge.url + path
                async with self.session.get(url, headers=headers, timeout=PATIENCE) as reply:
                    if chance.random() < 0.2:
                        self.seen["left"] += 1
                        continue
                    body = await reply.read()
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                self.seen["broken off"] += 1
                await asyncio.sleep(0.01)
                continue
            self.seen[str(reply.status)] += 1
            if reply.status in {200, 206}:
                assert body == content[start:end], (path, start, end, "wrong bytes")
            else:
                assert reply.status in {502, 503}, (reply.status, body)

    async def spoil(self) -> None:
        """Have one upstream spoil some answers."""
        paths = self.chance.sample(sorted(self.faulty.objects), 12)
        self.faulty.faults = {path: self.chance.choice(FAULTS) for path in paths}

    async def mend(self) -> None:
        self.faulty.faults = {}

    async def stall(self) -> None:
        """Have both upstreams answer nobody for a moment."""
        for upstream in (self.faulty, self.sound):
            upstream.gate.clear()
        await asyncio.sleep(0.2)
        for upstream in (self.faulty, self.sound):
            upstream.gate.set()

    async def kill_worker(self) -> None:
        assert self.edge is not None
        pid = self.edge.pid_of(self.chance.randrange(2))
        if self.edge.is_running(pid):
            os.kill(pid, signal.SIGKILL)


async def test_whatever_breaks_no_client_gets_wrong_bytes_and_all_is_well_afterwards(
    tmp_path: Path,
) -> None:
    seed = run_seed()
    print(f"TEST_SEED={seed}")
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        faulty, sound = Upstream(), Upstream()
        for upstream in (faulty, sound):
            for build in BUILDS:
                upstream.publish(build)
            await stack.enter_async_context(upstream.running())
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        world = World(tmp_path, chance, faulty, sound, session)
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(world.client(random.Random(chance.random())))
            for _ in range(LIVES):
                await world.life_of_an_edge(FOR_S / LIVES)
            world.is_over = True
        await world.mend()
        async with world.running_edge(workers=2) as edge:
            for path, content in OBJECTS.items():
                assert await edge.fetch(session, path) == content

            async def is_settled() -> bool:
                async with session.get(edge.url + "/readyz") as reply:
                    return reply.status == 200

            await eventually(is_settled, within_s=20)
            edge.child.send_signal(signal.SIGTERM)
            assert await edge.ended() == 0
        print(dict(world.seen))
        assert world.seen["200"] > 20
