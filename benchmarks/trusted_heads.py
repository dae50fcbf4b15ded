"""What it costs a console to believe a head: requests, bytes and time, cold and warm.

The platform is that of ``benchmarks.trust``: 500 publishers, 50,000 builds, 20,000 heads. Console
and server are one process; every request waits as long as a round trip takes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from benchmarks.table import parser, show
from benchmarks.trust import BUILDS, CHANNELS, NOW_S, PUBLISHERS, Population
from console.fetcher import Fetcher
from console.leases import Leases
from console.progress import Meter, ignore
from console.settings import ConsoleSettings, TrustSettings
from console.title_folder import TitleFolder
from console.trust import TrustedHeads
from console.workers import Workers
from kit.errors import NotFound
from kit.http_client import HttpClient
from kit.object_storage.testing import MemoryStorage
from manifests.addresses import TrustBundleAddress, parse_path
from manifests.documents import DOCUMENT_SIZE_MAX, Head, Release, encode, parse_head
from manifests.locations import head_key, release_key
from manifests.trust_metadata import BIN_BITS
from origin.trust_bundles import TrustBundles
from tests.leases import AnyLease

LIVE = CHANNELS[0]
ROUNDS = 15
ROUND_TRIP_S = 0.05


class BenchClock:
    """Time passes as it does, from the moment at which the platform signed."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return NOW_S + 60

    def monotonic(self) -> float:
        """Return seconds from a fixed unknown moment."""
        return time.monotonic()


@dataclass
class Mirror:
    """Serves storage, with or without bundles, after a round trip's time."""

    storage: MemoryStorage
    has_bundles: bool = True
    round_trip_s: float = 0.0

    def __post_init__(self) -> None:
        self._bundles = TrustBundles(
            self.storage, asyncio.Semaphore(8), fresh_s=60, max_bytes=64 << 20, clock=BenchClock()
        )

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request."""
        await asyncio.sleep(self.round_trip_s)
        try:
            address = parse_path(request.path)
            if isinstance(address, TrustBundleAddress) and self.has_bundles:
                return web.Response(body=(await self._bundles.get(address)).content)
            return web.Response(body=await self.storage.get(request.path[1:], size_max=5_000_000))
        except NotFound:
            return web.Response(status=404)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a port of its own; yield the base of its URLs."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


@dataclass(frozen=True)
class Cost:
    """Of one head."""

    requests: int
    received: int
    seconds: float
    cpu_s: float


@dataclass
class Console:
    """Asks one mirror for the head of one title, from one folder."""

    url: str
    folder: Path
    root: Path
    http: HttpClient
    release: Release

    async def ask(self, *, believing: bool) -> Cost:
        """Return what it costs to have the head; ``believing`` asks for no proof."""
        clock = BenchClock()
        meter = Meter(clock, ignore)
        settings = ConsoleSettings(edges=(self.url,), trust=TrustSettings(root=self.root))
        leases = Leases(AnyLease(), settings, clock)
        fetcher = Fetcher(settings, self.http, leases, clock, meter)
        folder = await asyncio.to_thread(TitleFolder.open, self.folder, may_create=True)
        began, cpu = time.perf_counter(), time.process_time()
        async with Workers(2) as workers:
            if believing:
                await fetcher.get(self.key, DOCUMENT_SIZE_MAX, self._parsed)
            else:
                heads = TrustedHeads(settings, fetcher, folder, workers, clock)
                await heads.head(self.release.title, LIVE)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        folder.close()
        return Cost(meter.requests, meter.received_bytes, seconds, cpu_s)

    @property
    def key(self) -> str:
        """Where the head is."""
        return head_key(self.release.title, LIVE)

    async def _parsed(self, body: bytearray) -> Head:
        return parse_head(body, self.release.title, LIVE)


def main() -> None:
    """Measure each way, with and without a round trip."""
    options = parser(__doc__).parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    population = Population(random.Random(7))
    population.fill()
    storage, root, _ = population.stored(BIN_BITS)
    who = next(iter(population.releases))
    release = population.releases[who][-1]
    head = Head(title=release.title, channel=LIVE, release=release)
    storage._objects[head_key(release.title, LIVE)] = (encode(head), 0.0)
    storage._objects[release_key(release.title, release.counter)] = (encode(release), 0.0)
    rows = [["", "requests", "bytes", "time", f"time, {ROUND_TRIP_S * 1e3:.0f} ms away", "CPU"]]
    with tempfile.TemporaryDirectory() as scratch:
        rows += asyncio.run(_rows(storage, root, release, Path(scratch)))
    show(
        "trusted_heads",
        "python -m benchmarks.trusted_heads",
        rows,
        save=options.save,
        notes=[
            f"{PUBLISHERS} publishers, {BUILDS:,} builds; medians of {ROUNDS} rounds",
            "warm: the release is known and the timestamp has not expired",
            "importing the library, once a process, is not in it: 0.2 s of CPU",
        ],
    )


async def _rows(
    storage: MemoryStorage, root: bytes, release: Release, scratch: Path
) -> list[list[str]]:
    trusted = scratch / "root.json"
    await asyncio.to_thread(trusted.write_bytes, root)
    rows = []
    for name, has_bundles, is_warm, believing in (
        ("cold, whatever the edge says", True, False, True),
        ("cold, with proof", True, False, False),
        ("cold, with proof, no bundle", False, False, False),
        ("warm, whatever the edge says", True, True, True),
        ("warm, with proof", True, True, False),
    ):
        found = []
        for round_trip_s in (0.0, ROUND_TRIP_S):
            mirror = Mirror(storage, has_bundles, round_trip_s)
            async with mirror.serving() as url, HttpClient(ConsoleSettings().http) as http:
                costs = []
                for index in range(ROUNDS + 1):
                    place = "warm" if is_warm else f"{name}-{round_trip_s}-{index}"
                    console = Console(url, scratch / place, trusted, http, release)
                    costs.append(await console.ask(believing=believing))
                found.append(costs[1:])  # the first finds nothing yet
        rows.append(_row(name, *found))
    return rows


def _row(name: str, near: list[Cost], far: list[Cost]) -> list[str]:
    last = near[-1]
    times = [1e3 * statistics.median(cost.seconds for cost in costs) for costs in (near, far)]
    cpu_ms = 1e3 * statistics.median(cost.cpu_s for cost in near)
    return [
        name,
        str(last.requests),
        f"{last.received:,}",
        f"{times[0]:.0f} ms",
        f"{times[1]:.0f} ms",
        f"{cpu_ms:.0f} ms",
    ]


if __name__ == "__main__":
    main()
