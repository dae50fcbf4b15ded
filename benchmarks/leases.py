"""What leases cost: a check, a mint, an edge with and without them; and how fast a revocation is.

Revocations are measured from the moment an operator asks until both of two edges refuse, by
processes and sockets; edges are asked for one object all the time, a few milliseconds apart.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import msgspec

from benchmarks.serving import Usage
from benchmarks.table import parser, show
from kit.access_token import KEY_SIZE
from kit.clock import SystemClock
from kit.key_ring import KeyRing
from kit.object_storage.testing import MemoryStorage
from manifests.lease import HEADER, TOKEN_ID_SIZE, Subject
from manifests.lease_gate import Gate
from manifests.names import TitleId
from services.entitlement.minting import mint
from tests import titles
from tests.leased_platform import TITLE, LeasedPlatform, running_leased_platform
from tests.leases import lease_at
from tests.servers.edge_process import EdgeProcess, running_process
from tests.serving import running_origin

CHECKS = 2_000
ROUNDS = 75
REVOCATIONS = 200
ASK_EVERY_S = 0.002
CLIENTS = 16
REQUESTS = 6000
ALTERNATIONS = 5


def main() -> None:
    """Measure all."""
    chosen = parser(__doc__).parse_args()
    rows = [["what", "figure", "target"], *_checks()]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with running_leased_platform(folder) as platform:
            rows += asyncio.run(_revocations(platform))
        rows += asyncio.run(_edges(folder))
    show("leases", "python -m benchmarks.leases", rows, save=chosen.save)


def _checks() -> list[list[str]]:
    """Time what a node does for a request, and what who mints does for a lease."""
    clock = SystemClock()
    now_s, game = clock.now(), TitleId("game")
    key = KeyRing().rotated(now_s, bytes(range(KEY_SIZE))).keys[0]

    def new_lease() -> str:
        epoch, token_id = int(now_s * 1e3), secrets.token_bytes(TOKEN_ID_SIZE)
        return mint(
            key,
            Subject("local"),
            game,
            epoch=epoch,
            lifetime_s=900,
            now_s=now_s,
            token_id=token_id,
        ).lease

    leases = [new_lease() for _ in range(CHECKS)]

    def gate() -> Gate:
        made = Gate(clock)
        made.use_keys({key.key_id: key.raw_key})
        return made

    def first() -> float:
        fresh = gate()
        return _per_call_us(lambda lease: fresh.check(lease, game), leases)

    known = gate()
    for lease in leases:
        known.check(lease, game)
    return [
        ["first check of a lease, CPU", _us(first), "15 us"],
        [
            "check of a remembered lease, CPU",
            _us(lambda: _per_call_us(lambda lease: known.check(lease, game), leases)),
            "2 us",
        ],
        ["minting, CPU", _us(lambda: _per_call_us(lambda _: new_lease(), leases)), ""],
        ["size of a lease", f"{len(leases[0])} characters", ""],
    ]


def _per_call_us(call: Callable[[str], object], words: Sequence[str]) -> float:
    started = time.thread_time()  # without what other programs took meanwhile
    for word in words:
        call(word)
    return (time.thread_time() - started) / len(words) * 1e6


def _us(measure: Callable[[], float]) -> str:
    """Say the best and the median of some rounds: a busy machine only ever makes them slower."""
    found = [measure() for _ in range(ROUNDS)]
    return f"{min(found):.2f} us (median {statistics.median(found):.2f})"


async def _revocations(platform: LeasedPlatform) -> list[list[str]]:
    await asyncio.to_thread(platform.publish, 1 << 20)
    await asyncio.to_thread(platform.wait_until_heard)
    keys = platform.folder / "data" / "keys"
    player, operator = (
        {"Authorization": f"Bearer {(keys / f'{name}.token').read_text().strip()}"}
        for name in ("player", "operator")
    )
    [bundle] = (platform.folder / "data" / "objects" / "t" / TITLE / "b").iterdir()
    urls = [f"{edge.url}/t/{TITLE}/b/{bundle.name}/slices" for edge in platform.edges]
    service = platform.entitlement.url + "/api/v1"
    whose = {"subject": "local", "title": TITLE}
    took_ms: list[float] = []
    async with aiohttp.ClientSession() as session:

        async def post(path: str, content: dict[str, str], headers: dict[str, str]) -> bytes:
            async with session.post(service + path, json=content, headers=headers) as reply:
                reply.raise_for_status()
                return await reply.read()

        async def refused_at(url: str, lease: str) -> float:
            while True:
                async with session.get(url, headers={HEADER: lease}) as reply:
                    await reply.read()
                    if reply.status == 403:
                        return time.perf_counter()
                    assert reply.status == 200, reply.status
                await asyncio.sleep(ASK_EVERY_S)

        for _ in range(REVOCATIONS):
            await post("/grants", whose, operator)
            answer = msgspec.json.decode(await post("/leases", {"title": TITLE}, player))
            asking = [asyncio.create_task(refused_at(url, answer["lease"])) for url in urls]
            await asyncio.sleep(5 * ASK_EVERY_S)
            started = time.perf_counter()
            await post("/revocations", whose, operator)
            took_ms.append((max(await asyncio.gather(*asking)) - started) * 1e3)
    took_ms.sort()
    p50, p99 = took_ms[len(took_ms) // 2], took_ms[int(0.99 * len(took_ms))]
    figure = f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {took_ms[-1]:.0f} ms"
    return [[f"revoked to 403 at both edges, {REVOCATIONS} times", figure, "p99 < 1000 ms"]]


async def _edges(folder: Path) -> list[list[str]]:
    """Ask two edges for the same in turns; only one of them asks for leases."""
    storage, title = MemoryStorage(), titles.some_title()
    await titles.put(storage, title)
    clock = SystemClock()
    leases = [lease_at(clock, titles.TITLE, lasts_s=900 + n) for n in range(CLIENTS)]
    async with AsyncExitStack() as running:
        origin = await running.enter_async_context(running_origin(storage))
        open_edge = await running.enter_async_context(running_process(folder / "open", origin.url))
        guarded = await running.enter_async_context(
            running_process(folder / "guarded", origin.url, is_guarded=True)
        )
        rows = []
        small, slice_path = title.slice_list_address.path, title.bundle_address.slice(0).path
        for what, path, count in (
            ("slice list", small, REQUESTS),
            ("slice of 1 MiB", slice_path, REQUESTS // 4),
        ):
            found: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
            for _ in range(ALTERNATIONS):
                for name, edge in (("without", open_edge), ("with", guarded)):
                    found[name].append(await _load(edge, path, leases, count))
            for name, results in found.items():
                per_s = statistics.median(result[0] for result in results)
                cpu_us = statistics.median(result[1] for result in results)
                figure = f"{per_s:,.0f} requests/s, {cpu_us:.0f} us of the edge's CPU each"
                rows.append([f"{what}, {name} leases", figure, ""])
        return rows


async def _load(
    edge: EdgeProcess, path: str, leases: Sequence[str], count: int
) -> tuple[float, float]:
    """Return requests per second, and microseconds of CPU for each."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(lease: str, times: int) -> None:
            for _ in range(times):
                async with session.get(edge.url + path, headers={HEADER: lease}) as reply:
                    reply.raise_for_status()
                    await reply.read()

        await asyncio.gather(*(ask(lease, 5) for lease in leases))
        before, started = Usage.of(edge.child.pid), time.perf_counter()
        await asyncio.gather(*(ask(lease, count // CLIENTS) for lease in leases))
        elapsed, after = time.perf_counter() - started, Usage.of(edge.child.pid)
    asked = count // CLIENTS * CLIENTS
    return asked / elapsed, (after.cpu_s - before.cpu_s) / asked * 1e6


if __name__ == "__main__":
    main()
